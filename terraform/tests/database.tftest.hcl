# The database is safe, only those log in who must, and there are connections for all of them. terraform.tfvars beside
# this has the project.

variables {
  environment               = "production"
  database_tier             = "db-custom-4-16384"
  database_max_connections  = 1000
  database_highly_available = true
  database_recovery         = true
  database_backups          = 30
  deletion_protection       = true
  instances_limit           = 100
  egress_addresses          = 2
}

run "production" {
  command = plan

  assert {
    condition     = google_sql_database_instance.tollgate.deletion_protection && google_sql_database_instance.tollgate.settings[0].deletion_protection_enabled && google_sql_database_instance.tollgate.settings[0].retain_backups_on_delete
    error_message = "The database can be deleted."
  }
  assert {
    condition     = google_sql_database_instance.tollgate.settings[0].availability_type == "REGIONAL"
    error_message = "The database has no standby."
  }
  assert {
    condition = (
      google_sql_database_instance.tollgate.settings[0].backup_configuration[0].enabled
      && google_sql_database_instance.tollgate.settings[0].backup_configuration[0].point_in_time_recovery_enabled
      && google_sql_database_instance.tollgate.settings[0].backup_configuration[0].transaction_log_retention_days == 7
      && google_sql_database_instance.tollgate.settings[0].backup_configuration[0].backup_retention_settings[0].retained_backups == 30
    )
    error_message = "The database can't be brought back."
  }
  assert {
    condition     = !google_sql_database_instance.tollgate.settings[0].ip_configuration[0].ipv4_enabled && google_sql_database_instance.tollgate.settings[0].ip_configuration[0].ssl_mode == "ENCRYPTED_ONLY"
    error_message = "The database can be reached from outside, or without TLS."
  }
  assert {
    condition = { for flag in google_sql_database_instance.tollgate.settings[0].database_flags : flag.name => flag.value } == {
      "cloudsql.iam_authentication"         = "on"
      "max_connections"                     = "1000"
      "idle_in_transaction_session_timeout" = "60000"
    }
    error_message = "The database's flags are others."
  }
  assert {
    condition     = google_sql_database_instance.tollgate.settings[0].insights_config[0].query_insights_enabled && !google_sql_database_instance.tollgate.settings[0].insights_config[0].record_client_address
    error_message = "Nobody sees which statements take the time."
  }
  assert {
    condition     = google_sql_database_instance.tollgate.settings[0].maintenance_window[0].update_track == "stable"
    error_message = "Production gets updates first."
  }

  # Who logs in
  assert {
    condition     = toset(keys(google_sql_user.login)) == setunion(keys(local.functions), ["migrate", "ops"])
    error_message = "Each function and job has a login of its own."
  }
  assert {
    condition     = alltrue([for name, login in google_sql_user.login : login.name == "run-${name}@tollgate-test.iam" && login.type == "CLOUD_IAM_SERVICE_ACCOUNT" && login.password == null])
    error_message = "A login is not a service account's."
  }
  # PostgreSQL cuts longer names.
  assert {
    condition     = alltrue([for name in keys(local.database_users) : length("run-${name}@.iam") + 30 <= 63 && length("run-${name}") <= 30])
    error_message = "A name is too long for a login in the project with the longest id, or for a service account."
  }
  assert {
    condition     = [for name, login in google_sql_user.login : name if length(coalesce(login.database_roles, [])) > 0] == ["migrate"] && google_sql_user.login["migrate"].database_roles == tolist(["cloudsqlsuperuser"])
    error_message = "Somebody besides migrations is a superuser."
  }
  assert {
    condition     = toset(keys(google_project_iam_member.database_login)) == toset(keys(google_sql_user.login)) && alltrue([for grant in google_project_iam_member.database_login : grant.role == "roles/cloudsql.instanceUser" && strcontains(grant.condition[0].expression, "'projects/tollgate-test/instances/tollgate'")])
    error_message = "A login is not allowed to, or at other databases too."
  }
  assert {
    condition     = contains(split("\n", local.database_logins), "tollgate_createpayment=run-createpayment@tollgate-test.iam") && contains(split("\n", local.database_logins), "tollgate_operator=run-ops@tollgate-test.iam") && length(split("\n", local.database_logins)) == length(local.functions) + 1
    error_message = "The roles of logins are others."
  }

  # Connections
  assert {
    condition     = local.connections_needed <= local.connections_there && local.connections_there == 950
    error_message = "${local.connections_needed} connections are needed, and there are ${local.connections_there}."
  }
  assert {
    condition     = local.connections_needed == sum([for f in values(local.functions) : f.instances]) * 3 * 2
    error_message = "The sum is another."
  }
}

# With fewer connections or ports than the instances may need, nothing is applied.
run "too_few" {
  command = plan

  variables {
    database_max_connections = 800
    egress_addresses         = 1
  }

  expect_failures = [google_sql_database_instance.tollgate, google_compute_router_nat.egress]
}

run "production_insists" {
  command = plan

  variables {
    database_highly_available = false
    database_recovery         = false
    deletion_protection       = false
  }

  expect_failures = [var.database_highly_available, var.database_recovery, var.deletion_protection]
}

# What is known when there is a database.
run "address" {
  command = apply

  variables {
    images              = {}
    environment         = "dev"
    deletion_protection = false
  }

  assert {
    condition     = endswith(local.database_urls["migrate"], "?sslmode=verify-ca&role=cloudsqlsuperuser") && length([for url in values(local.database_urls) : url if strcontains(url, "role=")]) == 1
    error_message = "Only migrations work as the owner of the tables."
  }
  assert {
    condition     = local.database_urls["createpayment"] == "postgres://run-createpayment%40tollgate-test.iam@${google_sql_database_instance.tollgate.private_ip_address}:5432/tollgate?sslmode=verify-ca"
    error_message = "The database's URL is ${local.database_urls["createpayment"]}."
  }
  assert {
    condition     = local.database_variables.DATABASE_IAM == "true" && local.database_variables.DATABASE_POOL_MAX == "3"
    error_message = "Functions log in otherwise."
  }
}
