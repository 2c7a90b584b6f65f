# Every function, and who calls it: the list to read first. A folder of the same
# name in functions/ has the code (a test holds the two lists together), and
# modules/function says what all of them have in common.
#
# timeout    seconds until Cloud Run gives up on a request
# instances  at most, at a time. Each may open three connections to the database, which
#            has room for so many (database.tf has the sum, shared/provider/guard says why
#            three): what the scheduler calls needs few
# min        instances that are kept waiting, where var.min_instances says so: somebody is
#            at a checkout
# egress     private: only the database is reached through the network of our own;
#            fixed: everything is, so that providers and merchants see addresses that
#            they can put on a list
# callers    whose identity a call bears:
#              gateway    API Gateway, at route (functions/openapi.yaml has every one)
#              pubsub     push from topic
#              tasks      Cloud Tasks, from queue (provider-* is one for each provider)
#              scheduler  Cloud Scheduler, by the jobs below
# uses       the groups of variables below, and with them what it may do: publish, make
#            tasks, read secrets. A function has none that it does not use. merchants is for
#            those whose callers prove themselves by an API key, behind the gateway
locals {
  functions = {
    createpayment   = { entry_point = "CreatePayment", timeout = 30, instances = 10, min = 1, egress = "fixed", callers = ["gateway"], route = "POST /v1/payments", uses = ["merchants", "calls", "control", "payment_events", "resume"] }
    getpayment      = { entry_point = "GetPayment", timeout = 10, instances = 10, min = 0, egress = "private", callers = ["gateway"], route = "GET /v1/payments/{id}", uses = ["merchants"] }
    listpayments    = { entry_point = "ListPayments", timeout = 10, instances = 10, min = 0, egress = "private", callers = ["gateway"], route = "GET /v1/payments", uses = ["merchants"] }
    capturepayment  = { entry_point = "CapturePayment", timeout = 30, instances = 10, min = 1, egress = "fixed", callers = ["gateway"], route = "POST /v1/payments/{id}/capture", uses = ["merchants", "calls", "control", "payment_events", "resume"] }
    cancelpayment   = { entry_point = "CancelPayment", timeout = 30, instances = 10, min = 1, egress = "fixed", callers = ["gateway"], route = "POST /v1/payments/{id}/cancel", uses = ["merchants", "calls", "control", "payment_events", "resume"] }
    refundpayment   = { entry_point = "RefundPayment", timeout = 30, instances = 10, min = 1, egress = "fixed", callers = ["gateway"], route = "POST /v1/payments/{id}/refund", uses = ["merchants", "calls", "control", "payment_events", "resume"] }
    listdisputes    = { entry_point = "ListDisputes", timeout = 10, instances = 5, min = 0, egress = "private", callers = ["gateway"], route = "/v1/disputes", uses = ["merchants"] }
    listsettlements = { entry_point = "ListSettlements", timeout = 60, instances = 5, min = 0, egress = "private", callers = ["gateway"], route = "/v1/settlements", uses = ["merchants"] }
    webhookadmin    = { entry_point = "WebhookAdmin", timeout = 10, instances = 10, min = 0, egress = "private", callers = ["gateway"], route = "/v1/webhook-*, /v1/events and /v1/event-types", uses = ["merchants", "deliver", "sealing"] }
    ingestwebhook   = { entry_point = "IngestWebhook", timeout = 10, instances = 10, min = 0, egress = "private", callers = ["gateway"], route = "POST /v1/provider-webhooks/{provider}", uses = ["signatures", "provider_events"] }
    applywebhook    = { entry_point = "ApplyWebhook", timeout = 30, instances = 10, min = 0, egress = "fixed", callers = ["pubsub"], topic = "provider-events", uses = ["calls", "control", "payment_events", "resume"] }
    notifymerchant  = { entry_point = "NotifyMerchant", timeout = 30, instances = 10, min = 0, egress = "private", callers = ["pubsub"], topic = "payment-events", uses = ["deliver"] }
    deliverwebhook  = { entry_point = "DeliverWebhook", timeout = 30, instances = 10, min = 0, egress = "fixed", callers = ["tasks"], queue = "webhooks", uses = ["deliver", "sealing"] }
    resumepayment   = { entry_point = "ResumePayment", timeout = 60, instances = 10, min = 0, egress = "fixed", callers = ["tasks"], queue = "provider-*", uses = ["calls", "control", "payment_events", "resume"] }
    settle          = { entry_point = "Settle", timeout = 300, instances = 2, min = 0, egress = "private", callers = ["scheduler", "tasks"], queue = "settlement", uses = ["providers", "control", "settle"] }
    reconcile       = { entry_point = "Reconcile", timeout = 540, instances = 1, min = 0, egress = "fixed", callers = ["scheduler"], uses = ["calls", "control", "payment_events", "resume"] }
    verifyaudit     = { entry_point = "VerifyAudit", timeout = 900, instances = 1, min = 0, egress = "private", callers = ["scheduler"], uses = ["seals"] }
    sweep           = { entry_point = "Sweep", timeout = 55, instances = 2, min = 0, egress = "private", callers = ["scheduler"], uses = ["payment_events", "provider_events", "resume", "deliver", "settle"] }
  }

  # Cloud Scheduler's jobs: which function, when, by whose clock, and how often a run that
  # failed is tried again, five minutes apart. settle-again carries on what the night's
  # first run did not finish, and does nothing after a good one.
  jobs = {
    sweep        = { function = "sweep", schedule = "* * * * *", time_zone = "Etc/UTC", retries = 0 }
    settle       = { function = "settle", schedule = "0 2 * * *", time_zone = "Asia/Tokyo", retries = 3 }
    settle-again = { function = "settle", schedule = "0 6 * * *", time_zone = "Asia/Tokyo", retries = 3 }
    reconcile    = { function = "reconcile", schedule = "10 * * * *", time_zone = "Etc/UTC", retries = 0 }
    verifyaudit  = { function = "verifyaudit", schedule = "30 3 * * *", time_zone = "Asia/Tokyo", retries = 3 }
  }

  # Variables by group; secrets.tf has those whose values are secrets, and says which are
  # left out because their provider is not enabled.
  variables = {
    base = {
      GOOGLE_CLOUD_PROJECT = var.project # traces are named with it
    }
    calls = {
      PROVIDERS           = local.providers
      STRIPE_ACCOUNT      = var.stripe_account
      PAYPAL_ACCOUNT      = var.paypal_account
      PAYPAL_CLIENT_ID    = var.paypal_client_id
      PAYPAL_API_BASE     = local.live ? "https://api-m.paypal.com" : "https://api-m.sandbox.paypal.com"
      GOCARDLESS_ACCOUNT  = var.gocardless_account
      GOCARDLESS_API_BASE = local.live ? "https://api.gocardless.com" : "https://api-sandbox.gocardless.com"
    }
    signatures = {
      PROVIDERS                = local.providers
      PAYPAL_WEBHOOK_ID        = var.paypal_webhook_id
      PAYPAL_WEBHOOK_CERT_BASE = local.live ? "https://api.paypal.com" : "https://api.sandbox.paypal.com"
    }
    providers = {
      PROVIDERS = local.providers
    }
    control = {
      CONTROL_PROJECT  = var.project
      CONTROL_DATABASE = google_firestore_database.control.name
    }
    payment_events = {
      PUBSUB_PROJECT       = var.project
      PAYMENT_EVENTS_TOPIC = google_pubsub_topic.events["payment-events"].name
    }
    provider_events = {
      PUBSUB_PROJECT        = var.project
      PROVIDER_EVENTS_TOPIC = google_pubsub_topic.events["provider-events"].name
    }
    resume = {
      TASKS_LOCATION        = local.tasks_location
      TASKS_SERVICE_ACCOUNT = local.caller_emails["tasks"]
      RESUME_URL            = local.urls["resumepayment"]
    }
    deliver = {
      TASKS_LOCATION        = local.tasks_location
      TASKS_SERVICE_ACCOUNT = local.caller_emails["tasks"]
      DELIVER_URL           = local.urls["deliverwebhook"]
    }
    settle = {
      TASKS_LOCATION        = local.tasks_location
      TASKS_SERVICE_ACCOUNT = local.caller_emails["tasks"]
      SETTLE_URL            = local.urls["settle"]
    }
    seals = {
      AUDIT_SEALS = "gs://${google_storage_bucket.audit_seals.name}"
    }
    sealing = {
      WEBHOOK_KMS_KEY = google_kms_crypto_key.webhooks.id
    }
  }

  # Who may call a function, as its own code checks once more. The gateway's identity says
  # nothing about who sends a provider's webhook: that is for the signature to say.
  identities = {
    for name, f in local.functions : name => {
      OIDC_AUDIENCE                                                        = local.urls[name]
      (contains(f.uses, "merchants") ? "GATEWAY_CALLERS" : "OIDC_CALLERS") = join(",", [for c in f.callers : local.caller_emails[c]])
    } if contains(f.uses, "merchants") || !contains(f.callers, "gateway")
  }

  # Cloud Run's address for a service is known before the service exists.
  urls = {
    for name, _ in local.functions :
    name => "https://${name}-${var.project_number}.${var.region}.run.app"
  }

  # The groups of each function as one map of variables, and one of secrets.
  given = {
    for name, f in local.functions : name => {
      for variable, value in merge(
        [for group in concat(["base"], f.uses) : lookup(local.variables, group, {})]...
      ) : variable => value if !contains(local.left_out, variable)
    }
  }
  given_secrets = {
    for name, f in local.functions : name => {
      for variable, secret in merge([for group in f.uses : lookup(local.secrets, group, {})]...) : variable => {
        secret  = google_secret_manager_secret.secret[secret].secret_id
        version = lookup(var.secret_versions, secret, null)
      } if !contains(local.left_out, variable)
    }
  }

  subscribers = { for name, f in local.functions : name => f if contains(f.callers, "pubsub") }
}

module "function" {
  source   = "./modules/function"
  for_each = { for name, f in local.functions : name => f if local.deployed }

  name            = each.key
  region          = var.region
  image           = var.images[each.key]
  service_account = local.accounts[each.key]

  variables = merge(
    { FUNCTION_TARGET = each.value.entry_point, DATABASE_URL = local.database_urls[each.key] },
    local.database_variables, local.given[each.key], lookup(local.identities, each.key, {}),
  )
  secrets = local.given_secrets[each.key]

  timeout       = each.value.timeout
  concurrency   = local.concurrency
  max_instances = local.instances[each.key]
  min_instances = var.min_instances ? each.value.min : 0

  invokers = { for c in each.value.callers : c => local.caller_emails[c] }
  # API Gateway comes from outside. Pub/Sub, Cloud Tasks and Scheduler of the same
  # project count as internal where they use the run.app address, as they do here:
  # https://cloud.google.com/run/docs/securing/ingress
  internal = !contains(each.value.callers, "gateway")

  network    = google_compute_network.tollgate.id
  subnetwork = google_compute_subnetwork.functions[each.value.egress].id
  egress     = each.value.egress

  readiness_probe     = var.readiness_probes
  deletion_protection = var.deletion_protection

  # Cloud Run waits until the first instance is ready, and that takes a login.
  # A revision whose secrets can't be read is refused.
  depends_on = [google_sql_user.login, google_project_iam_member.database_login, google_secret_manager_secret_iam_member.reader]
}

variable "readiness_probes" {
  description = "Whether an instance that can't reach the database gets no requests until it can again. Readiness probes are in Preview at Cloud Run (November 2026): set it to false if your organization does not allow Preview features."
  type        = bool
  default     = true
}
