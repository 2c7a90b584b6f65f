# Who releases: cloudbuild.yaml runs as the account `deploy`, started by hand
# (gcloud builds submit) or by a trigger. The account changes what a release changes (new
# revisions of the functions, the jobs' images, the API's contract) and reads the rest, so
# that terraform can plan. It grants nothing, deletes nothing but the gateway's old
# configurations, and reads no secret, no row and no message.
#
# What it must not change (functions that are new, grants, queues, the database, this
# file) a person applies first; scripts/rollout review stops a release that has it. One
# thing can't be had with less: who brings code into a release, runs it as the functions
# do, and migrates the database. So production's trigger waits for a person's approval.

variable "state_bucket" {
  description = "The bucket with terraform's state, which the pipeline reads and writes. Empty while there is no pipeline."
  type        = string
  default     = ""
}

variable "pipeline" {
  description = "What starts a release: a repository that is connected to Cloud Build (projects/P/locations/REGION/connections/C/repositories/R) and a pattern of its branches. Null for releases by hand alone."
  type = object({
    repository = string
    branch     = optional(string, "^main$")
    soak       = optional(string, "10m") # how long each step of the canary takes
  })
  default = null

  validation {
    condition     = var.pipeline == null || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.pipeline.repository))
    error_message = "The repository is projects/PROJECT/locations/REGION/connections/CONNECTION/repositories/REPOSITORY."
  }
  validation {
    condition     = var.pipeline == null || var.state_bucket != ""
    error_message = "A pipeline needs the bucket with the state (state_bucket)."
  }
}

variable "deployers" {
  description = "Who releases by hand, such as user:somebody@example.com. Not even an owner of the project may have tokens of another account by that alone, and the smoke test calls new revisions as the gateway."
  type        = set(string)
  default     = []
}

resource "google_service_account" "deploy" {
  account_id   = "deploy"
  display_name = "Releases: cloudbuild.yaml runs as this"

  depends_on = [google_project_service.api]
}

# What a release writes, and what terraform reads that no role of Google's has without
# more. Not checked against a real project: if a permission is missing, the plan says
# which.
resource "google_project_iam_custom_role" "deploy" {
  role_id = "tollgateDeploy"
  title   = "Tollgate release"

  permissions = [
    # New revisions and their share of requests. No run.services.create: a new function
    # comes with grants, which this account has no say in. No setIamPolicy either.
    "run.services.get",
    "run.services.list",
    "run.services.update",
    "run.revisions.get",
    "run.revisions.list",
    "run.operations.get",
    "run.operations.list",
    # The jobs' images, and the migration.
    "run.jobs.get",
    "run.jobs.list",
    "run.jobs.update",
    "run.jobs.run",
    "run.executions.get",
    "run.executions.list",
    # A configuration of the gateway is replaced, never changed.
    "apigateway.apiconfigs.create",
    "apigateway.apiconfigs.delete",
    "apigateway.gateways.update",

    # Only read.
    "billing.resourcebudgets.read",
    "datastore.databases.getMetadata",
    "datastore.indexes.get",
    "datastore.indexes.list",
    "logging.logMetrics.get",
    "servicenetworking.services.get",
    "serviceusage.services.use", # budgets count their readers against the project
    "storage.buckets.get",
  ]

  depends_on = [google_project_service.api]
}

# For the plan: each shows how things are set up, and none what is in them.
resource "google_project_iam_member" "deploy" {
  for_each = merge({
    for role in [
      "apigateway.viewer",
      "browser",
      "cloudbuild.builds.viewer",
      "cloudkms.viewer",
      "cloudscheduler.viewer",
      "cloudsql.viewer",
      "cloudtasks.viewer",
      "compute.viewer",
      "iam.roleViewer",
      "iam.securityReviewer",
      "iam.serviceAccountViewer",
      "logging.logWriter", # the build's own log
      "monitoring.viewer", # how a canary does
      "pubsub.viewer",
      "secretmanager.viewer", # that there are secrets; not their values
      "serviceusage.serviceUsageViewer",
    ] : role => "roles/${role}"
  }, { release = "projects/${var.project}/roles/${google_project_iam_custom_role.deploy.role_id}" })

  project = var.project
  role    = each.value
  member  = "serviceAccount:deploy@${var.project}.iam.gserviceaccount.com"

  depends_on = [google_service_account.deploy]
}

# Images go to this repository and no other.
resource "google_artifact_registry_repository_iam_member" "deploy" {
  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = "serviceAccount:deploy@${var.project}.iam.gserviceaccount.com"

  depends_on = [google_service_account.deploy]
}

# A revision or a job that runs as an account is made by somebody who may act as it, and a
# configuration of the gateway names the gateway's.
resource "google_service_account_iam_member" "deploy_acts" {
  for_each = merge(
    { for name, account in google_service_account.run : "run-${name}" => account.name },
    { call-from-gateway = google_service_account.caller["gateway"].name },
  )

  service_account_id = each.value
  role               = "roles/iam.serviceAccountUser"
  member             = "serviceAccount:deploy@${var.project}.iam.gserviceaccount.com"

  depends_on = [google_service_account.deploy]
}

# The smoke test calls new revisions as the gateway does, whom alone they admit: identity
# tokens of that account, and no access token.
resource "google_service_account_iam_member" "deploy_calls" {
  for_each = setunion(var.deployers, ["serviceAccount:deploy@${var.project}.iam.gserviceaccount.com"])

  service_account_id = google_service_account.caller["gateway"].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = each.key

  depends_on = [google_service_account.deploy]
}

# The state, and the source when a build is submitted by hand
# (--gcs-source-staging-dir=gs://BUCKET/source).
resource "google_storage_bucket_iam_member" "deploy_state" {
  count = var.state_bucket == "" ? 0 : 1

  bucket = var.state_bucket
  role   = "roles/storage.objectAdmin"
  member = "serviceAccount:deploy@${var.project}.iam.gserviceaccount.com"

  depends_on = [google_service_account.deploy]
}

locals {
  # Every variable with which this is applied, but the images, which a release makes: the
  # pipeline plans with the same ones, or it would take back what a person set.
  pipeline_variables = {
    audit_operators             = var.audit_operators
    audit_seal_retention_days   = var.audit_seal_retention_days
    audit_seal_retention_locked = var.audit_seal_retention_locked
    billing_account             = var.billing_account
    database_backup_location    = var.database_backup_location
    database_backups            = var.database_backups
    database_disk_gb            = var.database_disk_gb
    database_highly_available   = var.database_highly_available
    database_instance           = var.database_instance
    database_max_connections    = var.database_max_connections
    database_recovery           = var.database_recovery
    database_tier               = var.database_tier
    deletion_protection         = var.deletion_protection
    deployers                   = var.deployers
    domain                      = var.domain
    egress_addresses            = var.egress_addresses
    environment                 = var.environment
    gocardless_account          = var.gocardless_account
    instances_limit             = var.instances_limit
    labels                      = var.labels
    load_balancer               = var.load_balancer
    min_instances               = var.min_instances
    monthly_budget              = var.monthly_budget
    operators                   = var.operators
    payment_providers           = var.payment_providers
    paypal_account              = var.paypal_account
    paypal_client_id            = var.paypal_client_id
    paypal_webhook_id           = var.paypal_webhook_id
    pipeline                    = var.pipeline
    project                     = var.project
    project_number              = var.project_number
    readiness_probes            = var.readiness_probes
    region                      = var.region
    requests_per_minute         = var.requests_per_minute
    secret_versions             = var.secret_versions
    state_bucket                = var.state_bucket
    stripe_account              = var.stripe_account
    vulnerability_scanning      = var.vulnerability_scanning
    webhook_key_operators       = var.webhook_key_operators
    webhook_key_protection      = var.webhook_key_protection
  }
}

resource "google_cloudbuild_trigger" "release" {
  count = var.pipeline == null ? 0 : 1

  name            = "release"
  location        = var.region
  filename        = "cloudbuild.yaml"
  service_account = google_service_account.deploy.id

  repository_event_config {
    repository = var.pipeline.repository
    push {
      branch = var.pipeline.branch
    }
  }

  approval_config {
    approval_required = var.environment == "production"
  }

  # The committed environments/NAME.tfvars come later than _VARIABLES and win, so that a
  # reviewed change of one is applied.
  substitutions = {
    _ENVIRONMENT  = var.environment
    _REGION       = var.region
    _STATE_BUCKET = var.state_bucket
    _SOAK         = var.pipeline.soak
    _VARIABLES    = base64encode(jsonencode(local.pipeline_variables)) # a $ would be taken for a substitution
  }

  lifecycle {
    precondition {
      condition     = length(base64encode(jsonencode(local.pipeline_variables))) <= 4000
      error_message = "Cloud Build takes no more than 4,000 characters of variables: put long ones (labels) into environments/${var.environment}.tfvars."
    }
  }
}

output "pipeline_variables" {
  description = "_VARIABLES of a release that is started by hand (gcloud builds submit), so that it plans with what terraform was applied with."
  value       = base64encode(jsonencode(local.pipeline_variables))
}
