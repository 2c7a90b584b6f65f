# Every function, and who calls it: the list to read first. A folder of the same
# name in functions/ has the code (a test holds the two lists together).
#
# caller   whose identity the call bears:
#            gateway    API Gateway, at route (functions/openapi.yaml has every one)
#            pubsub     push from topic
#            tasks      Cloud Tasks, from queue (provider-* is one for each provider)
#            scheduler  Cloud Scheduler, at schedule (UTC)
# timeout  seconds until Cloud Run gives up on a request
locals {
  functions = {
    createpayment  = { entry_point = "CreatePayment", timeout = 30, caller = "gateway", route = "POST /v1/payments" }
    getpayment     = { entry_point = "GetPayment", timeout = 10, caller = "gateway", route = "GET /v1/payments/{id}" }
    listpayments   = { entry_point = "ListPayments", timeout = 10, caller = "gateway", route = "GET /v1/payments" }
    capturepayment = { entry_point = "CapturePayment", timeout = 30, caller = "gateway", route = "POST /v1/payments/{id}/capture" }
    cancelpayment  = { entry_point = "CancelPayment", timeout = 30, caller = "gateway", route = "POST /v1/payments/{id}/cancel" }
    refundpayment  = { entry_point = "RefundPayment", timeout = 30, caller = "gateway", route = "POST /v1/payments/{id}/refund" }
    webhookadmin   = { entry_point = "WebhookAdmin", timeout = 10, caller = "gateway", route = "/v1/webhook-*, /v1/events and /v1/event-types" }
    ingestwebhook  = { entry_point = "IngestWebhook", timeout = 10, caller = "gateway", route = "POST /v1/provider-webhooks/{provider}" }
    applywebhook   = { entry_point = "ApplyWebhook", timeout = 30, caller = "pubsub", topic = "provider-events" }
    notifymerchant = { entry_point = "NotifyMerchant", timeout = 30, caller = "pubsub", topic = "payment-events" }
    deliverwebhook = { entry_point = "DeliverWebhook", timeout = 30, caller = "tasks", queue = "webhooks" }
    resumepayment  = { entry_point = "ResumePayment", timeout = 60, caller = "tasks", queue = "provider-*" }
    sweep          = { entry_point = "Sweep", timeout = 55, caller = "scheduler", schedule = "* * * * *" }
  }

  # Cloud Run's address for a service is known before the service exists.
  urls = {
    for name, _ in local.functions :
    name => "https://${name}-${var.project_number}.${var.region}.run.app"
  }

  subscribers = { for name, f in local.functions : name => f if f.caller == "pubsub" }
  jobs        = { for name, f in local.functions : name => f if f.caller == "scheduler" }
}

# The identities with which functions are called. Each function admits only the
# one of its caller.
resource "google_service_account" "caller" {
  for_each = toset(["gateway", "pubsub", "tasks", "scheduler"])

  account_id   = "call-from-${each.key}"
  display_name = "Calls the functions from ${each.key}"
}
