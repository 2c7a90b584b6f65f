# API Gateway, from the same document that merchants read (functions/openapi.yaml). It lets through the operations that
# are listed there and no others, and calls each function with an identity of its own. It checks no credentials: a
# merchant's key is ours to check. The caller's Authorization goes on as X-Forwarded-Authorization, which the functions
# believe only beside the gateway's own token.
#
# It answers no preflight requests (CORS): a merchant's key has no business in a browser.

locals {
  # The functions and jobs are there; before their images are, only what they stand on is.
  deployed = length(var.images) > 0

  behind_gateway = { for name, f in local.functions : name => f if contains(f.callers, "gateway") }

  # The document has its backends' addresses as ${urls.NAME}.
  openapi  = yamldecode(templatefile("${path.module}/../functions/openapi.yaml", { urls = local.urls }))
  backends = local.openapi["x-google-api-management"].backends

  # `security` is for merchants' tools: API Gateway knows Google's API keys and tokens, and ours are neither. `servers`
  # it would not read.
  gateway_document = yamlencode(merge(
    { for key, value in local.openapi : key => value if !contains(["components", "security", "servers"], key) },
    { components = { for key, value in local.openapi.components : key => value if key != "securitySchemes" } },
  ))
}

resource "google_api_gateway_api" "tollgate" {
  provider = google-beta

  api_id       = "tollgate"
  display_name = "Tollgate"

  depends_on = [google_project_service.api]
}

# A configuration can't be changed: there is a new one for each change, and the gateway moves to it without a pause.
resource "google_api_gateway_api_config" "tollgate" {
  provider = google-beta
  count    = local.deployed ? 1 : 0

  api                  = google_api_gateway_api.tollgate.api_id
  api_config_id_prefix = "tollgate-"

  openapi_documents {
    document {
      path     = "openapi.yaml"
      contents = base64encode(local.gateway_document)
    }
  }

  gateway_config {
    backend_config {
      google_service_account = google_service_account.caller["gateway"].email
    }
  }

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = toset(keys(local.backends)) == toset(keys(local.behind_gateway))
      error_message = "The backends of functions/openapi.yaml are not the functions that have the gateway among their callers."
    }

    # A gateway that gives up first would answer 504 to a merchant whose payment then succeeds.
    precondition {
      condition     = alltrue([for name, f in local.behind_gateway : try(local.backends[name].deadline, 0) > f.timeout])
      error_message = "A backend's deadline in functions/openapi.yaml is not above its function's timeout."
    }
    precondition {
      condition     = alltrue([for name, backend in local.backends : try(backend.jwtAudience == local.urls[name] && backend.address == local.urls[name], false)])
      error_message = "A backend's address or audience in functions/openapi.yaml is not its function's."
    }
  }
}

resource "google_api_gateway_gateway" "tollgate" {
  provider = google-beta
  count    = local.deployed ? 1 : 0

  gateway_id   = "tollgate"
  display_name = "Tollgate"
  region       = var.region
  api_config   = google_api_gateway_api_config.tollgate[0].id
}
