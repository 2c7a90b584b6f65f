package payment

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// CreateParams is what a merchant says of a payment to be made. Amount is in minor
// units; empty strings and nil mean not given.
type CreateParams struct {
	Amount            int64
	Currency          string
	Provider          string // chosen by the payment method when not given
	PaymentMethod     string // the provider's token
	Alternatives      []Alternative
	CaptureMethod     string // automatic by default
	MerchantReference string
	Description       string
	ReturnURL         string
	Metadata          map[string]string
	ExpiresIn         *int64 // seconds after which an authorization that could not be sent is given up
}

// Alternative is another way to pay, at another provider: it is tried when the ones
// before it provably were not, or were declined for a reason of the provider's own.
type Alternative struct {
	Provider      string `json:"provider"`
	PaymentMethod string `json:"payment_method" api:"required"`
}

// Bounds on what a merchant may say.
const (
	defaultExpiry       = 15 * time.Minute
	minExpirySeconds    = 60
	maxExpirySeconds    = 86_400
	maxMetadataKeys     = 50
	maxMetadataKeyLen   = 40
	maxMetadataValueLen = 500
	maxReferenceLen     = 255
	maxDescriptionLen   = 500
	maxReasonLen        = 500
	maxURLLen           = 2048
	maxMethodLen        = 255
	maxAlternatives     = 3
)

// check fills in defaults, finds every fault of the values at once, and then who can take
// the payment.
func (s *Service) check(ctx context.Context, c Caller, in *CreateParams) (money.Currency, *Route, error) {
	if in.CaptureMethod == "" {
		in.CaptureMethod = string(Automatic)
	}
	var bad problems
	currency, err := money.ParseCurrency(in.Currency)
	if err != nil {
		bad.add("currency", "%q is not a current ISO 4217 code; send three upper-case letters, such as JPY or USD", in.Currency)
	}
	if in.CaptureMethod != string(Automatic) && in.CaptureMethod != string(Manual) {
		bad.add("capture_method", "%q is unknown; send automatic or manual", in.CaptureMethod)
	}
	if in.Amount < 1 {
		bad.add("amount", "must be at least 1, in minor units of the currency")
	}
	bad.length("payment_method", in.PaymentMethod, 1, maxMethodLen)
	if len(in.Alternatives) > maxAlternatives {
		bad.add("alternatives", "has %d entries; at most %d are tried", len(in.Alternatives), maxAlternatives)
	}
	for i, a := range in.Alternatives {
		bad.length(fmt.Sprintf("alternatives[%d].payment_method", i), a.PaymentMethod, 1, maxMethodLen)
	}
	bad.length("merchant_reference", in.MerchantReference, 0, maxReferenceLen)
	bad.length("description", in.Description, 0, maxDescriptionLen)
	checkMetadata(&bad, in.Metadata)
	checkReturnURL(&bad, in.ReturnURL)
	if e := in.ExpiresIn; e != nil && (*e < minExpirySeconds || *e > maxExpirySeconds) {
		bad.add("expires_in", "must be between %d and %d seconds", minExpirySeconds, maxExpirySeconds)
	}
	if in.Provider != "" && s.Providers[in.Provider] == nil {
		bad.add("provider", "%q is not a provider of this gateway; send one of %s, or none", in.Provider, strings.Join(s.providerNames(), ", "))
	}
	if err := bad.fault(); err != nil {
		return currency, nil, err
	}
	route, err := s.route(ctx, in, c.Preference, currency)
	return currency, route, err
}

// representable refuses an amount that the provider has no exact form for.
func representable(caps provider.Capabilities, m money.Money) error {
	_, err := caps.Units(m)
	if err == nil {
		return nil
	}
	f := fault.As(err)
	field := "amount"
	if f.Code == fault.CurrencyNotSupported {
		field = "currency"
	}
	return &fault.Error{Code: f.Code, Detail: "The request is not valid; nothing was changed.", Fields: []fault.Field{{Name: field, Detail: f.Detail}}}
}

func (s *Service) providerNames() []string {
	var names []string
	for name := range s.Providers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func checkMetadata(bad *problems, m map[string]string) {
	if len(m) > maxMetadataKeys {
		bad.add("metadata", "has %d keys; at most %d are kept", len(m), maxMetadataKeys)
		return
	}
	for k, v := range m {
		bad.length("metadata key", k, 1, maxMetadataKeyLen)
		bad.length("metadata."+k, v, 0, maxMetadataValueLen)
	}
}

func checkReturnURL(bad *problems, raw string) {
	if raw == "" {
		return
	}
	u, err := url.Parse(raw)
	if err != nil || len(raw) > maxURLLen || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		bad.add("return_url", "must be an absolute http or https URL of at most %d characters, without credentials", maxURLLen)
	}
}

// problems collects what is wrong with the input.
type problems []fault.Field

func (ps *problems) add(field, format string, args ...any) {
	*ps = append(*ps, fault.Invalid(field, format, args...).Fields...)
}

func (ps *problems) length(field, value string, least, most int) {
	switch {
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		ps.add(field, "must be valid UTF-8 text without the character U+0000")
	case len(value) < least:
		ps.add(field, "is missing or empty")
	case utf8.RuneCountInString(value) > most:
		ps.add(field, "is longer than %d characters", most)
	}
}

func (ps problems) fault() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortFunc(ps, func(a, b fault.Field) int { return strings.Compare(a.Name, b.Name) })
	return &fault.Error{Code: fault.InvalidRequest, Detail: "The request is not valid; nothing was changed.", Fields: ps}
}
