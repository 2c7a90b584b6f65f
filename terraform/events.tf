# Pub/Sub. Messages of one payment arrive in order (the ordering key is the
# payment's id) until one is dead-lettered; consumers go by the sequence in the
# message, never by the order of arrival.

locals {
  topics = toset(["payment-events", "provider-events"])

  # Who publishes to which: whoever has the topic's group of variables.
  publishers = merge([
    for topic in local.topics : {
      for name, f in local.functions :
      "${name} ${topic}" => { function = name, topic = topic } if contains(f.uses, replace(topic, "-", "_"))
    }
  ]...)

  dead_letter_keep = "2678400s" # 31 days, the longest there is

  pubsub_agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "events" {
  for_each = local.topics

  name                       = each.key
  message_retention_duration = "604800s"

  # Order is kept within a region.
  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = local.publishers

  topic  = google_pubsub_topic.events[each.value.topic].name
  role   = "roles/pubsub.publisher"
  member = local.members[each.value.function]
}

resource "google_pubsub_subscription" "push" {
  for_each = { for name, f in local.subscribers : name => f if local.deployed }

  name                       = each.key
  topic                      = google_pubsub_topic.events[each.value.topic].name
  enable_message_ordering    = true
  ack_deadline_seconds       = each.value.timeout
  message_retention_duration = "604800s"

  push_config {
    push_endpoint = local.urls[each.key]
    oidc_token {
      service_account_email = local.caller_emails["pubsub"]
      audience              = local.urls[each.key]
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = "projects/${var.project}/topics/${google_pubsub_topic.dead[each.value.topic].name}"
    max_delivery_attempts = 20
  }

  # Without it a subscription that is idle for 31 days is deleted.
  expiration_policy {
    ttl = ""
  }

  # Else the first messages would spend their attempts on a function that is not there.
  depends_on = [module.function, google_service_account_iam_member.pubsub_pushes]
}

resource "google_pubsub_topic" "dead" {
  for_each = local.topics

  name = "${each.key}-dead"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api]
}

# A topic without a subscription keeps nothing.
resource "google_pubsub_subscription" "dead" {
  for_each = local.topics

  name                       = "${each.key}-dead"
  topic                      = google_pubsub_topic.dead[each.key].name
  message_retention_duration = local.dead_letter_keep

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub's own account, which a new project does not have before it is asked for. It moves
# a message: it publishes to the one topic and acknowledges on the other's subscription.
resource "google_project_service_identity" "pubsub" {
  provider = google-beta

  service = "pubsub.googleapis.com"

  depends_on = [google_project_service.api]
}

# An agent that was asked for gets none of the roles that Google gives one by itself
# (https://docs.cloud.google.com/iam/docs/create-service-agents), and each push bears a token
# that it makes in the name of the caller.
resource "google_service_account_iam_member" "pubsub_pushes" {
  service_account_id = google_service_account.caller["pubsub"].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent

  depends_on = [google_project_service_identity.pubsub]
}

resource "google_pubsub_topic_iam_member" "dead_letter_publisher" {
  for_each = local.topics

  topic  = google_pubsub_topic.dead[each.key].name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent

  depends_on = [google_project_service_identity.pubsub]
}

resource "google_pubsub_subscription_iam_member" "dead_letter_subscriber" {
  for_each = google_pubsub_subscription.push

  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent

  depends_on = [google_project_service_identity.pubsub]
}
