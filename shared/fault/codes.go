package fault

import (
	"net/http"
	"strings"
)

// Kind groups codes by what the caller should do.
type Kind int

// The kinds.
const (
	KindInternal    Kind = iota // our fault; try again with the same key
	KindInput                   // mend the request
	KindAuth                    // mend the credentials
	KindNotFound                // there is no such thing, or it is not yours
	KindConflict                // the state forbids it, now or for good
	KindUnavailable             // a dependency is away; try again
)

// Code is a stable, public name for one fault.
type Code string

// Every code is one line of the table below; functions/openapi.yaml lists the
// same ones, and a test holds the two together.
const (
	Internal              Code = "internal_error"
	InvalidRequest        Code = "invalid_request"
	InvalidJSON           Code = "invalid_json"
	BodyTooLarge          Code = "body_too_large"
	UnsupportedMedia      Code = "unsupported_media_type"
	CardNumber            Code = "card_number_refused"
	AmountNotSupported    Code = "amount_not_supported"
	CurrencyNotSupported  Code = "currency_not_supported"
	IdempotencyKeyMissing Code = "idempotency_key_missing"
	IdempotencyKeyInvalid Code = "idempotency_key_invalid"
	IdempotencyKeyReused  Code = "idempotency_key_reused"
	Unauthenticated       Code = "unauthenticated"
	SignatureInvalid      Code = "signature_invalid"
	BankSignatureInvalid  Code = "bank_signature_invalid"
	MerchantSuspended     Code = "merchant_suspended"
	NotFound              Code = "not_found"
	MethodNotAllowed      Code = "method_not_allowed"
	InvalidState          Code = "invalid_state"
	OperationInProgress   Code = "operation_in_progress"
	OutcomeUnknown        Code = "outcome_unknown"
	AmountExceeds         Code = "amount_exceeds_available"
	ReferenceTaken        Code = "merchant_reference_taken"
	CaptureDeclined       Code = "capture_declined"
	CancelDeclined        Code = "cancel_declined"
	StripeUnavailable     Code = "STRIPE_UNAVAILABLE"
	PayPalUnavailable     Code = "PAYPAL_UNAVAILABLE"
	BankUnavailable       Code = "BANK_UNAVAILABLE"
	ProviderBusy          Code = "provider_busy"
	Unavailable           Code = "temporarily_unavailable"
)

// Entry is what the table says of a code.
type Entry struct {
	Code   Code
	Kind   Kind
	Status int    // HTTP status
	Title  string // the problem document's title: one per code, never changing
}

var table = []Entry{
	{Internal, KindInternal, http.StatusInternalServerError, "Something failed on our side"},
	{InvalidRequest, KindInput, http.StatusBadRequest, "The request is not valid"},
	{InvalidJSON, KindInput, http.StatusBadRequest, "The body is not one JSON object"},
	{BodyTooLarge, KindInput, http.StatusRequestEntityTooLarge, "The body is too large"},
	{UnsupportedMedia, KindInput, http.StatusUnsupportedMediaType, "The body is not application/json"},
	{CardNumber, KindInput, http.StatusBadRequest, "Card numbers are refused"},
	{AmountNotSupported, KindInput, http.StatusBadRequest, "The provider can't represent the amount"},
	{CurrencyNotSupported, KindInput, http.StatusBadRequest, "The provider does not take the currency"},
	{IdempotencyKeyMissing, KindInput, http.StatusBadRequest, "The Idempotency-Key header is missing"},
	{IdempotencyKeyInvalid, KindInput, http.StatusBadRequest, "The Idempotency-Key header is malformed"},
	{IdempotencyKeyReused, KindInput, http.StatusUnprocessableEntity, "The Idempotency-Key belongs to another request"},
	{Unauthenticated, KindAuth, http.StatusUnauthorized, "The API key is missing or wrong"},
	{SignatureInvalid, KindAuth, http.StatusBadRequest, "The webhook's signature is missing or wrong"},
	{BankSignatureInvalid, KindAuth, 498, "The webhook's signature is missing or wrong"}, // what GoCardless asks for
	{MerchantSuspended, KindAuth, http.StatusForbidden, "The merchant is suspended"},
	{NotFound, KindNotFound, http.StatusNotFound, "There is no such resource"},
	{MethodNotAllowed, KindInput, http.StatusMethodNotAllowed, "The method is not allowed here"},
	{InvalidState, KindConflict, http.StatusConflict, "The current status forbids the operation"},
	{OperationInProgress, KindConflict, http.StatusConflict, "Another operation is running on the payment"},
	{OutcomeUnknown, KindConflict, http.StatusConflict, "An earlier operation's outcome is not known yet"},
	{AmountExceeds, KindConflict, http.StatusUnprocessableEntity, "The amount is more than is available"},
	{ReferenceTaken, KindConflict, http.StatusConflict, "The merchant_reference belongs to another payment"},
	{CaptureDeclined, KindConflict, http.StatusUnprocessableEntity, "The provider refused the capture"},
	{CancelDeclined, KindConflict, http.StatusUnprocessableEntity, "The provider refused the cancellation"},
	{StripeUnavailable, KindUnavailable, http.StatusServiceUnavailable, "Stripe can't be reached"},
	{PayPalUnavailable, KindUnavailable, http.StatusServiceUnavailable, "PayPal can't be reached"},
	{BankUnavailable, KindUnavailable, http.StatusServiceUnavailable, "The bank transfer service can't be reached"},
	{ProviderBusy, KindUnavailable, http.StatusServiceUnavailable, "Too many requests to the provider are under way"},
	{Unavailable, KindUnavailable, http.StatusServiceUnavailable, "The gateway can't serve this now"},
}

var byCode = func() map[Code]Entry {
	m := make(map[Code]Entry, len(table))
	for _, e := range table {
		m[e.Code] = e
	}
	return m
}()

// ProviderUnavailable is the code of a provider that can't be reached, by the provider's
// name; temporarily_unavailable for one that has no code of its own.
func ProviderUnavailable(name string) Code {
	code := Code(strings.ToUpper(name) + "_UNAVAILABLE")
	if _, ok := byCode[code]; !ok {
		return Unavailable
	}
	return code
}

// Lookup finds a code's entry; a code outside the table is internal.
func Lookup(code Code) Entry {
	if e, ok := byCode[code]; ok {
		return e
	}
	return byCode[Internal]
}

// Codes lists the table.
func Codes() []Entry { return append([]Entry(nil), table...) }
