# As production is, but smaller and without a standby: what is going to be released is tried here.
environment = "staging"

instances_limit     = 5
deletion_protection = false

database_tier             = "db-custom-2-8192"
database_max_connections  = 550
database_disk_gb          = 20
database_highly_available = false
database_backups          = 7

egress_addresses = 1

# What is sealed for years can't be taken down.
audit_seal_retention_days = 30

# The version of each secret that functions get. A rotation is a new version, and its number here.
secret_versions = {
  gocardless-access-token    = 1
  gocardless-webhook-secrets = 1
  paypal-client-secret       = 1
  stripe-secret-key          = 1
  stripe-webhook-secrets     = 1
}
