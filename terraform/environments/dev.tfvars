# For trying things out: it costs little while nobody uses it, and can be taken down.
environment = "dev"

min_instances       = false
instances_limit     = 2
deletion_protection = false

database_tier             = "db-custom-1-3840"
database_max_connections  = 300
database_disk_gb          = 10
database_highly_available = false
database_recovery         = false
database_backups          = 7

egress_addresses = 1

# What is sealed for years can't be taken down.
audit_seal_retention_days = 1

# The version of each secret that functions get. A rotation is a new version, and its number here.
secret_versions = {
  gocardless-access-token    = 1
  gocardless-webhook-secrets = 1
  paypal-client-secret       = 1
  stripe-secret-key          = 1
  stripe-webhook-secrets     = 1
}
