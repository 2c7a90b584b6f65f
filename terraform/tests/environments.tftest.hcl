# What each environment has to be, whichever it is: run it with -var-file=environments/NAME.tfvars.

run "environment" {
  command = plan

  assert {
    condition     = local.connections_needed <= local.connections_there
    error_message = "${var.environment}: ${local.connections_needed} connections are needed, and there are ${local.connections_there}."
  }
  assert {
    condition     = alltrue([for rule in [google_sql_database_instance.tollgate.settings[0]] : !rule.ip_configuration[0].ipv4_enabled && rule.ip_configuration[0].ssl_mode == "ENCRYPTED_ONLY" && rule.backup_configuration[0].enabled && rule.edition == "ENTERPRISE"])
    error_message = "${var.environment}: the database is open, or has no backups, or is of the dearer edition."
  }
  assert {
    condition     = local.labels.environment == var.environment && local.labels.application == "tollgate" && google_sql_database_instance.tollgate.settings[0].user_labels == tomap(local.labels)
    error_message = "${var.environment}: what it costs can't be told from the others'."
  }
  assert {
    condition     = alltrue([for name, f in local.functions : local.instances[name] == min(f.instances, var.instances_limit)])
    error_message = "${var.environment}: the limit on instances does not limit."
  }
  # The smallest memory for so many connections, at 10 MB for each that is busy and a third of it for shared buffers.
  assert {
    condition     = tonumber(split("-", var.database_tier)[3]) * 2 / 3 >= local.connections_needed * 10
    error_message = "${var.environment}: ${var.database_tier} has little memory for ${local.connections_needed} connections."
  }

  # Production
  assert {
    condition     = var.environment != "production" || (var.load_balancer && var.database_highly_available && var.database_recovery && var.deletion_protection && var.min_instances && length(google_compute_security_policy.edge) == 1)
    error_message = "Production lacks something that it must have."
  }

  # The others, and what costs by the hour
  assert {
    condition     = var.environment == "production" || !(var.load_balancer || var.database_highly_available)
    error_message = "${var.environment} pays for what only production needs."
  }
  assert {
    condition     = var.environment != "dev" || !(var.min_instances || var.database_recovery || var.deletion_protection)
    error_message = "dev costs something while nobody uses it, or can't be taken down."
  }
}
