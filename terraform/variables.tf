# What can be chosen. environments/ has the values of each environment; the project, its number and the domain are
# given apart from it (TF_VAR_project and so on), so that no file has to be edited to deploy. What concerns one file
# alone (the seals of the audit log, the keys of webhooks, budgets) is declared there.

variable "project" {
  description = "The Google Cloud project's id. Each environment has a project of its own."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project's id has 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "project_number" {
  description = "The project's number, which is part of the functions' addresses and of the names of Google's own accounts in it."
  type        = string

  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "The project number has only digits (gcloud projects describe PROJECT shows it)."
  }
}

variable "region" {
  description = "Where everything runs. API Gateway is not in every region."
  type        = string
  default     = "asia-northeast1"
}

variable "environment" {
  description = "Which environment this is: dev, staging or production. Production refuses to be without what keeps money safe."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "production"], var.environment)
    error_message = "The environment is dev, staging or production."
  }
}

variable "labels" {
  description = "Labels for everything that can have some, besides application and environment. Bills can be split by them."
  type        = map(string)
  default     = {}
}

# ---- what runs

variable "images" {
  description = "The image of each function and of the jobs migrate and ops, by digest. While it is empty, only the foundation is made: network, database, registry, secrets, accounts. scripts/rollout and cloudbuild.yaml write it."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("^[a-z0-9-]+-docker\\.pkg\\.dev/[^@ ]+@sha256:[0-9a-f]{64}$", image))])
    error_message = "An image is given as REGION-docker.pkg.dev/PROJECT/tollgate/NAME@sha256:…: a tag could be moved to something else."
  }

  validation {
    condition     = length(var.images) == 0 || length(setsubtract(concat(keys(local.functions), ["migrate", "ops"]), keys(var.images))) == 0
    error_message = "Images are missing for ${join(", ", setsubtract(concat(keys(local.functions), ["migrate", "ops"]), keys(var.images)))}."
  }
}

variable "payment_providers" {
  description = "The payment providers in use. Functions get the credentials of these and no others."
  type        = set(string)
  default     = ["stripe", "paypal", "bank"]

  validation {
    condition     = length(var.payment_providers) > 0 && length(setsubtract(var.payment_providers, ["stripe", "paypal", "bank"])) == 0
    error_message = "The providers are one or more of stripe, paypal and bank."
  }
}

variable "secret_versions" {
  description = "Which version of each secret the functions get, by the secret's name. A number: with `latest`, instances of one revision could differ."
  type        = map(number)
  default     = {}
}

variable "min_instances" {
  description = "Whether the functions on the path of money keep an instance when nobody calls (functions.tf says which). Without, the first call after a pause waits for one to start, and with fixed egress addresses that can take half a minute."
  type        = bool
  default     = true
}

variable "instances_limit" {
  description = "The most instances that any function may have, where functions.tf allows more. For environments with a small database."
  type        = number
  default     = 100

  validation {
    condition     = var.instances_limit >= 1
    error_message = "A function without instances answers nobody: the limit is at least 1."
  }
}

variable "deletion_protection" {
  description = "Whether the database and the functions are protected from being deleted, by terraform and by others."
  type        = bool
  default     = true

  validation {
    condition     = var.deletion_protection || var.environment != "production"
    error_message = "Production is protected from deletion. To take it down on purpose, follow README.md."
  }
}

# ---- the database

variable "database_tier" {
  description = "The database's machine, db-custom-CPUS-MEGABYTES. Changing it restarts the database."
  type        = string
  default     = "db-custom-4-16384"
}

variable "database_max_connections" {
  description = "How many connections the database accepts. database.tf holds what the functions may open against it. Changing it restarts the database."
  type        = number
  default     = 1000
}

variable "database_disk_gb" {
  description = "The database's disk to begin with. It grows by itself, and never shrinks."
  type        = number
  default     = 100
}

variable "database_highly_available" {
  description = "Whether a second zone has a standby that takes over. It doubles the database's price."
  type        = bool
  default     = true

  validation {
    condition     = var.database_highly_available || var.environment != "production"
    error_message = "Production's database has a standby."
  }
}

variable "database_recovery" {
  description = "Whether the database can be brought back to any second of the past seven days."
  type        = bool
  default     = true

  validation {
    condition     = var.database_recovery || var.environment != "production"
    error_message = "Production's database can be brought back to a point in time."
  }
}

variable "database_backups" {
  description = "How many daily backups are kept."
  type        = number
  default     = 30
}

variable "database_backup_location" {
  description = "Where backups are kept, such as asia. Empty is the multi-region nearest to the database."
  type        = string
  default     = ""
}

# ---- the edge

variable "egress_addresses" {
  description = "How many fixed addresses calls to providers and merchants come from. They are told the addresses, so add rather than replace."
  type        = number
  default     = 2

  validation {
    condition     = var.egress_addresses >= 1
    error_message = "Providers and merchants are called from at least one address."
  }
}

variable "load_balancer" {
  description = "Whether a load balancer with Cloud Armor and a domain of your own stands in front of API Gateway."
  type        = bool
  default     = false
}

variable "domain" {
  description = "The domain of the API behind the load balancer, such as api.example.com. Its A record is the output load_balancer_address."
  type        = string
  default     = ""

  validation {
    condition     = !var.load_balancer || can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain))
    error_message = "The load balancer needs a domain (TF_VAR_domain=api.example.com)."
  }
}
