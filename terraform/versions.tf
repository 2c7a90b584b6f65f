terraform {
  required_version = ">= 1.9" # a variable's validation may look at other variables

  # Exact versions: the lock file is not kept, since its checksums differ
  # between a registry and a mirror.
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "7.45.0"
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "7.45.0"
    }
  }

  # The state knows no secret's value, but whoever can write it can have terraform change anything: the bucket is the
  # deployers' alone. environments/*.gcs.tfbackend and `terraform init -backend-config` say which.
  backend "gcs" {}
}

locals {
  labels = merge({ application = "tollgate", environment = var.environment }, var.labels)
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = local.labels
}

# API Gateway and its endpoint group for the load balancer exist only in google-beta.
provider "google-beta" {
  project        = var.project
  region         = var.region
  default_labels = local.labels
}
