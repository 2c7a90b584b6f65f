# Cloud KMS, for what merchants trust us with: the signing secrets of their webhook
# endpoints, and the headers that they have sent along. The database has them
# encrypted, each by a data key of its own; this key encrypts the data keys, and never
# leaves KMS. Without it nobody can read them, and no webhook can be signed: all
# endpoints would need new secrets.

variable "webhook_key_protection" {
  description = "Where the key that seals webhook secrets is kept: SOFTWARE or HSM. It can't be changed later: make a second key, and name both in WEBHOOK_KMS_KEY."
  type        = string
  default     = "SOFTWARE"

  validation {
    condition     = contains(["SOFTWARE", "HSM"], var.webhook_key_protection)
    error_message = "The protection level is SOFTWARE or HSM."
  }
}

variable "webhook_key_operators" {
  description = "Who makes webhook endpoints from a terminal (scripts/ops merchants create --webhook-url), such as group:ops@example.com. They can seal secrets, and read none."
  type        = set(string)
  default     = []
}

locals {
  # deliverwebhook signs with what webhookadmin made. webhookadmin also opens headers,
  # to show their names. Both deal with addresses that merchants choose.
  webhook_key_users = {
    webhookadmin   = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    deliverwebhook = "roles/cloudkms.cryptoKeyDecrypter"
  }
}

# A key ring can't be deleted, nor its name be used again.
resource "google_kms_key_ring" "tollgate" {
  name     = "tollgate"
  location = var.region

  depends_on = [google_project_service.api]
}

resource "google_kms_crypto_key" "webhooks" {
  name     = "webhooks"
  key_ring = google_kms_key_ring.tollgate.id

  # A new version encrypts from then on, and the old ones go on decrypting: they must
  # not be disabled or destroyed while there is a secret from their time.
  rotation_period            = "7776000s" # 90 days
  destroy_scheduled_duration = "2592000s" # 30 days to notice

  version_template {
    algorithm        = "GOOGLE_SYMMETRIC_ENCRYPTION"
    protection_level = var.webhook_key_protection
  }

  # Terraform can't delete a key, but would destroy all that it has encrypted with.
  deletion_policy = var.deletion_protection ? "PREVENT" : "DELETE"
}

resource "google_kms_crypto_key_iam_member" "webhooks" {
  for_each = local.webhook_key_users

  crypto_key_id = google_kms_crypto_key.webhooks.id
  role          = each.value
  member        = local.members[each.key]
}

resource "google_kms_crypto_key_iam_member" "webhook_operators" {
  for_each = var.webhook_key_operators

  crypto_key_id = google_kms_crypto_key.webhooks.id
  role          = "roles/cloudkms.cryptoKeyEncrypter"
  member        = each.key
}

output "webhook_kms_key" {
  description = "WEBHOOK_KMS_KEY of webhookadmin, deliverwebhook and scripts/ops."
  value       = google_kms_crypto_key.webhooks.id
}
