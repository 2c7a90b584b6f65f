# Settlement makes its own tasks, one for each step of the night's run, so it is the one
# function of the scheduler's that may put something into a queue of its own.

resource "google_service_account" "settle" {
  account_id   = "run-settle"
  display_name = "Runs settle"
}

resource "google_cloud_tasks_queue_iam_member" "settle" {
  name     = google_cloud_tasks_queue.queue["settlement"].name
  location = var.region
  role     = "roles/cloudtasks.enqueuer"
  member   = google_service_account.settle.member
}

# A task bears the identity of Cloud Tasks' caller, which whoever makes it must be
# allowed to lend.
resource "google_service_account_iam_member" "settle_lends_tasks" {
  service_account_id = google_service_account.caller["tasks"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.settle.member
}
