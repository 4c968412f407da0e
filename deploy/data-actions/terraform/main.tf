# The integration, its credential and the data actions of the files in the parent folder. Terraform reads
# the files that are imported by hand, so both ways give the same result.
#
#   export GENESYSCLOUD_OAUTHCLIENT_ID=… GENESYSCLOUD_OAUTHCLIENT_SECRET=… GENESYSCLOUD_REGION=eu-west-1
#   export TF_VAR_gateway_url=https://attributes.my.example TF_VAR_api_key=…
#   terraform init && terraform apply
#
# The role of that OAuth client needs integrations:integration:{add,edit,view,delete},
# integrations:action:{add,edit,view,delete} and bridge:actions:view.
#
# Checked with Terraform 1.11 without the provider: the result equals the files, and each argument exists in the
# provider's schema (1.60.0 and 1.84.1). It was never run against an organisation.

terraform {
  required_version = ">= 1.3"
  required_providers {
    genesyscloud = {
      source  = "mypurecloud/genesyscloud"
      version = ">= 1.60"
    }
  }
}

variable "gateway_url" {
  description = "Public URL of the gateway, as Genesys Cloud reaches it, without a slash at its end"
  type        = string

  validation {
    condition     = can(regex("^https://[^/]+(/.*[^/])?$", var.gateway_url))
    error_message = "It has to start with https:// and must not end with a slash."
  }
}

variable "api_key" {
  description = "What the actions send as Authorization: Bearer. It is kept in the state file."
  type        = string
  sensitive   = true
}

variable "name" {
  description = "Name of the integration, under which Architect lists the actions"
  type        = string
  default     = "Participant attributes"

  validation {
    # The provider treats such a category as another kind of action.
    condition     = length(var.name) > 0 && length(var.name) <= 256 && !can(regex("(?i)function[ _-]data[ _-]action", var.name))
    error_message = "It has to have 1 to 256 characters and must not contain `function data action`."
  }
}

variable "timeout_seconds" {
  description = "When an execution ends on the Timeout path; the gateway answers within about two seconds"
  type        = number
  default     = 5

  validation {
    condition     = var.timeout_seconds >= 3 && var.timeout_seconds <= 60 && floor(var.timeout_seconds) == var.timeout_seconds
    error_message = "It has to be a whole number from 3 (the gateway takes two) to 60."
  }
}

locals {
  # The placeholder host in the files.
  placeholder = "https://attributes.example.com"

  files   = fileset("${path.module}/..", "*.custom.json")
  actions = { for file in local.files : trimsuffix(file, ".custom.json") => jsondecode(file("${path.module}/../${file}")) }
}

resource "genesyscloud_integration_credential" "gateway" {
  name                 = var.name
  credential_type_name = "userDefined"
  fields               = { apiKey = var.api_key }
}

resource "genesyscloud_integration" "gateway" {
  intended_state   = "ENABLED"
  integration_type = "custom-rest-actions"

  config {
    name = var.name
    # This name is the same for every type of credential.
    credentials = { basicAuth = genesyscloud_integration_credential.gateway.id }
  }
}

resource "genesyscloud_integration_action" "action" {
  for_each = local.actions

  name                   = each.value.name
  category               = var.name
  integration_id         = genesyscloud_integration.gateway.id
  secure                 = each.value.secure
  config_timeout_seconds = var.timeout_seconds

  # A change of either creates a new action with a new id, which flows do not use automatically.
  contract_input  = jsonencode(each.value.contract.input.inputSchema)
  contract_output = jsonencode(each.value.contract.output.successSchema)

  config_request {
    request_url_template = replace(each.value.config.request.requestUrlTemplate, local.placeholder, var.gateway_url)
    request_type         = each.value.config.request.requestType
    request_template     = each.value.config.request.requestTemplate
    headers              = each.value.config.request.headers
  }

  config_response {
    translation_map          = each.value.config.response.translationMap
    translation_map_defaults = each.value.config.response.translationMapDefaults
    success_template         = each.value.config.response.successTemplate
  }
}

output "actions" {
  description = "Ids of the actions, by the names of their files"
  value       = { for name, action in genesyscloud_integration_action.action : name => action.id }
}
