package paypal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// verdict is what is proven of a job. The zero verdict is none yet.
type verdict struct {
	outcome provider.Outcome
	facts   []provider.Fact
	refusal *provider.Refusal
	doubt   error // why the outcome is not decided, for the evidence
	look    bool  // something happened that the order may show
}

func unknown(format string, args ...any) verdict {
	return verdict{outcome: provider.Unknown, doubt: fmt.Errorf(format, args...)}
}

func declined(facts []provider.Fact, code, message, providerCode string) verdict {
	return verdict{outcome: provider.Declined, facts: facts, refusal: &provider.Refusal{Code: code, Message: message, ProviderCode: providerCode}}
}

var errForeign = errors.New("it does not name the payment that was asked for")

// names checks an object's ids: ours where it has any, and at least one.
func names(customID, invoiceID, wantCustom, wantInvoice string) error {
	if customID != wantCustom && customID != "" || invoiceID != wantInvoice && invoiceID != "" || customID+invoiceID == "" {
		return errForeign
	}
	return nil
}

// echoes compares an amount with what was sent, in PayPal's units.
func (j job) echoes(a amount) error {
	units, err := unitsOf(a.Value, a.CurrencyCode)
	if err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	if units != j.units || a.CurrencyCode != j.currency {
		return fmt.Errorf("echo: the amount is %.20q %.8q, sent %s %s", a.Value, a.CurrencyCode, decimal(j.units, j.currency), j.currency)
	}
	return nil
}

// echoesWhole is for amounts of the whole payment, which captures and refunds may be
// only a part of.
func (j job) echoesWhole(a amount) error {
	if j.Request.Step == provider.Authorize || j.Request.Step == provider.Void && j.units != 0 {
		return j.echoes(a)
	}
	if a.CurrencyCode != j.currency {
		return fmt.Errorf("echo: the currency is %.8q, sent %s", a.CurrencyCode, j.currency)
	}
	return nil
}

// echoedBy checks that an order is the one of the job.
func (j job) echoedBy(o *order) error {
	u := o.unit()
	payment, _, _ := parseCustomID(u.CustomID)
	orphan := j.Request.Orphan() && payment.IsZero() // what else it bears is not ours to know
	if err := names(u.CustomID, u.InvoiceID, j.name(), j.name()); !orphan && (err != nil || u.CustomID == "") {
		return fmt.Errorf("echo: order %.40s: %w", o.ID, errForeign)
	}
	if err := j.echoesWhole(u.Amount); err != nil {
		return err
	}
	for _, a := range u.Payments.Authorizations {
		if err := j.echoesWhole(a.Amount); err != nil {
			return err
		}
	}
	if j.Request.Step == provider.Authorize && o.Intent != j.intent() {
		return fmt.Errorf("echo: the intent is %.20q, sent %s", o.Intent, j.intent())
	}
	return nil
}

// provenBy reads from the order's state what became of the job. The zero verdict means
// that it is still to be done.
func (j job) provenBy(o *order, now time.Time) verdict {
	facts, err := o.facts(now)
	if err != nil {
		return unknown("%w", err)
	}
	switch j.Request.Step {
	case provider.Authorize:
		return j.authorizeProven(o, facts)
	case provider.Capture:
		return j.captureProven(o, facts)
	case provider.Void:
		return j.voidProven(o, facts, now)
	}
	return j.refundProven(o, now)
}

func (j job) authorizeProven(o *order, facts []provider.Fact) verdict {
	if c := o.capture(); j.Request.AutoCapture && c != nil && !failedCapture(c) {
		if err := j.echoes(c.Amount); err != nil {
			return unknown("%w", err)
		}
	}
	v := verdict{facts: facts, refusal: facts[0].Refusal}
	switch facts[0].State {
	case provider.StateAuthorized:
		v.outcome = provider.Approved
	case provider.StateRequiresAction:
		v.outcome = provider.RequiresAction
	case provider.StateApproved:
		return verdict{} // to be completed
	case provider.StatePending:
		v.outcome = provider.Pending
	case provider.StateFailed:
		v.outcome = provider.Declined
	default:
		return declined(facts, "canceled", "The payment was canceled at PayPal.", o.Status)
	}
	return v
}

func (j job) captureProven(o *order, facts []provider.Fact) verdict {
	if c := o.capture(); c != nil && !failedCapture(c) {
		return j.captureOutcome(c, facts)
	}
	switch {
	case o.authorization() == nil:
		return declined(facts, "invalid_provider_state", "The payment is not authorized at PayPal.", o.Status)
	case facts[0].State == provider.StateCanceled || facts[0].State == provider.StateFailed:
		return declined(facts, "authorization_expired", "The authorization was canceled or has expired at PayPal.", o.authorization().Status)
	}
	return verdict{}
}

func (j job) captureOutcome(c *object, facts []provider.Fact) verdict {
	state, err := captureState(c)
	if err != nil {
		return unknown("%w", err)
	}
	if state == provider.StateFailed {
		r := deniedRefusal(c.StatusDetails.Reason)
		return verdict{outcome: provider.Declined, facts: facts, refusal: r}
	}
	if err := j.echoes(c.Amount); err != nil {
		// Either somebody else captured it, or the reply is wrong: for a look-up to tell.
		return unknown("%w", err)
	}
	if state == provider.StatePending {
		return verdict{outcome: provider.Pending, facts: facts}
	}
	return verdict{outcome: provider.Approved, facts: facts}
}

// captured judges the reply to a capture of ours.
func (j job) captured(o *order, body []byte, now time.Time) verdict {
	c, err := decodeObject(body)
	if err != nil {
		return unknown("%w", err)
	}
	if err := names(c.CustomID, c.InvoiceID, j.name(), j.name()); err != nil {
		return unknown("echo: capture %.40s: %w", c.ID, err)
	}
	if err := j.echoes(c.Amount); err != nil {
		return unknown("%w", err)
	}
	a, err := o.authorizationFact(now)
	if err != nil {
		return unknown("%w", err)
	}
	f, err := o.captureFact(c, now)
	if err != nil {
		return unknown("%w", err)
	}
	return j.captureOutcome(c, []provider.Fact{a, f})
}

// holds reports whether an authorization holds funds, or may come to.
func holds(a *object) bool { return a.Status == "CREATED" || a.Status == "PENDING" }

// voidProven finds an order without anything to let go of. One that was never
// authorized is canceled by us never asking for that.
func (j job) voidProven(o *order, facts []provider.Fact, now time.Time) verdict {
	if c := o.capture(); c != nil && !failedCapture(c) {
		return declined(facts, "already_captured", "The payment was captured before.", c.Status)
	}
	for i := range o.unit().Payments.Authorizations {
		switch a := &o.unit().Payments.Authorizations[i]; {
		case holds(a):
			return verdict{}
		case a.Status == "CAPTURED" || a.Status == "PARTIALLY_CAPTURED":
			return unknown("authorization %s is %s, but the order shows no capture", a.ID, a.Status)
		}
	}
	return j.canceled(o, now)
}

// canceled is the verdict on an order that holds nothing and never will.
func (j job) canceled(o *order, now time.Time) verdict {
	f, err := o.authorizationFact(now)
	if err != nil {
		return unknown("%w", err)
	}
	if f.State != provider.StateCanceled {
		f.OccurredAt = now
	}
	f.State, f.Refusal, f.NextAction, f.CaptureBefore = provider.StateCanceled, nil, nil, time.Time{}
	return verdict{outcome: provider.Approved, facts: []provider.Fact{f}}
}

func (j job) refundProven(o *order, now time.Time) verdict {
	if re := o.refund(j.refundCustomID()); re != nil {
		return j.refunded(o, re, now)
	}
	if c := o.capture(); c == nil || failedCapture(c) {
		// True of a replay too: what was never captured can't have been refunded.
		return j.refused(provider.Declined, &provider.Refusal{
			Code: "not_refundable", Message: "There is no capture at PayPal to refund.", ProviderCode: o.Status,
		}, now)
	}
	return verdict{}
}

// refunded judges a refund that PayPal shows.
func (j job) refunded(o *order, re *object, now time.Time) verdict {
	if err := names(re.CustomID, re.InvoiceID, j.refundCustomID(), j.refundName()); err != nil || re.CustomID == "" {
		return unknown("echo: refund %.40s: %w", re.ID, errForeign)
	}
	if err := j.echoes(re.Amount); err != nil {
		return unknown("%w", err)
	}
	f, err := refundFact(re, o.ID, now)
	if err != nil {
		return unknown("%w", err)
	}
	v := verdict{outcome: provider.Pending, facts: []provider.Fact{f}, refusal: f.Refusal}
	switch f.State {
	case provider.StateSucceeded:
		v.outcome = provider.Approved
	case provider.StateFailed, provider.StateCanceled:
		v.outcome = provider.Declined
	}
	return v
}

// withoutOrder judges an order that PayPal knows no more. It forgets those that were
// never authorized; about one that was, its silence proves nothing.
func (j job) withoutOrder(first bool, now time.Time) verdict {
	r := &provider.Refusal{Code: "authorization_expired", Message: "The payment was not approved in time, and PayPal knows it no more.", ProviderCode: "RESOURCE_NOT_FOUND"}
	f := provider.Fact{
		Kind: provider.KindAuthorization, State: provider.StateCanceled, ObjectID: j.Request.Reference, Reference: j.Request.Reference,
		PaymentID: j.Request.PaymentID, Amount: j.Request.Amount, Units: j.units, UnitCurrency: j.currency, OccurredAt: now,
	}
	switch {
	case j.Request.Step == provider.Void && j.units == 0:
		return verdict{outcome: provider.Approved, facts: []provider.Fact{f}}
	case !first:
		return unknown("PayPal does not know the order")
	case j.Request.Step == provider.Authorize:
		return verdict{outcome: provider.Declined, refusal: r, facts: []provider.Fact{f}}
	}
	return j.refused(provider.Rejected, &provider.Refusal{
		Code: "invalid_request", Message: "PayPal does not know the order.", ProviderCode: "RESOURCE_NOT_FOUND",
	}, now)
}

// apiError is PayPal's: https://developer.paypal.com/api/rest/responses/#errors
type apiError struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	Details []struct {
		Issue       string `json:"issue"`
		Description string `json:"description"`
	} `json:"details"`
}

// decodeError reads the error of a reply.
func decodeError(body []byte) (*apiError, error) {
	var e apiError
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("not an error of PayPal's: %w", err)
	}
	if e.Name == "" {
		return nil, errors.New("not an error of PayPal's: no name")
	}
	return &e, nil
}

// Error is the error in short, for the evidence.
func (e *apiError) Error() string { return fmt.Sprintf("%.60s %.60s", e.Name, e.issue()) }

// issue is the first detail's, or the error's name.
func (e *apiError) issue() string {
	if len(e.Details) > 0 && e.Details[0].Issue != "" {
		return e.Details[0].Issue
	}
	return e.Name
}

// inDoubt reports whether the error speaks of something that happened or is happening.
func (e *apiError) inDoubt() bool {
	for _, d := range e.Details {
		if happened[d.Issue] {
			return true
		}
	}
	return happened[e.Name]
}

// classifyError judges a 4xx to a mutation. It counts only for a first call; what the
// order shows counts for any.
func (j job) classifyError(x *wire.Exchange, first bool, now time.Time) verdict {
	e, err := decodeError(x.Body)
	if err != nil {
		if tokenRefused(x) && first {
			return j.refused(provider.Rejected, credentialsRefusal(), now)
		}
		return unknown("%w", err)
	}
	switch {
	case e.inDoubt() || x.Status == http.StatusConflict:
		return verdict{outcome: provider.Unknown, look: true, doubt: e}
	case !first:
		return verdict{outcome: provider.Unknown, doubt: fmt.Errorf("a later %d proves nothing of what was sent before: %w", x.Status, e)}
	}
	switch x.Status {
	case http.StatusTooManyRequests: // the rate limiter stands before execution
		return verdict{outcome: provider.NotSent, doubt: e}
	case http.StatusUnauthorized:
		return j.refused(provider.Rejected, credentialsRefusal(), now)
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
		if _, known := declines[e.issue()]; known {
			return j.refused(provider.Declined, refusalOf(e), now)
		}
		return j.refused(provider.Rejected, refusalOf(e), now)
	}
	return unknown("status %d decides nothing: %w", x.Status, e)
}

// refused is the verdict on a refusal that left nothing at PayPal.
func (j job) refused(outcome provider.Outcome, r *provider.Refusal, now time.Time) verdict {
	return verdict{outcome: outcome, refusal: r, facts: j.refusedFacts(r, now)}
}
