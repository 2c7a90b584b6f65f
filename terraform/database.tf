# PostgreSQL, the record of truth. It has a private address only, speaks TLS only, and knows no passwords: each function
# logs in as its own service account with a short-lived token, and is a member of the one role that has the grants of
# its statements (migration 0013).

# ---- how many connections
#
# Each instance of a function opens at most `pool` connections. While a new revision replaces the old one there may be
# the instances of both. `reserve` is for migrations, operators and Cloud SQL itself. Why a pool of 3 is enough:
# shared/provider/guard. The sum is checked below, and Go's tests read these very numbers.
locals {
  connections = {
    pool      = 3
    revisions = 2
    reserve   = 50
  }

  # How many requests an instance has in hand at most.
  concurrency = 40

  # How many instances each function may have here.
  instances = { for name, f in local.functions : name => min(f.instances, var.instances_limit) }

  connections_needed = sum(values(local.instances)) * local.connections.pool * local.connections.revisions
  connections_there  = var.database_max_connections - local.connections.reserve
}

variable "database_instance" {
  description = "The database instance's name. After it is deleted, Cloud SQL does not give the name again for a week."
  type        = string
  default     = "tollgate"
}

resource "google_sql_database_instance" "tollgate" {
  name                = var.database_instance
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = var.deletion_protection # from terraform; settings has the one from everybody

  settings {
    # Without it, this version of PostgreSQL would be Enterprise Plus, at a higher price.
    edition = "ENTERPRISE"

    tier                        = var.database_tier
    availability_type           = var.database_highly_available ? "REGIONAL" : "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = var.database_disk_gb
    disk_autoresize             = true
    deletion_protection_enabled = var.deletion_protection
    retain_backups_on_delete    = var.deletion_protection
    user_labels                 = local.labels

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.tollgate.id
      # Clients hold the server to its certificate (DATABASE_CA) and prove themselves by their token. Certificates of
      # clients would need Cloud SQL's connector, which costs each function 19 MB.
      ssl_mode       = "ENCRYPTED_ONLY"
      server_ca_mode = "GOOGLE_MANAGED_INTERNAL_CA"
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }
    database_flags {
      name  = "max_connections"
      value = tostring(var.database_max_connections)
    }
    # The functions bound their statements, locks and transactions themselves, tighter (shared/postgres). This is for a
    # person who leaves a transaction open: it would hold up the functions and every vacuum. In milliseconds.
    database_flags {
      name  = "idle_in_transaction_session_timeout"
      value = "60000"
    }

    # At 05:00 in Tokyo, between the last try at settlement and the day's trade.
    backup_configuration {
      enabled                        = true
      start_time                     = "20:00" # UTC
      location                       = var.database_backup_location == "" ? null : var.database_backup_location
      point_in_time_recovery_enabled = var.database_recovery
      transaction_log_retention_days = 7 # the most that this edition has

      backup_retention_settings {
        retained_backups = var.database_backups
        retention_unit   = "COUNT"
      }
    }

    # Once in a few weeks, for about a minute. Sunday, 04:00 in Tokyo; the environments before production get it first.
    maintenance_window {
      day          = 6  # Saturday
      hour         = 19 # UTC
      update_track = var.environment == "production" ? "stable" : "canary"
    }

    # Which statements take the time. Statements are recorded without their values.
    insights_config {
      query_insights_enabled  = true
      query_string_length     = 4096
      query_plans_per_minute  = 5
      record_application_tags = false
      record_client_address   = false
    }
  }

  lifecycle {
    ignore_changes = [settings[0].disk_size] # it grows by itself

    precondition {
      condition     = local.connections_needed <= local.connections_there
      error_message = "${sum(values(local.instances))} instances may open ${local.connections_needed} connections, and the database has ${local.connections_there} for them: lower instances_limit, or raise database_max_connections (and the memory with it)."
    }
  }

  depends_on = [google_service_networking_connection.database]
}

resource "google_sql_database" "tollgate" {
  name     = "tollgate"
  instance = google_sql_database_instance.tollgate.name

  # It goes with its instance, and not before.
  deletion_policy = "ABANDON"
}

# ---- who logs in

locals {
  # A service account's name in the database is its address without the end. run-migrate works as the role that it is a
  # member of: the right to make roles is an attribute, which members don't inherit
  # (https://www.postgresql.org/docs/17/role-membership.html), and that role then owns the tables.
  database_users = { for name in concat(keys(local.functions), ["migrate", "ops"]) : name => "run-${name}@${var.project}.iam" }

  database_urls = {
    for name, user in local.database_users :
    name => "postgres://${urlencode(user)}@${google_sql_database_instance.tollgate.private_ip_address}:5432/${google_sql_database.tollgate.name}?sslmode=verify-ca${name == "migrate" ? "&role=cloudsqlsuperuser" : ""}"
  }

  database_variables = {
    DATABASE_IAM      = "true"
    DATABASE_CA       = join("\n", google_sql_database_instance.tollgate.server_ca_cert[*].cert) # two, while one replaces the other
    DATABASE_POOL_MAX = tostring(local.connections.pool)
  }

  # DATABASE_LOGINS of scripts/migrate: which role each login is a member of. The roles are made by migrations, and
  # migrations run as run-migrate, which owns the tables and needs no role.
  database_logins = join("\n", concat(
    [for name, _ in local.functions : "tollgate_${name}=${local.database_users[name]}"],
    ["tollgate_operator=${local.database_users["ops"]}"],
  ))
}

resource "google_sql_user" "login" {
  for_each = local.database_users

  name     = each.value
  instance = google_sql_database_instance.tollgate.name
  type     = "CLOUD_IAM_SERVICE_ACCOUNT"

  # A migration makes roles, which is the one right of Cloud SQL's own superuser that it needs.
  database_roles = each.key == "migrate" ? ["cloudsqlsuperuser"] : null

  # A user that owns tables, or has rights to some, can't be dropped. It goes with the instance.
  deletion_policy = "ABANDON"

  depends_on = [google_service_account.run]
}

# Being allowed to log in at all, at this instance.
resource "google_project_iam_member" "database_login" {
  for_each = local.database_users

  project = var.project
  role    = "roles/cloudsql.instanceUser"
  member  = google_service_account.run[each.key].member

  condition {
    title      = "tollgate-database"
    expression = "resource.type == 'sqladmin.googleapis.com/Instance' && resource.name == 'projects/${var.project}/instances/${google_sql_database_instance.tollgate.name}'"
  }
}
