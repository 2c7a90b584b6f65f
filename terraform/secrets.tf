# What the payment providers are asked with, and what their webhooks are checked with.
# Terraform makes the secrets, and people put the values in, so that no value is ever in
# its state:
#
#     gcloud secrets versions add stripe-secret-key --data-file=-
#
# A function gets the version that secret_versions pins. A new value is a new version, a
# new number there, and with it a new revision that can be rolled back.

variable "paypal_client_id" {
  description = "Client id of the PayPal app, where PayPal is enabled. Its secret goes into Secret Manager."
  type        = string
  default     = ""

  validation {
    condition     = var.paypal_client_id != "" || !contains(var.payment_providers, "paypal") || length(var.images) == 0
    error_message = "PayPal is enabled, so the functions need paypal_client_id."
  }
}

variable "paypal_webhook_id" {
  description = "Id of the webhook at PayPal, where PayPal is enabled. It is part of what PayPal signs."
  type        = string
  default     = ""

  validation {
    condition     = var.paypal_webhook_id != "" || !contains(var.payment_providers, "paypal") || length(var.images) == 0
    error_message = "PayPal is enabled, so the functions need paypal_webhook_id."
  }
}

variable "stripe_account" {
  description = "Name of the account at Stripe, if live and test are not enough to tell: another one whenever the key is of another account."
  type        = string
  default     = ""
}

variable "paypal_account" {
  description = "Name of the account at PayPal, if live and sandbox are not enough to tell: another one whenever the app is of another account."
  type        = string
  default     = ""
}

variable "gocardless_account" {
  description = "Name of the account at GoCardless, if live and sandbox are not enough to tell: another one whenever the token is of another account."
  type        = string
  default     = ""
}

locals {
  # Secrets by group of variables, as in functions.tf: the variable, and the id of the secret.
  secrets = {
    calls = {
      STRIPE_SECRET_KEY       = "stripe-secret-key"
      PAYPAL_CLIENT_SECRET    = "paypal-client-secret"
      GOCARDLESS_ACCESS_TOKEN = "gocardless-access-token"
    }
    signatures = {
      STRIPE_WEBHOOK_SECRETS     = "stripe-webhook-secrets"
      GOCARDLESS_WEBHOOK_SECRETS = "gocardless-webhook-secrets"
    }
  }

  # What the names of a provider's variables begin with.
  prefixes = {
    stripe = "STRIPE_"
    paypal = "PAYPAL_"
    bank   = "GOCARDLESS_"
  }
  # The variables that no function gets: those of providers that are not enabled, and names
  # of accounts that have none.
  left_out = setunion(
    [for variable in local.all_variables : variable if anytrue([
      for provider, prefix in local.prefixes : startswith(variable, prefix) && !contains(var.payment_providers, provider)
    ])],
    [for variable, name in { STRIPE_ACCOUNT = var.stripe_account, PAYPAL_ACCOUNT = var.paypal_account, GOCARDLESS_ACCOUNT = var.gocardless_account } : variable if name == ""],
  )
  all_variables = flatten([for group in concat(values(local.variables), values(local.secrets)) : keys(group)])

  needed_secrets = toset(flatten([for given in local.given_secrets : [for s in given : s.secret]]))

  providers = join(",", sort(tolist(var.payment_providers)))
  live      = var.environment == "production" # all else is at the providers' sandboxes
}

# All of them, whoever is enabled: a secret without a version costs nothing, and its value
# has to be there before a function asks for it.
resource "google_secret_manager_secret" "secret" {
  for_each = toset(flatten([for group in local.secrets : values(group)]))

  secret_id           = each.key
  deletion_protection = var.deletion_protection

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

# Each function may read what it is given. It may before there is an image of it: a right takes some minutes until it holds
# everywhere, and Cloud Run refuses a revision whose secrets can't be read.
resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = merge([
    for name, given in local.given_secrets : { for variable, s in given : "${name} ${variable}" => { function = name, secret = s.secret } }
  ]...)

  secret_id = each.value.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = local.members[each.value.function]
}

output "secrets" {
  description = "The secrets that the functions get: each needs a value, and its version in secret_versions."
  value       = local.needed_secrets

  precondition {
    condition     = !local.deployed || length(setsubtract(local.needed_secrets, keys(var.secret_versions))) == 0
    error_message = "Secrets without a number in secret_versions: ${join(", ", setsubtract(local.needed_secrets, keys(var.secret_versions)))}. Put each value into Secret Manager, and pin its version."
  }
}
