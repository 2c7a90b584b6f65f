package stripe

import (
	stripego "github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// maxRefusalMessage bounds what Stripe's words may take up, in characters.
const maxRefusalMessage = 500

// refusalCodes translates Stripe's error codes, decline codes and reasons of failed
// refunds into Tollgate's, which the OpenAPI file lists. Sources:
// https://docs.stripe.com/declines/codes, /error-codes, /api/refunds/object.
// What is not in the table is card_declined for a card error, invalid_request for a
// request, refund_failed for a refund.
var refusalCodes = map[string]string{
	"insufficient_funds":              "insufficient_funds",
	"expired_card":                    "expired_card",
	"expired_or_canceled_card":        "expired_card",
	"incorrect_cvc":                   "incorrect_cvc",
	"invalid_cvc":                     "incorrect_cvc",
	"incorrect_number":                "incorrect_number",
	"invalid_number":                  "incorrect_number",
	"invalid_account":                 "incorrect_number",
	"invalid_expiry_month":            "incorrect_expiry",
	"invalid_expiry_year":             "incorrect_expiry",
	"incorrect_zip":                   "incorrect_address",
	"incorrect_address":               "incorrect_address",
	"lost_card":                       "lost_or_stolen_card",
	"stolen_card":                     "lost_or_stolen_card",
	"pickup_card":                     "lost_or_stolen_card",
	"lost_or_stolen_card":             "lost_or_stolen_card",
	"fraudulent":                      "suspected_fraud",
	"merchant_blacklist":              "suspected_fraud",
	"security_violation":              "suspected_fraud",
	"card_not_supported":              "card_not_supported",
	"currency_not_supported":          "card_not_supported",
	"card_velocity_exceeded":          "limit_exceeded",
	"withdrawal_count_limit_exceeded": "limit_exceeded",
	"duplicate_transaction":           "duplicate_transaction",
	"processing_error":                "processing_error",
	"issuer_not_available":            "processing_error",
	"try_again_later":                 "processing_error",
	"reenter_transaction":             "processing_error",
	"approve_with_id":                 "processing_error",

	"authentication_required":                "authentication_required",
	"payment_intent_action_required":         "authentication_required",
	"payment_intent_authentication_failure":  "authentication_failed",
	"payment_intent_payment_attempt_expired": "authentication_failed",

	"payment_intent_unexpected_state":      "invalid_provider_state",
	"intent_invalid_state":                 "invalid_provider_state",
	"status_transition_invalid":            "invalid_provider_state",
	"capture_unauthorized_payment":         "invalid_provider_state",
	"charge_already_captured":              "already_captured",
	"charge_already_refunded":              "already_refunded",
	"charge_expired_for_capture":           "authorization_expired",
	"capture_charge_authorization_expired": "authorization_expired",
	"charge_not_refundable":                "not_refundable",
	"charge_disputed":                      "disputed",
	"refund_disputed_payment":              "disputed",
	"charge_for_pending_refund_disputed":   "disputed",
	"balance_insufficient":                 "provider_balance_insufficient",
	"amount_too_large":                     "amount_not_accepted",
	"amount_too_small":                     "amount_not_accepted",
	"invalid_charge_amount":                "amount_not_accepted",
}

// elsewhere are the refusals after which another provider may be asked: the network or
// the issuer could not be reached, or this account does not take the card.
var elsewhere = map[string]bool{"processing_error": true, "card_not_supported": true}

// stateRefusals are the codes by which Stripe refuses a capture, a void or a refund
// for the state of the object or the account: the request was right, the answer is no.
// https://docs.stripe.com/error-codes
var stateRefusals = map[stripego.ErrorCode]bool{
	stripego.ErrorCodePaymentIntentUnexpectedState:      true,
	stripego.ErrorCodeIntentInvalidState:                true,
	stripego.ErrorCodeStatusTransitionInvalid:           true,
	stripego.ErrorCodeCaptureUnauthorizedPayment:        true,
	stripego.ErrorCodeChargeAlreadyCaptured:             true,
	stripego.ErrorCodeChargeAlreadyRefunded:             true,
	stripego.ErrorCodeChargeExpiredForCapture:           true,
	stripego.ErrorCodeCaptureChargeAuthorizationExpired: true,
	stripego.ErrorCodeChargeNotRefundable:               true,
	stripego.ErrorCodeChargeDisputed:                    true,
	stripego.ErrorCodeRefundDisputedPayment:             true,
	stripego.ErrorCodeBalanceInsufficient:               true,
	stripego.ErrorCodeInsufficientFunds:                 true,
	stripego.ErrorCodeAmountTooLarge:                    true,
}

// refusalOf translates an error of Stripe's.
func refusalOf(e *stripego.Error) *provider.Refusal {
	r := &provider.Refusal{
		Code:         "invalid_request",
		Message:      wire.Clip(telemetry.Mask(e.Msg), maxRefusalMessage),
		ProviderCode: wire.Clip(string(e.Code), 100),
	}
	if e.Type == stripego.ErrorTypeCard {
		r.Code = "card_declined"
	}
	if code, ok := refusalCodes[string(e.Code)]; ok {
		r.Code = code
	}
	if e.DeclineCode != "" {
		r.ProviderCode = wire.Clip(string(e.DeclineCode), 100)
		if code, ok := refusalCodes[string(e.DeclineCode)]; ok {
			r.Code = code
		}
	}
	if r.Message == "" {
		r.Message = "Stripe refused the request."
	}
	return r
}

// credentialsRefusal hides Stripe's words, which are about our API key.
func credentialsRefusal(e *stripego.Error) *provider.Refusal {
	return &provider.Refusal{
		Code: "provider_credentials", Message: "Stripe refused the gateway's credentials.",
		ProviderCode: wire.Clip(string(e.Code), 100),
	}
}

func refundRefusal(re *stripego.Refund) *provider.Refusal {
	r := &provider.Refusal{Code: "refund_failed", Message: "The refund failed.", ProviderCode: wire.Clip(string(re.FailureReason), 100)}
	if re.Status == stripego.RefundStatusCanceled {
		r.Code, r.Message = "refund_canceled", "The refund was canceled."
	}
	if code, ok := refusalCodes[string(re.FailureReason)]; ok {
		r.Code = code
	}
	return r
}
