# The control plane: what every instance must see within seconds and may be stale
# for a moment. While it is away each instance goes by what it last saw.

locals {
  # Settlement only looks at the circuits before it starts.
  control_users = {
    for name, f in local.functions :
    name => name == "settle" ? "roles/datastore.viewer" : "roles/datastore.user" if contains(f.uses, "control")
  }
}

resource "google_firestore_database" "control" {
  name        = "(default)" # the functions' CONTROL_DATABASE, which has this default
  location_id = var.region
  type        = "FIRESTORE_NATIVE"

  # Operators force circuits here; terraform must not take that away by mistake.
  delete_protection_state = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy         = var.deletion_protection ? "ABANDON" : "DELETE"

  depends_on = [google_project_service.api]
}

# Circuits never expire. What does is a document of the collection "leases" with a
# timestamp in expire_at, after which Firestore deletes it, within a day or so: whoever
# reads one compares the time. Without an index, since the times rise, and an index on what
# rises takes no more than 500 writes a second.
resource "google_firestore_field" "leases_expire" {
  database   = google_firestore_database.control.name
  collection = "leases"
  field      = "expire_at"

  ttl_config {}
  index_config {}
}

# Firestore has no roles on less than the project; this is its only database.
resource "google_project_iam_member" "control" {
  for_each = local.control_users

  project = var.project
  role    = each.value
  member  = local.members[each.key]
}
