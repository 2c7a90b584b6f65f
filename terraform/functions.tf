# Every function, and who calls it: the list to read first. A folder of the same
# name in functions/ has the code (a test holds the two lists together).
#
# callers    whose identity a call bears:
#              gateway    API Gateway, at route (functions/openapi.yaml has every one)
#              pubsub     push from topic
#              tasks      Cloud Tasks, from queue (provider-* is one for each provider)
#              scheduler  Cloud Scheduler, by the jobs below
# timeout    seconds until Cloud Run gives up on a request
# instances  at most, at a time. Each may open three connections to the database, which
#            has room for so many (shared/provider/guard has the sum, and a test holds it
#            together): what the scheduler calls needs few
locals {
  functions = {
    createpayment   = { entry_point = "CreatePayment", timeout = 30, instances = 10, callers = ["gateway"], route = "POST /v1/payments" }
    getpayment      = { entry_point = "GetPayment", timeout = 10, instances = 10, callers = ["gateway"], route = "GET /v1/payments/{id}" }
    listpayments    = { entry_point = "ListPayments", timeout = 10, instances = 10, callers = ["gateway"], route = "GET /v1/payments" }
    capturepayment  = { entry_point = "CapturePayment", timeout = 30, instances = 10, callers = ["gateway"], route = "POST /v1/payments/{id}/capture" }
    cancelpayment   = { entry_point = "CancelPayment", timeout = 30, instances = 10, callers = ["gateway"], route = "POST /v1/payments/{id}/cancel" }
    refundpayment   = { entry_point = "RefundPayment", timeout = 30, instances = 10, callers = ["gateway"], route = "POST /v1/payments/{id}/refund" }
    listdisputes    = { entry_point = "ListDisputes", timeout = 10, instances = 5, callers = ["gateway"], route = "/v1/disputes" }
    listsettlements = { entry_point = "ListSettlements", timeout = 60, instances = 5, callers = ["gateway"], route = "/v1/settlements" }
    webhookadmin    = { entry_point = "WebhookAdmin", timeout = 10, instances = 10, callers = ["gateway"], route = "/v1/webhook-*, /v1/events and /v1/event-types" }
    ingestwebhook   = { entry_point = "IngestWebhook", timeout = 10, instances = 10, callers = ["gateway"], route = "POST /v1/provider-webhooks/{provider}" }
    applywebhook    = { entry_point = "ApplyWebhook", timeout = 30, instances = 10, callers = ["pubsub"], topic = "provider-events" }
    notifymerchant  = { entry_point = "NotifyMerchant", timeout = 30, instances = 10, callers = ["pubsub"], topic = "payment-events" }
    deliverwebhook  = { entry_point = "DeliverWebhook", timeout = 30, instances = 10, callers = ["tasks"], queue = "webhooks" }
    resumepayment   = { entry_point = "ResumePayment", timeout = 60, instances = 10, callers = ["tasks"], queue = "provider-*" }
    settle          = { entry_point = "Settle", timeout = 300, instances = 2, callers = ["scheduler", "tasks"], queue = "settlement" }
    reconcile       = { entry_point = "Reconcile", timeout = 540, instances = 1, callers = ["scheduler"] }
    verifyaudit     = { entry_point = "VerifyAudit", timeout = 900, instances = 1, callers = ["scheduler"] }
    sweep           = { entry_point = "Sweep", timeout = 55, instances = 2, callers = ["scheduler"] }
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

  # Cloud Run's address for a service is known before the service exists.
  urls = {
    for name, _ in local.functions :
    name => "https://${name}-${var.project_number}.${var.region}.run.app"
  }

  subscribers = { for name, f in local.functions : name => f if contains(f.callers, "pubsub") }
}

# The identities with which functions are called. Each function admits only those
# of its callers.
resource "google_service_account" "caller" {
  for_each = toset(["gateway", "pubsub", "tasks", "scheduler"])

  account_id   = "call-from-${each.key}"
  display_name = "Calls the functions from ${each.key}"
}
