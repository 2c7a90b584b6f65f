output "service" {
  description = "The Cloud Run service."
  value       = google_cloud_run_v2_service.service
}

output "invokers" {
  description = "Who may call it."
  value       = toset([for i in google_cloud_run_v2_service_iam_member.invoker : i.member])
}
