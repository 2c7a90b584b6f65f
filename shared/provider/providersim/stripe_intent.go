package providersim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// The statuses of a PaymentIntent.
const (
	requiresMethod       = "requires_payment_method"
	requiresConfirmation = "requires_confirmation"
	requiresAction       = "requires_action"
	requiresCapture      = "requires_capture"
	processing           = "processing"
	succeeded            = "succeeded"
	canceled             = "canceled"
)

// intent is a PaymentIntent.
type intent struct {
	head
	secret                       string
	amount, capturable, received int64
	currency, status             string
	captureMethod                string
	confirmationMethod           string
	metadata                     map[string]string
	texts                        map[string]string // fields that are only echoed
	automatic                    bool              // automatic_payment_methods
	allowRedirects               string
	threeDSecure                 string // payment_method_options[card][request_three_d_secure]
	returnURL                    string
	method                       *method
	latest                       *charge
	lastError                    *stripeError
	nextAction                   any
	canceledAt                   time.Time
	cancellationReason           string

	due   *dueItem // expiry of the authorization, or the end of processing
	cause cause    // the request behind the attempt under way
}

// cause is the request that made something happen; empty when nothing did but
// the clock.
type cause struct{ requestID, key string }

func (c *call) cause() cause { return cause{requestID: c.requestID, key: c.key} }

var echoedParams = []string{"description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix"}

// createIntent is POST /v1/payment_intents. Everything about the request is
// checked before anything is made.
func (s *Stripe) createIntent(c *call) (any, *stripeError) {
	in, problem := readIntent(c.form)
	if problem != nil {
		return nil, problem
	}
	confirm, problem := c.form.boolean("confirm")
	if problem != nil {
		return nil, problem
	}
	if name := c.form.str("payment_method"); name != "" {
		if in.method, problem = s.useCard(name); problem != nil {
			return nil, problem
		}
	}
	var how confirmation
	if confirm {
		if how, problem = readConfirmation(c, in); problem != nil {
			return nil, problem
		}
	} else {
		for _, name := range []string{"return_url", "off_session", "error_on_requires_action"} {
			if c.form.has(name) {
				return nil, invalid(name, "", "The parameter '%s' can only be used with confirm=true.", name)
			}
		}
	}

	in.head = s.newHead("pi_3")
	in.secret = in.id + "_secret_" + s.ids.next("")
	in.status = requiresMethod
	if in.method != nil {
		s.objects[in.method.id] = in.method
		in.status = requiresConfirmation
	}
	s.objects[in.id] = in
	s.intents = append(s.intents, in)
	s.emit(c.cause(), in, "payment_intent.created", in.render())
	if confirm {
		if problem := s.attempt(c, in, how); problem != nil {
			return nil, problem
		}
	}
	return in.render(), nil
}

// readIntent reads and checks what a PaymentIntent is made of.
func readIntent(f form) (*intent, *stripeError) {
	in := &intent{texts: map[string]string{}}
	var given bool
	var problem *stripeError
	if in.amount, given, problem = f.integer("amount"); problem != nil {
		return nil, problem
	}
	if !given {
		return nil, invalid("amount", "parameter_missing", "Missing required param: amount.")
	}
	if in.currency = strings.ToLower(f.str("currency")); in.currency == "" {
		return nil, invalid("currency", "parameter_missing", "Missing required param: currency.")
	}
	if !stripeCurrencies[in.currency] {
		return nil, invalid("currency", "", "Invalid currency: %s.", in.currency)
	}
	if problem = checkStripeAmount("amount", in.amount, in.currency); problem != nil {
		return nil, problem
	}
	if in.metadata, problem = f.metadata(); problem != nil {
		return nil, problem
	}
	if in.captureMethod, problem = f.choice("capture_method", "automatic", "automatic", "automatic_async", "manual"); problem != nil {
		return nil, problem
	}
	if in.confirmationMethod, problem = f.choice("confirmation_method", "automatic", "automatic", "manual"); problem != nil {
		return nil, problem
	}
	if problem = in.readMethods(f); problem != nil {
		return nil, problem
	}
	for _, name := range echoedParams {
		if in.texts[name], problem = f.text(name); problem != nil {
			return nil, problem
		}
	}
	return in, nil
}

// readMethods reads which payment methods may be used. Since API version
// 2023-08-16 an intent that says nothing takes all those of the account, which
// include ones that redirect, so that confirming it needs a return_url.
func (in *intent) readMethods(f form) (problem *stripeError) {
	types := f.list("payment_method_types")
	if len(types) > 0 && f.has("automatic_payment_methods[enabled]") {
		return invalid("", "parameters_exclusive", "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.")
	}
	if slices.ContainsFunc(types, func(t string) bool { return t != "card" }) {
		return invalid("payment_method_types", "payment_intent_invalid_parameter", "The simulated account takes only the payment method type 'card'.")
	}
	in.automatic = len(types) == 0
	if f.has("automatic_payment_methods[enabled]") {
		if in.automatic, problem = f.boolean("automatic_payment_methods[enabled]"); problem != nil {
			return problem
		}
	}
	if in.allowRedirects, problem = f.choice("automatic_payment_methods[allow_redirects]", "always", "always", "never"); problem != nil {
		return problem
	}
	in.threeDSecure, problem = f.choice("payment_method_options[card][request_three_d_secure]", "automatic", "automatic", "any", "challenge")
	return problem
}

// captureIntent is POST /v1/payment_intents/{id}/capture. There is one capture:
// what it leaves is released.
func (s *Stripe) captureIntent(c *call) (any, *stripeError) {
	in, problem := lookUp[*intent](s, 404, "intent", "payment_intent", c.id)
	if problem != nil {
		return nil, problem
	}
	amount, given, problem := c.form.integer("amount_to_capture")
	if problem != nil {
		return nil, problem
	}
	metadata, problem := c.form.metadata()
	if problem != nil {
		return nil, problem
	}
	if final := c.form.str("final_capture"); final == "false" {
		return nil, invalid("final_capture", "", "The simulated account has no multicapture.")
	}
	if given {
		if problem := checkStripeAmount("amount_to_capture", amount, in.currency); problem != nil {
			return nil, problem
		}
	}
	if in.status == succeeded {
		return nil, unexpectedState(in, "This PaymentIntent could not be captured because it has already been captured.")
	}
	if in.status != requiresCapture {
		return nil, unexpectedState(in, "This PaymentIntent could not be captured because it has a status of %s. "+
			"Only a PaymentIntent with one of the following statuses may be captured: requires_capture.", in.status)
	}
	if !given {
		amount = in.capturable
	}
	if amount > in.capturable {
		problem := refused("amount_to_capture", "amount_too_large",
			"The amount to capture (%d) is greater than the amount that can be captured (%d).", amount, in.capturable)
		problem.intent = in
		return nil, problem
	}
	maps.Copy(in.metadata, metadata)
	s.cancel(in.due)
	s.capture(c.cause(), in, amount)
	return in.render(), nil
}

// cancelIntent is POST /v1/payment_intents/{id}/cancel.
func (s *Stripe) cancelIntent(c *call) (any, *stripeError) {
	in, problem := lookUp[*intent](s, 404, "intent", "payment_intent", c.id)
	if problem != nil {
		return nil, problem
	}
	reason, problem := c.form.choice("cancellation_reason", "", "duplicate", "fraudulent", "requested_by_customer", "abandoned")
	if problem != nil {
		return nil, problem
	}
	if in.status == succeeded || in.status == canceled {
		return nil, unexpectedState(in, "You cannot cancel this PaymentIntent because it has a status of %s. Only a PaymentIntent with one of the "+
			"following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, requires_action, processing.", in.status)
	}
	s.cancel(in.due)
	s.end(c.cause(), in, reason, EffectVoid)
	return in.render(), nil
}

// end cancels an intent and releases its authorization, if it has one.
func (s *Stripe) end(by cause, in *intent, reason string, kind EffectKind) {
	authorized := in.status == requiresCapture
	in.status, in.cancellationReason, in.canceledAt = canceled, reason, s.now()
	in.nextAction, in.due, in.capturable = nil, nil, 0
	if authorized {
		s.effect(by, kind, in, in.latest.id, in.latest.amount, nil)
		s.release(in.latest, in.latest.amount)
		name := "charge.refunded"
		if kind == EffectExpire {
			name = "charge.expired"
		}
		s.emit(by, in, name, in.latest.render())
	}
	s.emit(by, in, "payment_intent.canceled", in.render())
}

func (s *Stripe) listIntents(c *call) (any, *stripeError) {
	return page(s, c, s.intents, func(*intent) bool { return true })
}

// effect records that money, or the claim on it, moved.
func (s *Stripe) effect(by cause, kind EffectKind, in *intent, id string, amount int64, own map[string]string) {
	metadata := maps.Clone(in.metadata)
	maps.Copy(metadata, own)
	s.note(Effect{
		Kind: kind, Payment: in.id, Object: id, AmountMinor: amount, Currency: in.currency, Metadata: metadata,
		IdempotencyKey: by.key, RequestID: by.requestID, At: s.now(),
	})
}

func (in *intent) render() any {
	o := object{
		"id": in.id, "object": "payment_intent", "created": in.created.Unix(), "livemode": false,
		"amount": in.amount, "amount_capturable": in.capturable, "amount_received": in.received, "currency": in.currency,
		"amount_details": object{"tip": object{}}, "application": nil, "application_fee_amount": nil,
		"automatic_payment_methods": nil, "canceled_at": nil, "cancellation_reason": orNil(in.cancellationReason),
		"capture_method": in.captureMethod, "client_secret": in.secret, "confirmation_method": in.confirmationMethod,
		"customer": nil, "invoice": nil, "last_payment_error": nil, "latest_charge": nil, "metadata": maps.Clone(in.metadata),
		"next_action": in.nextAction, "on_behalf_of": nil, "payment_method": nil, "payment_method_configuration_details": nil,
		"payment_method_options": object{"card": object{
			"installments": nil, "mandate_options": nil, "network": nil, "request_three_d_secure": in.threeDSecure,
		}},
		"payment_method_types": []string{"card"}, "processing": nil, "review": nil, "setup_future_usage": nil, "shipping": nil, "source": nil,
		"status": in.status, "transfer_data": nil, "transfer_group": nil,
	}
	for _, name := range echoedParams {
		o[name] = orNil(in.texts[name])
	}
	if in.automatic {
		o["automatic_payment_methods"] = object{"enabled": true, "allow_redirects": in.allowRedirects}
	}
	if !in.canceledAt.IsZero() {
		o["canceled_at"] = in.canceledAt.Unix()
	}
	if in.lastError != nil {
		o["last_payment_error"] = in.lastError.object()
	}
	if in.latest != nil {
		o["latest_charge"] = in.latest.id
	}
	if in.method != nil {
		o["payment_method"] = in.method.id
	}
	if in.status == processing {
		o["processing"] = object{"type": "card", "card": object{}}
	}
	return o
}

// orNil is JSON null for the empty string.
func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}
