# The network: functions and jobs have addresses in it (Direct VPC egress), the database has one, and what goes out to
# providers and merchants leaves through NAT from addresses that never change, which they can allow.
#
# Only functions with egress = "fixed" (functions.tf) send everything this way. The others come here for the database
# alone, and are in a subnetwork without NAT: with it, a new instance may wait half a minute for its first connection
# (https://docs.cloud.google.com/run/docs/configuring/vpc-direct-vpc), and Google advises against NAT where it isn't used.

locals {
  functions_ranges = { private = "10.10.0.0/21", fixed = "10.10.8.0/21" } # by egress
  database_range   = "10.20.0.0/20"

  # Ports that NAT keeps for each of those addresses: how many connections there can be from it to one and the same
  # destination. A public address has 64512 of them.
  nat_ports    = 256
  nat_capacity = var.egress_addresses * floor(64512 / local.nat_ports)

  # An instance takes two addresses, and there are two revisions while one replaces the other.
  addresses_needed = {
    for egress, _ in local.functions_ranges :
    egress => 2 * local.connections.revisions * sum(concat([0], [for name, f in local.functions : local.instances[name] if f.egress == egress]))
  }
}

resource "google_compute_network" "tollgate" {
  name                    = "tollgate"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

resource "google_compute_subnetwork" "functions" {
  for_each = local.functions_ranges

  name                     = "functions-${each.key}"
  network                  = google_compute_network.tollgate.id
  region                   = var.region
  ip_cidr_range            = each.value
  private_ip_google_access = true # functions whose whole traffic comes this way reach Google's APIs without NAT

  lifecycle {
    precondition {
      condition     = local.addresses_needed[each.key] <= pow(2, 32 - tonumber(split("/", each.value)[1])) - 4
      error_message = "Functions may need ${local.addresses_needed[each.key]} addresses, and ${each.value} has fewer."
    }
  }
}

# ---- out, to the world

resource "google_compute_address" "egress" {
  count = var.egress_addresses

  name   = "egress-${count.index}"
  region = var.region

  depends_on = [google_project_service.api]
}

resource "google_compute_router" "egress" {
  name    = "egress"
  region  = var.region
  network = google_compute_network.tollgate.id
}

resource "google_compute_router_nat" "egress" {
  name   = "egress"
  router = google_compute_router.egress.name
  region = var.region

  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  nat_ip_allocate_option             = "MANUAL_ONLY"
  min_ports_per_vm                   = local.nat_ports

  # By name rather than self_link, so that a plan shows which.
  nat_ips = [for a in google_compute_address.egress : "https://www.googleapis.com/compute/v1/projects/${var.project}/regions/${var.region}/addresses/${a.name}"]

  subnetwork {
    name                    = google_compute_subnetwork.functions["fixed"].id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY" # a packet that found no port
  }

  lifecycle {
    precondition {
      condition     = local.addresses_needed["fixed"] <= local.nat_capacity
      error_message = "NAT has ports for ${local.nat_capacity} addresses of instances, and there may be ${local.addresses_needed["fixed"]}: raise egress_addresses."
    }
  }
}

# ---- in, to nothing but the database

# Functions call addresses that merchants choose. The code refuses private ones (shared/webhook); should it fail to,
# there is nothing behind them but the database's port.
resource "google_compute_firewall" "to_database" {
  name      = "functions-to-database"
  network   = google_compute_network.tollgate.id
  direction = "EGRESS"
  priority  = 900

  destination_ranges = [local.database_range]
  allow {
    protocol = "tcp"
    ports    = ["5432"]
  }
}

resource "google_compute_firewall" "to_private" {
  name      = "functions-to-private"
  network   = google_compute_network.tollgate.id
  direction = "EGRESS"
  priority  = 1000

  destination_ranges = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"]
  deny {
    protocol = "all"
  }
}

# Google's own network, where Cloud SQL lives, has these addresses of ours.
resource "google_compute_global_address" "database" {
  name          = "database"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  network       = google_compute_network.tollgate.id
  address       = split("/", local.database_range)[0]
  prefix_length = tonumber(split("/", local.database_range)[1])
}

resource "google_service_networking_connection" "database" {
  network                 = google_compute_network.tollgate.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database.name]

  depends_on = [google_project_service.api]
}
