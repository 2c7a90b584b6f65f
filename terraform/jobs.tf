# What people and the pipeline run inside the network, since the database has no address
# outside: scripts/migrate and scripts/ops as Cloud Run jobs, each with an identity of its
# own. A job costs nothing while it does not run.
#
#     gcloud run jobs execute migrate --region=REGION --wait
#     gcloud run jobs execute ops --region=REGION --wait --args=circuits,list

variable "operators" {
  description = "Who runs scripts/ops as a job, such as group:ops@example.com. They can do all that it can."
  type        = set(string)
  default     = []
}

locals {
  # Where scripts/ops finds the parts of the deployment.
  ops_variables = merge(
    local.variables.base, local.variables.control, local.variables.resume, local.variables.deliver, local.variables.settle,
    local.variables.seals, local.variables.sealing,
  )
}

# It owns the schema, and hands each login its role.
resource "google_cloud_run_v2_job" "migrate" {
  count = local.deployed ? 1 : 0

  name                = "migrate"
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    template {
      service_account = local.accounts["migrate"]
      timeout         = "3600s"
      max_retries     = 0 # whoever started it reads why it failed

      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = google_compute_network.tollgate.id
          subnetwork = google_compute_subnetwork.functions["private"].id
        }
      }

      containers {
        image = var.images["migrate"]
        resources {
          limits = { cpu = "1", memory = "512Mi" }
        }

        dynamic "env" {
          for_each = merge(local.database_variables, {
            DATABASE_URL    = local.database_urls["migrate"]
            DATABASE_LOGINS = local.database_logins
          })
          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version]
  }

  # It gives roles to logins, which have to be there.
  depends_on = [google_sql_user.login]
}

resource "google_cloud_run_v2_job" "ops" {
  count = local.deployed ? 1 : 0

  name                = "ops"
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    template {
      service_account = local.accounts["ops"]
      timeout         = "3600s"
      max_retries     = 0 # a command may have done half of what it does

      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = google_compute_network.tollgate.id
          subnetwork = google_compute_subnetwork.functions["private"].id
        }
      }

      containers {
        image = var.images["ops"]
        resources {
          limits = { cpu = "1", memory = "512Mi" }
        }

        dynamic "env" {
          for_each = merge(local.database_variables, { DATABASE_URL = local.database_urls["ops"] }, local.ops_variables)
          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version]
  }
}

# With arguments, which are the command, and waiting until it is done.
resource "google_cloud_run_v2_job_iam_member" "operators" {
  for_each = {
    for pair in setproduct(var.operators, ["run.jobsExecutorWithOverrides", "run.viewer"]) :
    join(" ", pair) => { member = pair[0], role = "roles/${pair[1]}" } if local.deployed
  }

  name     = google_cloud_run_v2_job.ops[0].name
  location = var.region
  role     = each.value.role
  member   = each.value.member
}

# What it prints is in the log.
resource "google_project_iam_member" "operators_read" {
  for_each = var.operators

  project = var.project
  role    = "roles/logging.viewer"
  member  = each.key
}

# scripts/ops lists tasks, runs one at once, and makes one again.
resource "google_project_iam_member" "ops_sees_tasks" {
  project = var.project
  role    = "roles/cloudtasks.viewer" # the list of queues is the project's
  member  = local.members["ops"]
}

resource "google_cloud_tasks_queue_iam_member" "ops" {
  for_each = merge([
    for queue, _ in local.queues : {
      for role in ["enqueuer", "taskRunner"] : "${queue} ${role}" => { queue = queue, role = role }
    }
  ]...)

  name     = google_cloud_tasks_queue.queue[each.value.queue].name
  location = var.region
  role     = "roles/cloudtasks.${each.value.role}"
  member   = local.members["ops"]
}

resource "google_service_account_iam_member" "ops_lends_tasks" {
  service_account_id = local.tasks_caller
  role               = "roles/iam.serviceAccountUser"
  member             = local.members["ops"]
}

# It forces circuits.
resource "google_project_iam_member" "ops_control" {
  project = var.project
  role    = "roles/datastore.user"
  member  = local.members["ops"]
}

# It verifies the audit log against the seals, and writes none.
resource "google_storage_bucket_iam_member" "ops" {
  bucket = google_storage_bucket.audit_seals.name
  role   = "roles/storage.objectViewer"
  member = local.members["ops"]
}

# It makes endpoints, whose secrets it seals, and reads none.
resource "google_kms_crypto_key_iam_member" "ops" {
  crypto_key_id = google_kms_crypto_key.webhooks.id
  role          = "roles/cloudkms.cryptoKeyEncrypter"
  member        = local.members["ops"]
}
