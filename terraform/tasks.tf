# Cloud Tasks and Cloud Scheduler: work that waits for its time.
#
# A queue's own retries are only for our failures (an instance that dies, a
# database that is away). When a provider or a merchant fails, the function
# answers 2xx and makes the next task itself, so that one of them cannot slow
# the queue for the others. What a queue gives up, the sweep finds in the
# database.

locals {
  # One queue per provider, so that what waits for one that is away does not stand
  # before another's. A night's settlement is a chain of tasks, of which one is enough at
  # a time, and none may be given up.
  queues = {
    provider-stripe = { per_second = 50, concurrent = 100, attempts = 100, backoff = 1 }
    provider-paypal = { per_second = 50, concurrent = 100, attempts = 100, backoff = 1 }
    provider-bank   = { per_second = 50, concurrent = 100, attempts = 100, backoff = 1 }
    webhooks        = { per_second = 500, concurrent = 1000, attempts = 100, backoff = 1 }
    settlement      = { per_second = 10, concurrent = 4, attempts = -1, backoff = 10 }
  }

  tasks_location = "projects/${var.project}/locations/${var.region}"

  # Who makes tasks in which queue: whoever has the group of variables that goes with it.
  enqueuers = merge([
    for queue, _ in local.queues : {
      for name, f in local.functions :
      "${name} ${queue}" => { function = name, queue = queue } if contains(f.uses, local.queue_groups[queue])
    }
  ]...)
  queue_groups = {
    for queue, _ in local.queues :
    queue => startswith(queue, "provider-") ? "resume" : lookup({ webhooks = "deliver", settlement = "settle" }, queue, "")
  }
}

resource "google_cloud_tasks_queue" "queue" {
  for_each = local.queues

  name     = each.key
  location = var.region

  rate_limits {
    max_dispatches_per_second = each.value.per_second
    max_concurrent_dispatches = each.value.concurrent
  }

  # Cloud Tasks stops when both limits are spent, not the first.
  retry_config {
    max_attempts       = each.value.attempts
    max_retry_duration = "86400s"
    min_backoff        = "${each.value.backoff}s"
    max_backoff        = "300s"
    max_doublings      = 8
  }

  stackdriver_logging_config {
    sampling_ratio = 1
  }

  depends_on = [google_project_service.api]
}

resource "google_cloud_tasks_queue_iam_member" "enqueuer" {
  for_each = local.enqueuers

  name     = google_cloud_tasks_queue.queue[each.value.queue].name
  location = var.region
  role     = "roles/cloudtasks.enqueuer"
  member   = local.members[each.value.function]
}

resource "google_service_account_iam_member" "lends_tasks" {
  for_each = toset([for e in local.enqueuers : e.function])

  service_account_id = local.tasks_caller
  role               = "roles/iam.serviceAccountUser"
  member             = local.members[each.key]
}

resource "google_cloud_scheduler_job" "job" {
  for_each = { for name, job in local.jobs : name => job if local.deployed }

  name             = each.key
  region           = var.region
  schedule         = each.value.schedule
  time_zone        = each.value.time_zone
  attempt_deadline = "${local.functions[each.value.function].timeout}s"

  http_target {
    uri         = local.urls[each.value.function]
    http_method = "POST"
    body        = base64encode("{}")
    headers     = { "Content-Type" = "application/json" }
    oidc_token {
      service_account_email = local.caller_emails["scheduler"]
      audience              = local.urls[each.value.function]
    }
  }

  retry_config {
    retry_count          = each.value.retries # for 0, the next run comes soon enough
    min_backoff_duration = "300s"
    max_backoff_duration = "300s"
  }

  depends_on = [module.function]
}
