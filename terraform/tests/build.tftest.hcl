# The account of releases can do what a release does, and no more.

variables {
  environment = "production"
}

run "by_hand" {
  command = plan

  assert {
    condition     = length(google_cloudbuild_trigger.release) == 0 && length(google_storage_bucket_iam_member.deploy_state) == 0
    error_message = "Without a pipeline there is a trigger, or a grant for one."
  }

  # ---- what it may do

  assert {
    condition     = alltrue([for p in google_project_iam_custom_role.deploy.permissions : !can(regex("(?i)setIamPolicy|\\.actAs$|getAccessToken|secret", p))])
    error_message = "The pipeline could give somebody more, or become somebody else."
  }
  assert {
    condition     = toset([for p in google_project_iam_custom_role.deploy.permissions : p if !can(regex("\\.(get|list|getMetadata|read|use)$", p))]) == toset(["run.services.update", "run.jobs.update", "run.jobs.run", "apigateway.apiconfigs.create", "apigateway.apiconfigs.delete", "apigateway.gateways.update"])
    error_message = "The pipeline writes something else than a release does."
  }
  assert {
    condition     = alltrue([for role in keys(google_project_iam_member.deploy) : can(regex("viewer|Viewer|^browser$|^iam.securityReviewer$|^logging.logWriter$|^release$", role))])
    error_message = "The pipeline has a role on the whole project that does more than show how it is set up."
  }
  assert {
    condition     = toset(keys(google_service_account_iam_member.deploy_acts)) == toset(concat([for name in keys(local.functions) : "run-${name}"], ["run-migrate", "run-ops", "call-from-gateway"]))
    error_message = "The pipeline acts as somebody whom it does not deploy, or can't deploy one."
  }
  assert {
    condition     = alltrue([for m in google_service_account_iam_member.deploy_calls : m.role == "roles/iam.serviceAccountOpenIdTokenCreator"]) && google_artifact_registry_repository_iam_member.deploy.role == "roles/artifactregistry.writer"
    error_message = "The smoke test or the images have another role."
  }
  assert {
    condition = alltrue([for member in concat(
      [for m in google_project_iam_member.deploy : m.member], [for m in google_service_account_iam_member.deploy_acts : m.member],
      keys(google_service_account_iam_member.deploy_calls), [google_artifact_registry_repository_iam_member.deploy.member],
    ) : member == "serviceAccount:${google_service_account.deploy.account_id}@tollgate-test.iam.gserviceaccount.com"])
    error_message = "Somebody else got a part of the pipeline's rights."
  }
}

run "by_trigger" {
  command = plan

  variables {
    state_bucket = "tollgate-test-terraform"
    operators    = ["group:ops@example.com"]
    deployers    = ["user:somebody@example.com"]
    pipeline     = { repository = "projects/tollgate-test/locations/asia-northeast1/connections/code/repositories/tollgate" }
  }

  assert {
    condition     = google_cloudbuild_trigger.release[0].approval_config[0].approval_required && google_cloudbuild_trigger.release[0].filename == "cloudbuild.yaml"
    error_message = "What is merged reaches production without a person."
  }
  assert {
    condition     = google_cloudbuild_trigger.release[0].repository_event_config[0].push[0].branch == "^main$"
    error_message = "Another branch is released."
  }
  assert {
    condition     = jsondecode(base64decode(google_cloudbuild_trigger.release[0].substitutions._VARIABLES)).operators == ["group:ops@example.com"]
    error_message = "The pipeline does not plan with the variables that a person applied with."
  }
  assert {
    condition     = toset(keys(google_service_account_iam_member.deploy_calls)) == toset(["user:somebody@example.com", "serviceAccount:deploy@tollgate-test.iam.gserviceaccount.com"])
    error_message = "Who releases by hand can't try what is new."
  }
  assert {
    condition     = google_storage_bucket_iam_member.deploy_state[0].bucket == "tollgate-test-terraform"
    error_message = "The pipeline has rights to another bucket."
  }
}

run "staging_needs_no_approval" {
  command = plan

  variables {
    environment  = "staging"
    state_bucket = "tollgate-test-terraform"
    pipeline     = { repository = "projects/tollgate-test/locations/asia-northeast1/connections/code/repositories/tollgate", branch = "^next$" }
  }

  assert {
    condition     = !google_cloudbuild_trigger.release[0].approval_config[0].approval_required && google_cloudbuild_trigger.release[0].repository_event_config[0].push[0].branch == "^next$"
    error_message = "Staging waits for somebody, or follows another branch."
  }
}

run "a_pipeline_without_its_state" {
  command = plan

  variables {
    pipeline = { repository = "projects/tollgate-test/locations/asia-northeast1/connections/code/repositories/tollgate" }
  }

  expect_failures = [var.pipeline]
}
