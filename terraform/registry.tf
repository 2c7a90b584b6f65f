# The images of the functions and jobs. They are deployed by digest, so a tag here is only for people.

variable "vulnerability_scanning" {
  description = "Whether Artifact Analysis looks through each image that is pushed. It is paid for by the image."
  type        = bool
  default     = false
}

resource "google_artifact_registry_repository" "images" {
  repository_id = "tollgate"
  location      = var.region
  format        = "DOCKER"

  vulnerability_scanning_config {
    enablement_config = var.vulnerability_scanning ? "INHERITED" : "DISABLED"
  }

  # A rollback needs the images of before: what is deleted is old and not among the newest of its function.
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "7776000s" # 90 days
    }
  }
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }

  depends_on = [google_project_service.api]
}
