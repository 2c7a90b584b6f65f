package paypal

import (
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
	"github.com/tollgate/tollgate/shared/telemetry"
)

const maxRefusalMessage = 500

// happened are the issues by which PayPal says that something has happened before, or
// is happening now: they are no answer to what was asked.
var happened = wire.Names(`
	PREVIOUS_REQUEST_IN_PROGRESS DUPLICATE_INVOICE_ID DUPLICATE_REQUEST_ID PAYPAL_REQUEST_ID_PREVIOUSLY_USED RESOURCE_CONFLICT
	ORDER_ALREADY_AUTHORIZED ORDER_ALREADY_CAPTURED ORDER_ALREADY_COMPLETED ORDER_COMPLETED_OR_VOIDED ORDER_COMPLETION_IN_PROGRESS
	AUTHORIZATION_ALREADY_CAPTURED AUTHORIZATION_VOIDED PREVIOUSLY_CAPTURED PREVIOUSLY_VOIDED CANNOT_BE_VOIDED
	MAX_AUTHORIZATION_COUNT_EXCEEDED MAX_CAPTURE_COUNT_EXCEEDED PENDING_CAPTURE
	ORDER_NOT_APPROVED PAYER_ACTION_REQUIRED`)

// declines translates the issues by which PayPal refuses on the merits into Tollgate's
// codes, which the OpenAPI file lists. Sources: the issues of PayPal's OpenAPI files
// (github.com/paypal/paypal-rest-api-specifications). Any other refusal is of the
// request: invalid_request.
var declines = map[string]string{
	"INSTRUMENT_DECLINED":                     "card_declined",
	"PAYMENT_SOURCE_DECLINED_BY_PROCESSOR":    "card_declined",
	"ALIAS_DECLINED_BY_PROCESSOR":             "card_declined",
	"REDIRECT_PAYER_FOR_ALTERNATE_FUNDING":    "card_declined",
	"TRANSACTION_REFUSED":                     "card_declined",
	"DECLINED_DUE_TO_RELATED_TXN":             "card_declined",
	"PAYER_CANNOT_PAY":                        "card_declined",
	"PAYER_ACCOUNT_RESTRICTED":                "card_declined",
	"PAYER_ACCOUNT_LOCKED_OR_CLOSED":          "card_declined",
	"TRANSACTION_BLOCKED_BY_PAYEE":            "suspected_fraud",
	"COMPLIANCE_VIOLATION":                    "suspected_fraud",
	"CARD_EXPIRED":                            "expired_card",
	"TRANSACTION_LIMIT_EXCEEDED":              "limit_exceeded",
	"TRANSACTION_RECEIVING_LIMIT_EXCEEDED":    "limit_exceeded",
	"MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED": "limit_exceeded",
	"ORDER_EXPIRED":                           "authorization_expired",
	"AUTHORIZATION_EXPIRED":                   "authorization_expired",
	"AUTHORIZATION_DENIED":                    "invalid_provider_state",
	"MAX_CAPTURE_AMOUNT_EXCEEDED":             "amount_not_accepted",
	"AUTHORIZATION_AMOUNT_EXCEEDED":           "amount_not_accepted",
	"REFUND_AMOUNT_EXCEEDED":                  "amount_not_accepted",
	"REFUND_AMOUNT_TOO_LOW":                   "amount_not_accepted",
	"CAPTURE_FULLY_REFUNDED":                  "already_refunded",
	"REFUND_TIME_LIMIT_EXCEEDED":              "not_refundable",
	"REFUND_NOT_ALLOWED":                      "not_refundable",
	"REFUND_IS_RESTRICTED":                    "not_refundable",
	"PARTIAL_REFUND_NOT_ALLOWED":              "not_refundable",
	"MAX_NUMBER_OF_REFUNDS_EXCEEDED":          "not_refundable",
	"REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK":  "disputed",
	"TRANSACTION_DISPUTED":                    "disputed",
	"REFUND_FAILED_INSUFFICIENT_FUNDS":        "provider_balance_insufficient",
}

func refusalOf(e *apiError) *provider.Refusal {
	message := e.Message
	if len(e.Details) > 0 && e.Details[0].Description != "" {
		message = e.Details[0].Description
	}
	r := &provider.Refusal{
		Code: "invalid_request", Message: wire.Clip(telemetry.Mask(message), maxRefusalMessage), ProviderCode: wire.Clip(e.issue(), 100),
	}
	if code, ok := declines[e.issue()]; ok {
		r.Code = code
	}
	if r.Message == "" {
		r.Message = "PayPal refused the request."
	}
	return r
}

// deniedRefusal is of a payment that PayPal made and denied, for a reason in its
// status_details.
func deniedRefusal(reason string) *provider.Refusal {
	return &provider.Refusal{Code: "card_declined", Message: "PayPal denied the payment.", ProviderCode: wire.Clip(reason, 100)}
}

// credentialsRefusal hides PayPal's words, which are about our app.
func credentialsRefusal() *provider.Refusal {
	return &provider.Refusal{Code: "provider_credentials", Message: "PayPal refused the gateway's credentials."}
}
