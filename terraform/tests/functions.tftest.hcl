# Each function runs as itself, is called by whom it should be, and has what it uses and no more. terraform.tfvars beside
# this has the project.

run "production" {
  command = plan

  # What the functions' variables have of things that are not there yet.
  override_resource {
    target          = google_sql_database_instance.tollgate
    override_during = plan
    values = {
      private_ip_address = "10.20.0.3"
      server_ca_cert     = [{ cert = "CERTIFICATE", common_name = "", create_time = "", expiration_time = "", sha1_fingerprint = "" }]
    }
  }
  override_resource {
    target          = google_kms_crypto_key.webhooks
    override_during = plan
    values = {
      id = "projects/tollgate-test/locations/asia-northeast1/keyRings/tollgate/cryptoKeys/webhooks"
    }
  }

  variables {
    environment = "production"
  }

  # ---- who is there

  assert {
    condition     = toset(keys(module.function)) == toset(keys(local.functions)) && alltrue([for name, f in module.function : f.service.name == name])
    error_message = "A function is not deployed, or under another name."
  }
  assert {
    condition     = alltrue([for name, f in module.function : f.service.template[0].service_account == "run-${name}@tollgate-test.iam.gserviceaccount.com" && google_service_account.run[name].account_id == "run-${name}"])
    error_message = "A function runs as somebody else."
  }
  assert {
    condition     = length(distinct([for account in google_service_account.run : account.account_id])) == length(local.functions) + 2
    error_message = "Two run as one."
  }
  assert {
    condition     = google_cloud_run_v2_job.migrate[0].template[0].template[0].service_account == "run-migrate@tollgate-test.iam.gserviceaccount.com" && google_cloud_run_v2_job.ops[0].template[0].template[0].service_account == "run-ops@tollgate-test.iam.gserviceaccount.com"
    error_message = "A job runs as somebody else."
  }
  assert {
    condition = (
      contains([for e in google_cloud_run_v2_job.migrate[0].template[0].template[0].containers[0].env : e.value if e.name == "DATABASE_LOGINS"], local.database_logins)
      && contains([for e in google_cloud_run_v2_job.migrate[0].template[0].template[0].containers[0].env : e.value if e.name == "DATABASE_URL"], local.database_urls["migrate"])
      && contains([for e in google_cloud_run_v2_job.ops[0].template[0].template[0].containers[0].env : e.value if e.name == "DATABASE_URL"], local.database_urls["ops"])
      && google_cloud_run_v2_job.migrate[0].template[0].template[0].max_retries == 0 && google_cloud_run_v2_job.ops[0].template[0].template[0].max_retries == 0
    )
    error_message = "A job logs in as another, or is run twice."
  }
  assert {
    condition     = toset([for e in google_cloud_run_v2_job.ops[0].template[0].template[0].containers[0].env : e.name]) == toset(["AUDIT_SEALS", "CONTROL_DATABASE", "CONTROL_PROJECT", "DATABASE_CA", "DATABASE_IAM", "DATABASE_POOL_MAX", "DATABASE_URL", "DELIVER_URL", "GOOGLE_CLOUD_PROJECT", "RESUME_URL", "SETTLE_URL", "TASKS_LOCATION", "TASKS_SERVICE_ACCOUNT", "WEBHOOK_KMS_KEY"])
    error_message = "scripts/ops does not find a part of the deployment, or knows a secret."
  }

  # ---- who calls

  assert {
    condition     = alltrue([for name, f in local.functions : module.function[name].invokers == toset([for c in f.callers : "serviceAccount:call-from-${c}@tollgate-test.iam.gserviceaccount.com"])])
    error_message = "A function may be called by another, or not by whom it should be."
  }
  assert {
    condition     = alltrue([for name, f in local.functions : module.function[name].invokers == toset(["serviceAccount:call-from-gateway@tollgate-test.iam.gserviceaccount.com"]) if contains(f.callers, "gateway")])
    error_message = "Somebody besides the gateway may call a function for merchants."
  }
  assert {
    condition     = length(setintersection(flatten([for f in module.function : f.invokers]), ["allUsers", "allAuthenticatedUsers"])) == 0 && alltrue([for f in module.function : !coalesce(f.service.invoker_iam_disabled, false)])
    error_message = "A function is open to the world."
  }
  assert {
    condition = {
      for name, f in module.function : name => f.service.ingress if f.service.ingress != "INGRESS_TRAFFIC_INTERNAL_ONLY"
    } == { for name, f in local.functions : name => "INGRESS_TRAFFIC_ALL" if contains(f.callers, "gateway") }
    error_message = "A function that only Google's own services call is reached from outside, or the gateway can't reach one."
  }

  # ---- how it runs

  assert {
    condition     = alltrue([for f in module.function : [for p in f.service.template[0].containers[0].startup_probe : [p.http_get[0].path, p.period_seconds * p.failure_threshold, p.timeout_seconds]] == [["/health/startup", 150, 1]]])
    error_message = "A function has no startup probe of 150 seconds."
  }
  assert {
    condition     = alltrue([for f in module.function : [for p in f.service.template[0].containers[0].liveness_probe : [p.http_get[0].path, p.timeout_seconds]] == [["/health/liveness", 5]]])
    error_message = "A function has no liveness probe."
  }
  assert {
    condition     = alltrue([for f in module.function : [for p in f.service.template[0].containers[0].readiness_probe : [p.http_get[0].path, p.timeout_seconds]] == [["/health/readiness", 3]] && f.service.launch_stage == "BETA"])
    error_message = "A function has no readiness probe, or it is not allowed to."
  }
  assert {
    condition     = alltrue([for f in module.function : alltrue([for r in f.service.template[0].containers[0].resources : r.cpu_idle && r.startup_cpu_boost && r.limits == tomap({ cpu = "1", memory = "512Mi" })])])
    error_message = "A function costs while it waits, or starts slowly."
  }
  assert {
    condition     = alltrue([for name, f in module.function : f.service.template[0].max_instance_request_concurrency == local.concurrency && f.service.template[0].scaling[0].max_instance_count == local.functions[name].instances && f.service.template[0].timeout == "${local.functions[name].timeout}s"])
    error_message = "A function's limits are not those of functions.tf."
  }
  assert {
    condition     = toset([for name, f in module.function : name if f.service.scaling[0].min_instance_count == 1]) == toset(["createpayment", "capturepayment", "cancelpayment", "refundpayment"])
    error_message = "A payer waits for an instance to start, or one is kept that nobody waits for."
  }
  assert {
    condition     = toset([for name, f in module.function : name if f.service.template[0].vpc_access[0].egress == "ALL_TRAFFIC"]) == toset([for name, f in local.functions : name if contains(f.uses, "calls") || name == "deliverwebhook"])
    error_message = "Whoever calls providers or merchants, and nobody else, comes from the fixed addresses."
  }
  assert {
    condition     = alltrue([for name, f in module.function : f.service.template[0].containers[0].image == var.images[name]])
    error_message = "A function has another's image."
  }

  # ---- what it knows

  assert {
    condition     = alltrue([for f in local.functions : length(setsubtract(f.uses, concat(keys(local.variables), keys(local.secrets), ["merchants"]))) == 0])
    error_message = "A function uses a group of variables that there is not."
  }
  assert {
    condition     = alltrue([for f in module.function : alltrue([for e in f.service.template[0].containers[0].env : e.value != "" || length(e.value_source) == 1])])
    error_message = "A variable is empty."
  }
  assert {
    condition = alltrue([for name, f in module.function : contains([for e in f.service.template[0].containers[0].env : e.value if e.name == "DATABASE_URL"], local.database_urls[name])
    && contains([for e in f.service.template[0].containers[0].env : e.value if e.name == "FUNCTION_TARGET"], local.functions[name].entry_point)])
    error_message = "A function logs in as another, or is another."
  }
  assert {
    condition = {
      for secret in ["stripe-secret-key", "paypal-client-secret", "gocardless-access-token", "stripe-webhook-secrets", "gocardless-webhook-secrets"] :
      secret => join(" ", sort([for name, member in local.members : name if contains([for r in google_secret_manager_secret_iam_member.reader : r.member if r.secret_id == secret], member)]))
      } == {
      stripe-secret-key          = "applywebhook cancelpayment capturepayment createpayment reconcile refundpayment resumepayment"
      paypal-client-secret       = "applywebhook cancelpayment capturepayment createpayment reconcile refundpayment resumepayment"
      gocardless-access-token    = "applywebhook cancelpayment capturepayment createpayment reconcile refundpayment resumepayment"
      stripe-webhook-secrets     = "ingestwebhook"
      gocardless-webhook-secrets = "ingestwebhook"
    }
    error_message = "A function may read a secret that it does not use, or may not read one that it does."
  }
  assert {
    condition     = alltrue([for name, f in module.function : toset([for r in google_secret_manager_secret_iam_member.reader : r.secret_id if r.member == local.members[name]]) == toset([for e in f.service.template[0].containers[0].env : e.value_source[0].secret_key_ref[0].secret if length(e.value_source) == 1])])
    error_message = "A function may read other secrets than it gets."
  }
  assert {
    condition     = alltrue([for f in module.function : alltrue([for e in f.service.template[0].containers[0].env : e.value_source[0].secret_key_ref[0].version == "1" if length(e.value_source) == 1])])
    error_message = "A secret's version is not pinned."
  }
  assert {
    condition = alltrue([for name, f in module.function : contains([for e in f.service.template[0].containers[0].env : e.value if e.name == "GATEWAY_CALLERS"], "call-from-gateway@tollgate-test.iam.gserviceaccount.com")
      && contains([for e in f.service.template[0].containers[0].env : e.value if e.name == "OIDC_AUDIENCE"], "https://${name}-123456789012.asia-northeast1.run.app") if contains(local.functions[name].uses, "merchants")
    ])
    error_message = "A function for merchants does not know the gateway."
  }
  assert {
    condition = alltrue([for name, f in module.function : contains([for e in f.service.template[0].containers[0].env : e.value if e.name == "OIDC_CALLERS"], join(",", [for c in local.functions[name].callers : "call-from-${c}@tollgate-test.iam.gserviceaccount.com"]))
      && contains([for e in f.service.template[0].containers[0].env : e.value if e.name == "OIDC_AUDIENCE"], "https://${name}-123456789012.asia-northeast1.run.app") if !contains(local.functions[name].callers, "gateway")
    ])
    error_message = "A function does not know its callers."
  }

  # ---- what it may do

  assert {
    condition = {
      for topic in local.topics : topic => join(" ", sort([for p in local.publishers : p.function if p.topic == topic]))
      } == {
      payment-events  = "applywebhook cancelpayment capturepayment createpayment reconcile refundpayment resumepayment sweep"
      provider-events = "ingestwebhook sweep"
    }
    error_message = "Others publish than those who should."
  }
  assert {
    condition     = alltrue([for key, p in local.publishers : google_pubsub_topic_iam_member.publisher[key].member == "serviceAccount:run-${p.function}@tollgate-test.iam.gserviceaccount.com" && google_pubsub_topic_iam_member.publisher[key].role == "roles/pubsub.publisher"])
    error_message = "A function may not publish, or may do more."
  }
  assert {
    condition = {
      for queue, _ in local.queues : queue => join(" ", sort([for e in local.enqueuers : e.function if e.queue == queue]))
      } == {
      provider-stripe = "applywebhook cancelpayment capturepayment createpayment reconcile refundpayment resumepayment sweep"
      provider-paypal = "applywebhook cancelpayment capturepayment createpayment reconcile refundpayment resumepayment sweep"
      provider-bank   = "applywebhook cancelpayment capturepayment createpayment reconcile refundpayment resumepayment sweep"
      webhooks        = "deliverwebhook notifymerchant sweep webhookadmin"
      settlement      = "settle sweep"
    }
    error_message = "Others make tasks than those who should."
  }
  assert {
    condition     = alltrue([for key, e in local.enqueuers : google_cloud_tasks_queue_iam_member.enqueuer[key].member == "serviceAccount:run-${e.function}@tollgate-test.iam.gserviceaccount.com" && google_cloud_tasks_queue_iam_member.enqueuer[key].role == "roles/cloudtasks.enqueuer"])
    error_message = "A function may not make tasks, or may do more."
  }
  assert {
    condition     = toset(keys(google_service_account_iam_member.lends_tasks)) == toset([for e in local.enqueuers : e.function]) && alltrue([for grant in google_service_account_iam_member.lends_tasks : grant.service_account_id == "projects/tollgate-test/serviceAccounts/call-from-tasks@tollgate-test.iam.gserviceaccount.com"])
    error_message = "Whoever makes tasks, and nobody else, lends them the identity of Cloud Tasks' caller, and no other identity."
  }
  assert {
    condition = { for name, grant in google_kms_crypto_key_iam_member.webhooks : name => grant.role } == {
      webhookadmin   = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
      deliverwebhook = "roles/cloudkms.cryptoKeyDecrypter"
    } && google_kms_crypto_key_iam_member.ops.role == "roles/cloudkms.cryptoKeyEncrypter"
    error_message = "Others open webhook secrets than those who sign with them."
  }
  assert {
    condition     = toset([for grant in google_storage_bucket_iam_member.verifyaudit : grant.role]) == toset(["roles/storage.objectCreator", "roles/storage.objectViewer"]) && google_storage_bucket_iam_member.ops.role == "roles/storage.objectViewer"
    error_message = "Somebody can do more to seals than make and read them."
  }
  assert {
    condition     = { for name, grant in google_project_iam_member.control : name => grant.role } == { for name, f in local.functions : name => name == "settle" ? "roles/datastore.viewer" : "roles/datastore.user" if contains(f.uses, "control") }
    error_message = "Others use the control plane than those who should."
  }

  # ---- what reaches it

  assert {
    condition     = alltrue([for topic in local.topics : contains([for s in google_pubsub_subscription.push : s.topic], topic)])
    error_message = "Nobody reads a topic."
  }
  assert {
    condition = alltrue([for name, s in google_pubsub_subscription.push :
      s.push_config[0].push_endpoint == "https://${name}-123456789012.asia-northeast1.run.app"
      && s.push_config[0].oidc_token[0].audience == s.push_config[0].push_endpoint
      && s.push_config[0].oidc_token[0].service_account_email == "call-from-pubsub@tollgate-test.iam.gserviceaccount.com"
      && s.enable_message_ordering && s.ack_deadline_seconds == local.functions[name].timeout && s.expiration_policy[0].ttl == ""
    ])
    error_message = "A push has no identity, or another, or goes elsewhere, or out of order."
  }
  assert {
    condition     = alltrue([for s in google_pubsub_subscription.push : contains([for d in google_pubsub_subscription.dead : "projects/tollgate-test/topics/${d.topic}"], s.dead_letter_policy[0].dead_letter_topic) && s.dead_letter_policy[0].dead_letter_topic == "projects/tollgate-test/topics/${s.topic}-dead"])
    error_message = "What could not be delivered is lost: no dead-letter topic, or none with a subscription."
  }
  assert {
    condition     = google_service_account_iam_member.pubsub_pushes.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com" && google_service_account_iam_member.pubsub_pushes.role == "roles/iam.serviceAccountTokenCreator"
    error_message = "Pub/Sub may not make the tokens of its pushes."
  }
  assert {
    condition     = toset(keys(google_pubsub_subscription_iam_member.dead_letter_subscriber)) == toset(keys(google_pubsub_subscription.push)) && alltrue([for t in local.topics : google_pubsub_topic_iam_member.dead_letter_publisher[t].member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"])
    error_message = "Pub/Sub may not move what could not be delivered."
  }
  assert {
    condition     = toset([for name, f in local.functions : name if contains(f.callers, "scheduler")]) == toset([for j in local.jobs : j.function])
    error_message = "A function waits for a job that there is not, or a job calls what it may not."
  }
  assert {
    condition = alltrue([for name, j in google_cloud_scheduler_job.job :
      j.http_target[0].uri == "https://${local.jobs[name].function}-123456789012.asia-northeast1.run.app"
      && j.http_target[0].oidc_token[0].audience == j.http_target[0].uri
      && j.http_target[0].oidc_token[0].service_account_email == "call-from-scheduler@tollgate-test.iam.gserviceaccount.com"
      && j.attempt_deadline == "${local.functions[local.jobs[name].function].timeout}s"
    ])
    error_message = "A job has no identity, or another, or goes elsewhere, or gives up early."
  }
  assert {
    condition     = toset(flatten([for f in local.functions : [for queue in keys(google_cloud_tasks_queue.queue) : queue if try(f.queue == queue || (f.queue == "provider-*" && startswith(queue, "provider-")), false)]])) == toset(keys(google_cloud_tasks_queue.queue))
    error_message = "A queue's tasks call nobody."
  }

  # ---- what stays

  assert {
    condition     = alltrue([for f in module.function : f.service.deletion_protection]) && google_cloud_run_v2_job.migrate[0].deletion_protection && google_cloud_run_v2_job.ops[0].deletion_protection
    error_message = "A function can be deleted by mistake."
  }
  assert {
    condition     = google_firestore_database.control.delete_protection_state == "DELETE_PROTECTION_ENABLED" && google_kms_crypto_key.webhooks.deletion_policy == "PREVENT" && google_storage_bucket.audit_seals.deletion_policy == "PREVENT" && !google_storage_bucket.audit_seals.force_destroy && alltrue([for s in google_secret_manager_secret.secret : s.deletion_protection])
    error_message = "What can't be made again can be deleted by mistake."
  }
  assert {
    condition     = google_storage_bucket.audit_seals.public_access_prevention == "enforced" && google_storage_bucket.audit_seals.uniform_bucket_level_access && tonumber(google_storage_bucket.audit_seals.retention_policy[0].retention_period) == 3653 * 86400
    error_message = "Seals are public, or don't last."
  }
  assert {
    condition     = length(google_firestore_field.leases_expire.ttl_config) == 1
    error_message = "What expires is kept."
  }
  assert {
    condition     = local.variables.calls.PAYPAL_API_BASE == "https://api-m.paypal.com" && local.variables.calls.GOCARDLESS_API_BASE == "https://api.gocardless.com" && local.variables.signatures.PAYPAL_WEBHOOK_CERT_BASE == "https://api.paypal.com"
    error_message = "Production calls a sandbox."
  }
}

# Before there are images: all that they need to be there, and nothing that would call what is not.
run "foundation" {
  command = plan

  variables {
    environment       = "dev"
    images            = {}
    secret_versions   = {}
    paypal_client_id  = ""
    paypal_webhook_id = ""
  }

  assert {
    condition     = length(module.function) + length(google_pubsub_subscription.push) + length(google_cloud_scheduler_job.job) + length(google_cloud_run_v2_job.migrate) + length(google_cloud_run_v2_job.ops) == 0
    error_message = "Something is called that is not there yet."
  }
  assert {
    condition     = length(google_service_account.run) == length(local.functions) + 2 && length(google_secret_manager_secret.secret) == 5 && length(google_pubsub_topic.events) == 2 && length(google_pubsub_subscription.dead) == 2 && length(google_cloud_tasks_queue.queue) == 5
    error_message = "The foundation lacks something."
  }
}

# dev: one provider, at its sandbox; nothing waits, nothing is protected, no feature in Preview.
run "dev" {
  command = plan

  variables {
    environment         = "dev"
    payment_providers   = ["stripe"]
    paypal_client_id    = ""
    paypal_webhook_id   = ""
    secret_versions     = { stripe-secret-key = 3, stripe-webhook-secrets = 2 }
    min_instances       = false
    readiness_probes    = false
    deletion_protection = false
    instances_limit     = 2
    operators           = ["group:ops@example.com"]
  }

  assert {
    condition     = toset([for grant in google_cloud_run_v2_job_iam_member.operators : "${grant.name} ${grant.role} ${grant.member}"]) == toset(["ops roles/run.jobsExecutorWithOverrides group:ops@example.com", "ops roles/run.viewer group:ops@example.com"])
    error_message = "Operators can't run scripts/ops, or can run more."
  }

  assert {
    condition     = output.secrets == toset(["stripe-secret-key", "stripe-webhook-secrets"]) && alltrue([for given in local.given_secrets : alltrue([for variable, _ in given : startswith(variable, "STRIPE_")])])
    error_message = "A function gets secrets of a provider that is not enabled."
  }
  assert {
    condition     = alltrue([for given in local.given : length([for variable, _ in given : variable if startswith(variable, "PAYPAL_") || startswith(variable, "GOCARDLESS_") || endswith(variable, "_ACCOUNT") && !startswith(variable, "TASKS_")]) == 0]) && local.given["createpayment"].PROVIDERS == "stripe"
    error_message = "A function knows of a provider that is not enabled, or of an account without a name."
  }
  assert {
    condition     = local.variables.calls.PAYPAL_API_BASE == "https://api-m.sandbox.paypal.com" && local.variables.calls.GOCARDLESS_API_BASE == "https://api-sandbox.gocardless.com" && local.variables.signatures.PAYPAL_WEBHOOK_CERT_BASE == "https://api.sandbox.paypal.com"
    error_message = "dev calls where money is real."
  }
  assert {
    condition     = alltrue([for f in module.function : f.service.scaling[0].min_instance_count == 0 && f.service.template[0].scaling[0].max_instance_count <= 2 && !f.service.deletion_protection && length(f.service.template[0].containers[0].readiness_probe) == 0 && f.service.launch_stage == "GA"])
    error_message = "dev's functions are not as dev wants them."
  }
  assert {
    condition     = google_firestore_database.control.delete_protection_state == "DELETE_PROTECTION_DISABLED" && google_kms_crypto_key.webhooks.deletion_policy == "DELETE" && google_storage_bucket.audit_seals.force_destroy
    error_message = "dev can't be taken down."
  }
}

# ---- what is refused

run "secret_not_pinned" {
  command = plan
  variables {
    environment     = "dev"
    secret_versions = { stripe-secret-key = 1 }
  }
  expect_failures = [output.secrets]
}

run "paypal_without_its_ids" {
  command = plan
  variables {
    environment       = "dev"
    paypal_client_id  = ""
    paypal_webhook_id = ""
  }
  expect_failures = [var.paypal_client_id, var.paypal_webhook_id]
}
