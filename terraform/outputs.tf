# What whoever deploys has to know, or to tell others. Outputs about one file alone stand in that file.

locals {
  api_url = !local.deployed ? null : var.load_balancer ? "https://${var.domain}" : "https://${google_api_gateway_gateway.tollgate[0].default_hostname}"
}

output "api_url" {
  description = "Where merchants call the API. Null until there are functions."
  value       = local.api_url
}

output "provider_webhooks" {
  description = "The addresses to register for webhooks at each provider."
  value       = { for provider in var.payment_providers : provider => local.deployed ? "${local.api_url}/v1/provider-webhooks/${provider}" : null }
}

output "load_balancer_address" {
  description = "What the domain's A record has to be. Null without a load balancer."
  value       = var.load_balancer ? google_compute_global_address.load_balancer[0].address : null
}

output "egress_addresses" {
  description = "Where calls to providers and merchants come from. Tell them: they may have to allow these."
  value       = google_compute_address.egress[*].address
}

output "registry" {
  description = "Where images are pushed."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "database_instance" {
  description = "The database, as gcloud sql and scripts know it."
  value       = google_sql_database_instance.tollgate.connection_name
}

output "connections" {
  description = "How many connections to the database the functions may open, and how many there are for them."
  value       = { needed = local.connections_needed, there = local.connections_there }
}
