# The control plane: what every instance must see within seconds and may be stale
# for a moment. While it is away each instance goes by what it last saw.

resource "google_firestore_database" "control" {
  name        = "(default)" # the functions' CONTROL_DATABASE, which has this default
  location_id = var.region
  type        = "FIRESTORE_NATIVE"

  # Operators force circuits here; terraform must not take that away by mistake.
  delete_protection_state = "DELETE_PROTECTION_ENABLED"
}
