# A domain of our own, with TLS 1.2 at least, and Cloud Armor in front of API Gateway. Optional, and priced by the hour.
#
# It is no fence: API Gateway has no setting that closes its own address (*.gateway.dev), so whoever knows that goes
# around Cloud Armor. What protects the functions is behind the gateway: keys, limits and admission (DESIGN, 9).
# Google has load balancing to API Gateway in Preview.

variable "requests_per_minute" {
  description = "How many requests a minute Cloud Armor lets through from one address. Merchants and providers send many from few addresses, and their limits are the gateway's own: this is against floods."
  type        = number
  default     = 30000
}

# It is there before the gateway, so that the domain can point at it: the certificate is issued when it does.
resource "google_compute_global_address" "load_balancer" {
  count = var.load_balancer ? 1 : 0

  name = "load-balancer"

  depends_on = [google_project_service.api]
}

resource "google_compute_managed_ssl_certificate" "api" {
  count = var.load_balancer ? 1 : 0

  name = "api-${substr(sha1(var.domain), 0, 8)}"
  managed {
    domains = [var.domain]
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.api]
}

locals {
  balanced = var.load_balancer && local.deployed
}

resource "google_compute_region_network_endpoint_group" "gateway" {
  provider = google-beta
  count    = local.balanced ? 1 : 0

  name                  = "gateway"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  serverless_deployment {
    platform = "apigateway.googleapis.com"
    resource = google_api_gateway_gateway.tollgate[0].gateway_id
  }
}

resource "google_compute_security_policy" "edge" {
  count = local.balanced ? 1 : 0

  name = "edge"

  advanced_options_config {
    log_level = "NORMAL" # VERBOSE would log parts of requests
  }

  # The API is below /v1/ alone.
  rule {
    priority = 1000
    action   = "deny(404)"
    match {
      expr {
        expression = "!request.path.startsWith('/v1/')"
      }
    }
  }

  # Floods from one address.
  rule {
    priority = 2000
    action   = "throttle"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.requests_per_minute
        interval_sec = 60
      }
    }
  }

  rule {
    priority = 2147483647
    action   = "allow"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}

resource "google_compute_backend_service" "gateway" {
  count = local.balanced ? 1 : 0

  name                  = "gateway"
  protocol              = "HTTPS"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  security_policy       = google_compute_security_policy.edge[0].id

  backend {
    group = google_compute_region_network_endpoint_group.gateway[0].id
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

resource "google_compute_url_map" "api" {
  count = local.balanced ? 1 : 0

  name            = "api"
  default_service = google_compute_backend_service.gateway[0].id
}

resource "google_compute_ssl_policy" "api" {
  count = local.balanced ? 1 : 0

  name            = "api"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_target_https_proxy" "api" {
  count = local.balanced ? 1 : 0

  name             = "api"
  url_map          = google_compute_url_map.api[0].id
  ssl_certificates = ["projects/${var.project}/global/sslCertificates/${google_compute_managed_ssl_certificate.api[0].name}"]
  ssl_policy       = google_compute_ssl_policy.api[0].id
}

# Port 443 only. A redirect from 80 would teach nobody that the key was just sent in the clear.
resource "google_compute_global_forwarding_rule" "api" {
  count = local.balanced ? 1 : 0

  name                  = "api"
  target                = google_compute_target_https_proxy.api[0].id
  ip_address            = google_compute_global_address.load_balancer[0].id
  port_range            = "443"
  load_balancing_scheme = "EXTERNAL_MANAGED"
}
