variable "project" {
  description = "The Google Cloud project's id."
  type        = string
}

variable "project_number" {
  description = "The project's number, which is part of the functions' addresses and of the names of Google's own accounts in it."
  type        = string

  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "The project number has only digits (gcloud projects describe PROJECT shows it)."
  }
}

variable "region" {
  description = "Where everything runs."
  type        = string
  default     = "asia-northeast1"
}
