variable "name" {
  description = "The function's name, as its folder is called."
  type        = string
}

variable "region" {
  description = "Where it runs."
  type        = string
}

variable "image" {
  description = "The image, by its digest: what was checked is what runs."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image must be named by its digest, ending in @sha256: and 64 hexadecimal digits."
  }
}

variable "service_account" {
  description = "The email address of the account that it runs as, and nothing else does."
  type        = string
}

variable "variables" {
  description = "Its environment, without secrets."
  type        = map(string)
}

variable "secrets" {
  description = "By variable, the id of a secret and the number of its version."
  type        = map(object({ secret = string, version = number }))
  default     = {}
}

variable "timeout" {
  description = "Seconds until Cloud Run gives up on a request."
  type        = number
}

variable "concurrency" {
  description = "Requests that an instance takes at a time."
  type        = number
}

variable "max_instances" {
  description = "Instances at most, of each revision."
  type        = number
}

variable "min_instances" {
  description = "Instances that wait for requests, in all."
  type        = number
}

variable "invokers" {
  description = "The service accounts that may call it: email addresses, by the caller's name."
  type        = map(string)

  validation {
    condition     = length(var.invokers) > 0
    error_message = "A function that nobody may call is a mistake."
  }
}

variable "internal" {
  description = "Whether calls from outside the project are refused before anybody looks at who makes them."
  type        = bool
}

variable "network" {
  description = "The network that it reaches the database through."
  type        = string
}

variable "subnetwork" {
  description = "The subnetwork that its instances have addresses in."
  type        = string
}

variable "egress" {
  description = "private: private addresses are reached through the network; fixed: everything is, with the addresses of its NAT."
  type        = string

  validation {
    condition     = contains(["private", "fixed"], var.egress)
    error_message = "The egress is private or fixed."
  }
}

variable "readiness_probe" {
  description = "Whether it has a readiness probe, which is in Preview."
  type        = bool
}

variable "deletion_protection" {
  description = "Whether terraform refuses to delete it."
  type        = bool
}
