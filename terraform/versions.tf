terraform {
  required_version = ">= 1.9"

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
}

provider "google" {
  project = var.project
  region  = var.region
}

provider "google-beta" {
  project = var.project
  region  = var.region
}
