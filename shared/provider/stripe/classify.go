package stripe

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	stripego "github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// verdict is what a reply proves about an order.
type verdict struct {
	outcome   provider.Outcome
	facts     []provider.Fact
	refusal   *provider.Refusal
	reference string
	doubt     error // why the outcome is unknown, for the evidence
}

func unknown(reference string, format string, args ...any) verdict {
	return verdict{outcome: provider.Unknown, reference: reference, doubt: fmt.Errorf(format, args...)}
}

// classify judges what became of an order. first says that nothing sent before can
// take effect: only then does a refusal prove that nothing happened.
func classify(o order, first bool, x *wire.Exchange, now time.Time) verdict {
	if !x.Answered() {
		if first && !x.Connected() {
			return verdict{outcome: provider.NotSent}
		}
		return verdict{outcome: provider.Unknown}
	}
	first = first && !replayed(x) // a stored answer is to a request that was sent before
	switch {
	case x.Status == http.StatusOK:
		return classifyObject(o, x.Body, now)
	case x.Status >= 400 && x.Status < 500:
		return classifyError(o, first, x, now)
	default:
		return unknown("", "status %d decides nothing", x.Status)
	}
}

// classifyObject judges a reply that should be the object asked for.
func classifyObject(o order, body []byte, now time.Time) verdict {
	if o.Step == provider.Refund {
		return classifyRefund(o, body, now)
	}
	pi, err := decodeIntent(body)
	if err != nil {
		return unknown("", "%w", err)
	}
	reference, err := o.echoedBy(pi)
	if err != nil {
		return unknown(reference, "%w", err)
	}
	facts, err := intentFacts(pi, now)
	if err != nil {
		return unknown(reference, "%w", err)
	}
	outcome, err := o.outcomeOf(pi)
	if err != nil {
		return unknown(reference, "%w", err)
	}
	v := verdict{outcome: outcome, facts: facts, refusal: facts[0].Refusal, reference: reference}
	if outcome == provider.Declined && v.refusal == nil {
		v.refusal = &provider.Refusal{Code: "canceled", Message: "The payment was canceled at Stripe."}
	}
	return v
}

func classifyRefund(o order, body []byte, now time.Time) verdict {
	re, err := decodeRefund(body)
	if err != nil {
		return unknown(o.Reference, "%w", err)
	}
	if err := o.echoedByRefund(re); err != nil {
		return unknown(o.Reference, "%w", err)
	}
	facts, err := refundFacts(re, now)
	if err != nil {
		return unknown(o.Reference, "%w", err)
	}
	if len(facts) == 0 {
		return unknown(o.Reference, "refund %s moved no money", re.ID)
	}
	v := verdict{outcome: provider.Pending, facts: facts, refusal: facts[0].Refusal, reference: o.Reference}
	switch facts[0].State {
	case provider.StateSucceeded:
		v.outcome = provider.Approved
	case provider.StateFailed, provider.StateCanceled:
		v.outcome = provider.Declined
	}
	return v
}

// outcomeOf reads from a PaymentIntent that echoes the order what became of the
// order, or says why it does not show that.
func (o order) outcomeOf(pi *stripego.PaymentIntent) (provider.Outcome, error) {
	strange := fmt.Errorf("a %s left the PaymentIntent in status %s", o.Step, pi.Status)
	switch o.Step {
	case provider.Authorize:
		return o.authorizeOutcome(pi)
	case provider.Capture:
		switch pi.Status {
		case stripego.PaymentIntentStatusSucceeded:
			return provider.Approved, o.received(pi)
		case stripego.PaymentIntentStatusProcessing:
			return provider.Pending, nil
		}
	case provider.Void:
		if pi.Status == stripego.PaymentIntentStatusCanceled {
			return provider.Approved, nil
		}
	}
	return provider.Unknown, strange
}

func (o order) authorizeOutcome(pi *stripego.PaymentIntent) (provider.Outcome, error) {
	switch pi.Status {
	case stripego.PaymentIntentStatusRequiresCapture:
		return provider.Approved, nil
	case stripego.PaymentIntentStatusSucceeded:
		return provider.Approved, o.received(pi)
	case stripego.PaymentIntentStatusProcessing:
		return provider.Pending, nil
	case stripego.PaymentIntentStatusRequiresAction, stripego.PaymentIntentStatusRequiresConfirmation:
		return provider.RequiresAction, nil
	case stripego.PaymentIntentStatusCanceled:
		return provider.Declined, nil
	case stripego.PaymentIntentStatusRequiresPaymentMethod:
		if pi.LastPaymentError != nil {
			return provider.Declined, nil
		}
	}
	return provider.Unknown, fmt.Errorf("an authorize left the PaymentIntent in status %s without an error", pi.Status)
}

func (o order) received(pi *stripego.PaymentIntent) error {
	if pi.AmountReceived != o.units {
		return fmt.Errorf("echo: amount_received is %d, sent %d", pi.AmountReceived, o.units)
	}
	return nil
}

// echoedBy checks that a PaymentIntent is the one of the order, by our id, amount and
// currency. The reference is returned even when amounts differ, as soon as our id is
// there.
func (o order) echoedBy(pi *stripego.PaymentIntent) (reference string, err error) {
	if paymentOf(pi.Metadata) != o.PaymentID {
		return o.Reference, fmt.Errorf("echo: PaymentIntent %s: %w", pi.ID, errForeign)
	}
	if o.Reference != "" && pi.ID != o.Reference {
		return o.Reference, fmt.Errorf("echo: the reply is about %s, asked about %s", pi.ID, o.Reference)
	}
	if string(pi.Currency) != o.currency {
		return pi.ID, fmt.Errorf("echo: currency is %.8q, sent %q", pi.Currency, o.currency)
	}
	// Captures and refunds may be of less than the PaymentIntent's amount; what they
	// moved is compared where they are approved.
	whole := o.Step == provider.Authorize || o.Step == provider.Void && o.units != 0
	if whole && pi.Amount != o.units {
		return pi.ID, fmt.Errorf("echo: amount is %d, sent %d", pi.Amount, o.units)
	}
	if o.Step == provider.Authorize && string(pi.CaptureMethod) != o.captureMethod() {
		return pi.ID, fmt.Errorf("echo: capture_method is %.20q, sent %q", pi.CaptureMethod, o.captureMethod())
	}
	return pi.ID, nil
}

func (o order) echoedByRefund(re *stripego.Refund) error {
	sent := o.refundMetadata()
	for _, name := range []string{metaPayment, metaRefund, metaObligation} {
		if re.Metadata[name] != sent[name] {
			return fmt.Errorf("echo: refund %s: %w", re.ID, errForeign)
		}
	}
	if re.PaymentIntent == nil || re.PaymentIntent.ID != o.Reference {
		return fmt.Errorf("echo: refund %s is not of %s", re.ID, o.Reference)
	}
	if re.Amount != o.units || string(re.Currency) != o.currency {
		return fmt.Errorf("echo: refund of %d %.8q, sent %d %q", re.Amount, re.Currency, o.units, o.currency)
	}
	return nil
}

// decodeError reads the error of a reply.
func decodeError(body []byte) (*stripego.Error, error) {
	var reply struct {
		Error *stripego.Error `json:"error"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, fmt.Errorf("not an error of Stripe's: %w", err)
	}
	if reply.Error == nil || reply.Error.Type == "" {
		return nil, errors.New("not an error of Stripe's: no error type")
	}
	return reply.Error, nil
}

// classifyError judges a 4xx. What the error says counts only for a first call; the
// object in it, if it echoes the order, is proof by itself for any.
func classifyError(o order, first bool, x *wire.Exchange, now time.Time) verdict {
	e, err := decodeError(x.Body)
	if err != nil {
		return unknown("", "%w", err)
	}
	var facts []provider.Fact
	if e.PaymentIntent != nil {
		pi := e.PaymentIntent
		reference, err := o.echoedBy(pi)
		if err != nil {
			return unknown(reference, "%w", err)
		}
		if facts, err = intentFacts(pi, now); err != nil {
			return unknown(reference, "%w", err)
		}
		if outcome, ok := o.provenBy(e, x.Status, pi); ok {
			return refusedVerdict(o, outcome, e, x.Status, pi, facts, now)
		}
		if o.Step == provider.Authorize && pi.Status != stripego.PaymentIntentStatusRequiresConfirmation {
			return unknown(reference, "an error came with a PaymentIntent in status %s", pi.Status)
		}
		o.Reference = reference
	}
	if !first {
		return unknown(o.Reference, "a later %d %s proves nothing of what was sent before", x.Status, e.Type)
	}
	outcome := refusedAs(o.Step, x.Status, e)
	switch outcome {
	case provider.NotSent:
		return verdict{outcome: outcome}
	case provider.Unknown:
		return unknown(o.Reference, "status %d %s %s decides nothing", x.Status, e.Type, e.Code)
	}
	return refusedVerdict(o, outcome, e, x.Status, e.PaymentIntent, facts, now)
}

// provenBy decides by the state of the object inside an error. Only the errors that
// Stripe gives after looking at the object count.
func (o order) provenBy(e *stripego.Error, status int, pi *stripego.PaymentIntent) (provider.Outcome, bool) {
	if status != http.StatusBadRequest && status != http.StatusPaymentRequired ||
		e.Type != stripego.ErrorTypeCard && e.Type != stripego.ErrorTypeInvalidRequest {
		return "", false
	}
	is := func(step provider.Step, status stripego.PaymentIntentStatus) bool {
		return o.Step == step && pi.Status == status
	}
	switch {
	case is(provider.Authorize, stripego.PaymentIntentStatusRequiresPaymentMethod):
		return provider.Declined, true
	case is(provider.Authorize, stripego.PaymentIntentStatusRequiresConfirmation):
		return "", false // it was made and not confirmed: for the error to explain
	case o.Step == provider.Authorize:
		outcome, err := o.authorizeOutcome(pi)
		return outcome, err == nil
	case is(provider.Capture, stripego.PaymentIntentStatusSucceeded):
		return provider.Approved, o.received(pi) == nil
	case is(provider.Capture, stripego.PaymentIntentStatusCanceled):
		return provider.Declined, true
	case is(provider.Void, stripego.PaymentIntentStatusCanceled):
		return provider.Approved, true
	case is(provider.Void, stripego.PaymentIntentStatusSucceeded):
		return provider.Declined, true
	}
	return "", false
}

// refusedAs classes a first call's error by status and type. Statuses and types:
// https://docs.stripe.com/api/errors
func refusedAs(step provider.Step, status int, e *stripego.Error) provider.Outcome {
	switch e.Type {
	case stripego.ErrorTypeCard:
		if status == http.StatusConflict {
			return provider.Unknown
		}
		return provider.Declined
	case stripego.ErrorTypeInvalidRequest, "authentication_error", "permission_error", "rate_limit_error":
	default: // api_error, idempotency_error, and whatever Stripe may add
		return provider.Unknown
	}
	switch status {
	case http.StatusTooManyRequests: // the rate limiter and the object lock stand before execution
		return provider.NotSent
	case http.StatusPaymentRequired:
		return provider.Declined
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		if step != provider.Authorize && stateRefusals[e.Code] {
			return provider.Declined
		}
		return provider.Rejected
	}
	return provider.Unknown
}

// refusedVerdict completes an outcome that an error reply proved. The facts are those
// of the object in it, if there was one.
func refusedVerdict(o order, outcome provider.Outcome, e *stripego.Error, status int,
	pi *stripego.PaymentIntent, facts []provider.Fact, now time.Time,
) verdict {
	v := verdict{outcome: outcome, facts: facts, reference: o.Reference}
	if pi != nil {
		v.reference = pi.ID
	}
	if outcome != provider.Declined && outcome != provider.Rejected {
		return v
	}
	v.refusal = refusalOf(e)
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		v.refusal = credentialsRefusal(e)
	}
	switch {
	case o.Step == provider.Refund:
		v.facts = []provider.Fact{attemptFact(o, provider.KindRefund, v.refusal, now)}
	case o.Step != provider.Authorize:
	case pi == nil:
		v.facts = []provider.Fact{attemptFact(o, provider.KindAuthorization, v.refusal, now)}
	case facts[0].State != provider.StateCanceled:
		// The refusal is newer than what the object in it says of itself.
		facts[0].State, facts[0].Refusal, facts[0].NextAction = provider.StateFailed, v.refusal, nil
	}
	return v
}
