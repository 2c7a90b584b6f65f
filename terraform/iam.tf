# Who is who. What each may do stands beside what it may do it with: topics in events.tf,
# queues in tasks.tf, secrets in secrets.tf, and so on. Nobody has a role on the whole
# project that can be had on one thing in it.

# The identities with which things run: one for each function, and one for each job that is
# run by hand. They exist before there are images, so that the database can know them.
resource "google_service_account" "run" {
  for_each = toset(concat(keys(local.functions), ["migrate", "ops"]))

  account_id   = "run-${each.key}"
  display_name = "Runs ${each.key}"

  depends_on = [google_project_service.api]
}

# The identities with which functions are called. Each function admits only those
# of its callers.
resource "google_service_account" "caller" {
  for_each = toset(["gateway", "pubsub", "tasks", "scheduler"])

  account_id   = "call-from-${each.key}"
  display_name = "Calls the functions from ${each.key}"

  depends_on = [google_project_service.api]
}

# Spelt out, so that a plan shows who may do what before they exist.
locals {
  accounts      = { for name, account in google_service_account.run : name => "${account.account_id}@${var.project}.iam.gserviceaccount.com" }
  members       = { for name, email in local.accounts : name => "serviceAccount:${email}" }
  caller_emails = { for name, account in google_service_account.caller : name => "${account.account_id}@${var.project}.iam.gserviceaccount.com" }

  # Whoever makes a task lends it this identity, and must be allowed to.
  tasks_caller = "projects/${var.project}/serviceAccounts/${local.caller_emails["tasks"]}"
}
