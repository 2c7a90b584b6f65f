# The Google Cloud APIs that the rest needs. A new project has next to none of them, and an API that was just
# enabled takes a minute to be so everywhere: apply these first (-target=google_project_service.api).
resource "google_project_service" "api" {
  for_each = toset([
    "apigateway.googleapis.com",
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudkms.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "cloudtasks.googleapis.com",
    "cloudtrace.googleapis.com",
    "compute.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "servicecontrol.googleapis.com",    # API Gateway reports through it
    "servicemanagement.googleapis.com", # and keeps its configuration there
    "servicenetworking.googleapis.com", # the database's private address
    "serviceusage.googleapis.com",
    "sqladmin.googleapis.com",
    "storage.googleapis.com",
    "telemetry.googleapis.com", # traces, by OTLP
  ])

  service = each.key

  # Something else in the project may use it by the time this is taken down.
  disable_on_destroy = false
}
