# Where money is real. What is not said here is as variables.tf has it.
environment = "production"

# The domain is given apart (TF_VAR_domain).
load_balancer = true

# The version of each secret that functions get. A rotation is a new version, and its number here.
secret_versions = {
  gocardless-access-token    = 1
  gocardless-webhook-secrets = 1
  paypal-client-secret       = 1
  stripe-secret-key          = 1
  stripe-webhook-secrets     = 1
}
