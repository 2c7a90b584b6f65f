# What can be reached from outside, what goes out, and from where. terraform.tfvars beside this has the project.

# All that environments/ sets, so that this tries the same whichever of them it is run with.
variables {
  environment               = "production"
  load_balancer             = true
  egress_addresses          = 2
  instances_limit           = 100
  deletion_protection       = true
  database_max_connections  = 1000
  database_highly_available = true
  database_recovery         = true
}

run "foundation" {
  command = plan

  variables {
    images = {}
  }

  assert {
    condition     = length(google_api_gateway_gateway.tollgate) == 0 && length(google_compute_global_forwarding_rule.api) == 0
    error_message = "Something is open to the world before there is anything behind it."
  }
  assert {
    condition     = length(google_compute_global_address.load_balancer) == 1 && length(google_compute_managed_ssl_certificate.api) == 1
    error_message = "The domain can't be pointed at the load balancer in time."
  }
  assert {
    condition     = output.api_url == null && length(google_compute_address.egress) == 2
    error_message = "The foundation has an API, or lacks the addresses to tell the providers."
  }
}

run "deployed" {
  command = plan

  variables {
    billing_account = "012345-6789AB-CDEF01"
    monthly_budget  = 1500
  }

  # API Gateway
  assert {
    condition     = length(google_api_gateway_gateway.tollgate) == 1 && length(google_api_gateway_api_config.tollgate) == 1
    error_message = "There is one gateway with one configuration."
  }
  assert {
    condition     = google_api_gateway_api_config.tollgate[0].openapi_documents[0].document[0].contents == base64encode(local.gateway_document)
    error_message = "The gateway has another document."
  }
  assert {
    condition     = alltrue([for path, item in yamldecode(local.gateway_document).paths : alltrue([for operation in values(item) : contains(keys(local.behind_gateway), operation["x-google-backend"])])])
    error_message = "An operation goes to no function of the gateway's."
  }
  assert {
    condition = alltrue([for name, f in local.behind_gateway : yamldecode(local.gateway_document)["x-google-api-management"].backends[name] == {
      address         = "https://${name}-123456789012.asia-northeast1.run.app"
      jwtAudience     = "https://${name}-123456789012.asia-northeast1.run.app"
      pathTranslation = "APPEND_PATH_TO_ADDRESS"
      protocol        = "http/1.1"
      deadline        = f.timeout + 5
    }])
    error_message = "A backend is not its function, or gives up before it."
  }
  assert {
    condition     = length(setintersection(keys(yamldecode(local.gateway_document)), ["security", "servers"])) == 0 && !contains(keys(yamldecode(local.gateway_document).components), "securitySchemes")
    error_message = "The gateway would check credentials that it does not know."
  }
  assert {
    condition     = !strcontains(local.gateway_document, "$${")
    error_message = "An address is not filled in."
  }
  assert {
    condition     = !strcontains(local.gateway_document, "/health/") && !strcontains(local.gateway_document, "allowCors")
    error_message = "Probes are not for merchants, nor keys for browsers."
  }
  # Google's limit is 10 MB.
  assert {
    condition     = length(local.gateway_document) < 1000000
    error_message = "The document is large."
  }

  # Load balancer
  assert {
    condition     = google_compute_managed_ssl_certificate.api[0].managed[0].domains == tolist(["api.example.com"]) && output.api_url == "https://api.example.com"
    error_message = "The certificate or the address is not the domain's."
  }
  assert {
    condition     = google_compute_global_forwarding_rule.api[0].port_range == "443" && google_compute_ssl_policy.api[0].min_tls_version == "TLS_1_2"
    error_message = "The API speaks TLS 1.2 or later, and nothing else."
  }
  assert {
    condition     = toset([for rule in google_compute_security_policy.edge[0].rule : rule.action]) == toset(["deny(404)", "throttle", "allow"]) && google_compute_security_policy.edge[0].advanced_options_config[0].log_level == "NORMAL"
    error_message = "Cloud Armor lets floods through, or logs what is in requests."
  }
  assert {
    condition     = google_compute_region_network_endpoint_group.gateway[0].serverless_deployment[0].resource == google_api_gateway_gateway.tollgate[0].gateway_id
    error_message = "The load balancer leads elsewhere than to the gateway."
  }

  # The way out
  assert {
    condition     = google_compute_router_nat.egress.nat_ip_allocate_option == "MANUAL_ONLY" && length(google_compute_address.egress) == 2
    error_message = "Providers and merchants would be called from addresses that they were not told."
  }
  assert {
    condition     = alltrue(values(google_compute_subnetwork.functions)[*].private_ip_google_access) && !google_compute_network.tollgate.auto_create_subnetworks
    error_message = "Functions whose traffic goes through the network don't reach Google's APIs, or there are networks that nobody asked for."
  }
  assert {
    condition     = google_compute_firewall.to_private.direction == "EGRESS" && length(google_compute_firewall.to_private.deny) == 1 && length(google_compute_firewall.to_private.allow) == 0 && toset(google_compute_firewall.to_private.destination_ranges) == toset(["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"])
    error_message = "Private addresses can be reached from functions that call where merchants tell them to."
  }
  assert {
    condition     = google_compute_firewall.to_database.priority < google_compute_firewall.to_private.priority && one(google_compute_firewall.to_database.allow).ports == tolist(["5432"]) && toset(google_compute_firewall.to_database.destination_ranges) == toset([local.database_range])
    error_message = "The database can't be reached, or more than it can."
  }

  # Budget
  assert {
    condition     = google_billing_budget.monthly[0].amount[0].specified_amount[0].units == "1500" && length(google_billing_budget.monthly[0].threshold_rules) == 4
    error_message = "Nobody is told when the budget is spent."
  }
}

# Nothing that costs extra is on by itself.
run "extras" {
  command = plan

  variables {
    load_balancer = false
    domain        = ""
  }

  assert {
    condition     = length(google_compute_global_address.load_balancer) + length(google_compute_managed_ssl_certificate.api) + length(google_compute_security_policy.edge) + length(google_compute_backend_service.gateway) + length(google_compute_global_forwarding_rule.api) == 0
    error_message = "There are parts of a load balancer that is turned off, and they cost."
  }
  assert {
    condition     = length(google_billing_budget.monthly) == 0 && google_artifact_registry_repository.images.vulnerability_scanning_config[0].enablement_config == "DISABLED"
    error_message = "Something that costs extra is on by itself."
  }
}

# ---- what is refused

run "refused" {
  command = plan

  variables {
    images            = { createpayment = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/createpayment:latest" }
    payment_providers = ["stripe", "visa"]
    domain            = ""
    project           = "Not-A-Project"
    project_number    = "tollgate"
    instances_limit   = 0
    egress_addresses  = 0
    billing_account   = "mine"
    monthly_budget    = 0.5
  }

  expect_failures = [
    var.images, var.payment_providers, var.domain, var.project, var.project_number, var.instances_limit,
    var.egress_addresses, var.billing_account, var.monthly_budget,
  ]
}

run "image_missing" {
  command = plan

  variables {
    environment = "prod"
    images      = { createpayment = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/createpayment@sha256:0000000000000000000000000000000000000000000000000000000000000000" }
  }

  expect_failures = [var.images, var.environment]
}
