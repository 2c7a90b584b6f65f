# The seals of the audit log. Each day verifyaudit writes down, outside the database, what
# every merchant's chain of audit rows has come to. Whoever can write to the database,
# operators included, can't reach these, so a log that was rewritten is found out.

variable "audit_seal_retention_days" {
  description = "For how long a seal can neither be deleted nor replaced. Keep it at least as long as the books have to be kept."
  type        = number
  default     = 3653 # ten years

  validation {
    condition     = var.audit_seal_retention_days >= 1 && var.audit_seal_retention_days <= 36500
    error_message = "The retention is 1 to 36500 days."
  }
}

variable "audit_seal_retention_locked" {
  description = "Whether the retention is locked. Set it to true where money is real: until then an administrator could take the retention away first. It can't be undone, and the bucket then can't be deleted before its newest seal expires."
  type        = bool
  default     = false
}

variable "audit_operators" {
  description = "Who verifies the audit log from a terminal (scripts/ops audit), such as group:ops@example.com. They can read seals, and write none."
  type        = set(string)
  default     = []
}

resource "google_storage_bucket" "audit_seals" {
  name     = "${var.project}-audit-seals"
  location = var.region

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  retention_policy {
    retention_period = var.audit_seal_retention_days * 86400
    is_locked        = var.audit_seal_retention_locked
  }

  # Whatever is said here, Google deletes no seal before its time.
  deletion_policy = var.deletion_protection ? "PREVENT" : "DELETE"
  force_destroy   = !var.deletion_protection

  depends_on = [google_project_service.api]
}

# verifyaudit makes seals and reads them again. No role here may delete or replace one.
resource "google_storage_bucket_iam_member" "verifyaudit" {
  for_each = toset(["roles/storage.objectCreator", "roles/storage.objectViewer"])

  bucket = google_storage_bucket.audit_seals.name
  role   = each.key
  member = local.members["verifyaudit"]
}

resource "google_storage_bucket_iam_member" "audit_operators" {
  for_each = var.audit_operators

  bucket = google_storage_bucket.audit_seals.name
  role   = "roles/storage.objectViewer"
  member = each.key
}

output "audit_seals" {
  description = "AUDIT_SEALS of verifyaudit and scripts/ops."
  value       = "gs://${google_storage_bucket.audit_seals.name}"
}
