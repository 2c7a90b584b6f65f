# One function: a Cloud Run service from an image that Google's function buildpack made,
# and who may call it. What it may do is granted to its service account where the things are.
#
# It is no google_cloudfunctions2_function, which is the same product by another API: that
# one has no probes, no CPU boost and no shares of traffic, and builds on every change.

resource "google_cloud_run_v2_service" "service" {
  name                = var.name
  location            = var.region
  ingress             = var.internal ? "INGRESS_TRAFFIC_INTERNAL_ONLY" : "INGRESS_TRAFFIC_ALL"
  launch_stage        = var.readiness_probe ? "BETA" : "GA" # as what it uses
  deletion_protection = var.deletion_protection

  # For the service, not for each revision: those without traffic keep no instances.
  scaling {
    min_instance_count = var.min_instances
  }

  template {
    service_account                  = var.service_account
    timeout                          = "${var.timeout}s"
    max_instance_request_concurrency = var.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"

    # For each revision: while two share the traffic there can be twice as many.
    scaling {
      max_instance_count = var.max_instances
    }

    vpc_access {
      egress = var.egress == "fixed" ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = var.network
        subnetwork = var.subnetwork
      }
    }

    containers {
      image = var.image

      resources {
        limits            = { cpu = "1", memory = "512Mi" }
        cpu_idle          = true # billed by request; must be said once limits are
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = var.variables
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      # Ready is what it means: the database answers, with a schema that fits. 150 s in
      # all, asked each second, so that a good start is found out at once.
      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 150
        http_get {
          path = "/health/startup"
        }
      }

      # An instance that no longer answers at all is replaced.
      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/health/liveness"
        }
      }

      # An instance that can't do its work gets none until it can.
      dynamic "readiness_probe" {
        for_each = var.readiness_probe ? [1] : []
        content {
          period_seconds    = 5
          timeout_seconds   = 3
          failure_threshold = 2
          success_threshold = 1
          http_get {
            path = "/health/readiness"
          }
        }
      }
    }
  }

  lifecycle {
    # Which revision gets how much traffic is for scripts/rollout to say. The other two
    # name whoever touched the service last.
    ignore_changes = [traffic, client, client_version]
  }
}

# Service accounts alone, and of them these alone.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = var.invokers

  name     = google_cloud_run_v2_service.service.name
  location = var.region
  role     = "roles/run.invoker"
  member   = "serviceAccount:${each.value}"
}
