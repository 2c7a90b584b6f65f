package bank

import (
	"net/http"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// maxRefusalMessage bounds what GoCardless's words may take up, in characters.
const maxRefusalMessage = 500

// stateReasons are the reasons by which GoCardless refuses a refund for the state of
// the payment or the account: the request was right, the answer is no.
// https://developer.gocardless.com/api-reference/#refunds-create-a-refund
var stateReasons = map[string]bool{
	"available_refund_amount_insufficient": true,
	"refund_payment_invalid_state":         true,
	"number_of_refunds_exceeded":           true,
	"refund_is_unsupported":                true,
}

// refusalCodes translates reasons of errors and causes of failures into Tollgate's
// codes, which the OpenAPI file lists. What is not in the table is declined for a
// failed payment, refund_failed for a refund, invalid_request for a request, and
// invalid_provider_state where the object's state forbids it.
var refusalCodes = map[string]string{
	"available_refund_amount_insufficient": "provider_balance_insufficient",
	"refund_payment_invalid_state":         "not_refundable",
	"number_of_refunds_exceeded":           "not_refundable",
	"refund_is_unsupported":                "not_refundable",

	"insufficient_funds":                         "insufficient_funds",
	"refer_to_payer":                             "insufficient_funds", // a British bank's words for it
	"bank_account_closed":                        "account_closed",
	"authorisation_disputed":                     "disputed",
	"refund_requested":                           "disputed",
	"customer_approval_denied":                   "authentication_failed",
	"payment_cancelled":                          "canceled",
	"billing_request_bank_authorisation_expired": "authentication_failed",
	"billing_request_bank_authorisation_denied":  "authentication_failed",
	"billing_request_bank_authorisation_failed":  "authentication_failed",
}

// refusalOf translates an error of GoCardless's.
func refusalOf(e *apiError) *provider.Refusal {
	reason := e.reason()
	if e.status == http.StatusUnauthorized || e.status == http.StatusForbidden {
		// GoCardless's words are about our access token.
		return &provider.Refusal{Code: "provider_credentials", Message: "GoCardless refused the gateway's credentials.", ProviderCode: wire.Clip(reason, 100)}
	}
	r := &provider.Refusal{
		Code: "invalid_request", Message: wire.Clip(telemetry.Mask(e.Message), maxRefusalMessage), ProviderCode: wire.Clip(reason, 100),
	}
	if e.Type == "invalid_state" {
		r.Code = "invalid_provider_state"
	}
	if code, ok := refusalCodes[reason]; ok {
		r.Code = code
	}
	if r.Message == "" {
		r.Message = "GoCardless refused the request."
	}
	return r
}

// failure says why a payment failed, from the cause that its event gives.
func failure(cause string) *provider.Refusal {
	r := &provider.Refusal{Code: "declined", Message: "The bank transfer failed.", ProviderCode: wire.Clip(cause, 100)}
	if code, ok := refusalCodes[cause]; ok {
		r.Code = code
	}
	return r
}

var (
	refusedByState = provider.Refusal{
		Code: "invalid_provider_state", Message: "The payer has authorized the transfer; it can't be stopped any more.",
	}
	canceledAtProvider = provider.Refusal{Code: "canceled", Message: "The payment was canceled at GoCardless."}
	refundFailed       = provider.Refusal{Code: "refund_failed", Message: "The refund failed."}
	refundCanceled     = provider.Refusal{Code: "refund_canceled", Message: "The refund was canceled."}
	nothingToRefund    = provider.Refusal{Code: "not_refundable", Message: "The payer has not paid, so there is nothing to refund."}
)
