# Pub/Sub. Messages of one payment arrive in order (the ordering key is the
# payment's id) until one is dead-lettered; consumers go by the sequence in the
# message, never by the order of arrival.

locals {
  topics = toset(["payment-events", "provider-events"])

  dead_letter_keep = "2678400s" # 31 days, the longest there is

  pubsub_agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "events" {
  for_each = local.topics

  name                       = each.key
  message_retention_duration = "604800s"
}

resource "google_pubsub_subscription" "push" {
  for_each = local.subscribers

  name                       = each.key
  topic                      = google_pubsub_topic.events[each.value.topic].id
  enable_message_ordering    = true
  ack_deadline_seconds       = each.value.timeout
  message_retention_duration = "604800s"

  push_config {
    push_endpoint = local.urls[each.key]
    oidc_token {
      service_account_email = google_service_account.caller["pubsub"].email
      audience              = local.urls[each.key]
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead[each.value.topic].id
    max_delivery_attempts = 20
  }

  # Without it a subscription that is idle for 31 days is deleted.
  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic" "dead" {
  for_each = local.topics

  name = "${each.key}-dead"
}

# A topic without a subscription keeps nothing.
resource "google_pubsub_subscription" "dead" {
  for_each = local.topics

  name                       = "${each.key}-dead"
  topic                      = google_pubsub_topic.dead[each.key].id
  message_retention_duration = local.dead_letter_keep

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub's own account moves a message: it publishes to the one topic and
# acknowledges on the other's subscription.
resource "google_pubsub_topic_iam_member" "dead_letter_publisher" {
  for_each = local.topics

  topic  = google_pubsub_topic.dead[each.key].id
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letter_subscriber" {
  for_each = local.subscribers

  subscription = google_pubsub_subscription.push[each.key].id
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
