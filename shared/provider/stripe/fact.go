package stripe

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	stripego "github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

// decodeIntent reads a PaymentIntent, strictly enough that no other object passes for
// one.
func decodeIntent(raw []byte) (*stripego.PaymentIntent, error) {
	var pi stripego.PaymentIntent
	if err := json.Unmarshal(raw, &pi); err != nil {
		return nil, fmt.Errorf("not a PaymentIntent: %w", err)
	}
	if pi.Object != "payment_intent" || pi.ID == "" || pi.Status == "" {
		return nil, fmt.Errorf("not a PaymentIntent but %.40q", pi.Object)
	}
	return &pi, nil
}

// decodeRefund reads a Refund.
func decodeRefund(raw []byte) (*stripego.Refund, error) {
	var re stripego.Refund
	if err := json.Unmarshal(raw, &re); err != nil {
		return nil, fmt.Errorf("not a refund: %w", err)
	}
	if re.Object != "refund" || re.ID == "" || re.Status == "" {
		return nil, fmt.Errorf("not a refund but %.40q", re.Object)
	}
	return &re, nil
}

// paymentOf reads our id out of an object's metadata; zero if it is not there.
func paymentOf(metadata map[string]string) id.ID {
	u, err := id.Payment.Parse(metadata[metaPayment])
	if err != nil {
		return id.ID{}
	}
	return u
}

// intentFacts are what a PaymentIntent proves of itself: the state of the
// authorization, and of the capture if money was received. at is when it was so.
func intentFacts(pi *stripego.PaymentIntent, at time.Time) ([]provider.Fact, error) {
	f := provider.Fact{
		Kind: provider.KindAuthorization, ObjectID: pi.ID, Reference: pi.ID, PaymentID: paymentOf(pi.Metadata),
		OccurredAt: at,
	}
	if err := setAmount(&f, pi.Amount, pi.Currency); err != nil {
		return nil, fmt.Errorf("PaymentIntent %s: %w", pi.ID, err)
	}
	switch pi.Status {
	case stripego.PaymentIntentStatusRequiresAction, stripego.PaymentIntentStatusRequiresConfirmation:
		f.State, f.NextAction = provider.StateRequiresAction, nextAction(pi.NextAction)
	case stripego.PaymentIntentStatusProcessing:
		f.State = provider.StatePending
	case stripego.PaymentIntentStatusRequiresPaymentMethod:
		// Without an error nothing has been tried yet: perhaps the confirmation that made
		// it is still running. That is no failure.
		f.State = provider.StatePending
		if pi.LastPaymentError != nil {
			f.State, f.Refusal = provider.StateFailed, refusalOf(pi.LastPaymentError)
		}
	case stripego.PaymentIntentStatusRequiresCapture, stripego.PaymentIntentStatusSucceeded:
		f.State, f.CaptureBefore = provider.StateAuthorized, captureBefore(pi.LatestCharge)
	case stripego.PaymentIntentStatusCanceled:
		f.State = provider.StateCanceled
		if canceled, ok := instant(pi.CanceledAt); ok {
			f.OccurredAt = canceled
		}
	default:
		return nil, fmt.Errorf("PaymentIntent %s has the unknown status %.40q", pi.ID, pi.Status)
	}
	facts := []provider.Fact{f}
	if pi.Status == stripego.PaymentIntentStatusSucceeded || pi.AmountReceived > 0 {
		c, err := captureFact(pi, f, at)
		if err != nil {
			return nil, err
		}
		facts = append(facts, c)
	}
	return facts, nil
}

// captureFact states the one capture that a PaymentIntent has. It bears the charge's
// id, by which balance transactions and disputes name it.
func captureFact(pi *stripego.PaymentIntent, authorization provider.Fact, at time.Time) (provider.Fact, error) {
	if pi.AmountReceived <= 0 {
		return provider.Fact{}, fmt.Errorf("PaymentIntent %s succeeded but received %d", pi.ID, pi.AmountReceived)
	}
	if pi.LatestCharge == nil || pi.LatestCharge.ID == "" {
		// Another name for the same capture would book it twice.
		return provider.Fact{}, fmt.Errorf("PaymentIntent %s succeeded but names no charge", pi.ID)
	}
	c := provider.Fact{
		Kind: provider.KindCapture, State: provider.StateSucceeded, ObjectID: pi.LatestCharge.ID,
		Reference: pi.ID, PaymentID: authorization.PaymentID, OccurredAt: at,
	}
	if err := setAmount(&c, pi.AmountReceived, pi.Currency); err != nil {
		return c, fmt.Errorf("capture of PaymentIntent %s: %w", pi.ID, err)
	}
	return c, nil
}

var refundStates = map[stripego.RefundStatus]provider.State{
	stripego.RefundStatusRequiresAction: provider.StateRequiresAction,
	stripego.RefundStatusPending:        provider.StatePending,
	stripego.RefundStatusSucceeded:      provider.StateSucceeded,
	stripego.RefundStatusFailed:         provider.StateFailed,
	stripego.RefundStatusCanceled:       provider.StateCanceled,
}

// refundFacts are what a Refund proves of itself. There are none when it moved no
// money; see isRelease.
func refundFacts(re *stripego.Refund, at time.Time) ([]provider.Fact, error) {
	if isRelease(re) {
		return nil, nil
	}
	state, ok := refundStates[re.Status]
	if !ok {
		return nil, fmt.Errorf("refund %s has the unknown status %.40q", re.ID, re.Status)
	}
	f := provider.Fact{
		Kind: provider.KindRefund, State: state, ObjectID: re.ID, PaymentID: paymentOf(re.Metadata), OccurredAt: at,
	}
	if re.PaymentIntent != nil {
		f.Reference = re.PaymentIntent.ID
	}
	// What is not ours to parse is not ours: the zero ID.
	f.RefundID, _ = id.Refund.Parse(re.Metadata[metaRefund])
	f.ObligationID, _ = id.Parse(re.Metadata[metaObligation])
	if state == provider.StateFailed || state == provider.StateCanceled {
		f.Refusal = refundRefusal(re)
	}
	if err := setAmount(&f, re.Amount, re.Currency); err != nil {
		return nil, fmt.Errorf("refund %s: %w", re.ID, err)
	}
	return []provider.Fact{f}, nil
}

// isRelease recognizes the refund objects by which Stripe shows that an authorization,
// or what a partial capture left of it, was let go. They bear no metadata of ours and
// have no balance transaction, because no money moved. A refund that somebody makes in
// Stripe's dashboard has one.
func isRelease(re *stripego.Refund) bool {
	ours := re.Metadata[metaRefund] != "" || re.Metadata[metaObligation] != ""
	return !ours && (re.BalanceTransaction == nil || re.Reason == stripego.RefundReasonExpiredUncapturedCharge)
}

// attemptFact states a refusal that left no object at Stripe, under a name of our own.
func attemptFact(o order, kind provider.Kind, refusal *provider.Refusal, at time.Time) provider.Fact {
	return provider.Fact{
		Kind: kind, State: provider.StateFailed, ObjectID: provider.AttemptObject + o.key, Reference: o.Reference,
		PaymentID: o.PaymentID, RefundID: o.RefundID, ObligationID: o.ObligationID,
		Amount: o.Amount, Units: o.units, UnitCurrency: o.currency,
		Refusal: refusal, OccurredAt: at,
	}
}

func setAmount(f *provider.Fact, units int64, currency stripego.Currency) error {
	amount, err := amountOf(units, string(currency))
	if err != nil {
		return err
	}
	f.Amount, f.Units, f.UnitCurrency = amount, units, string(currency)
	return nil
}

// nextAction is nil when the payer can't be sent anywhere, as when no return URL was
// given.
func nextAction(a *stripego.PaymentIntentNextAction) *provider.NextAction {
	if a == nil || a.RedirectToURL == nil || a.RedirectToURL.URL == "" {
		return nil
	}
	return &provider.NextAction{Type: "redirect_to_url", RedirectURL: a.RedirectToURL.URL}
}

// captureBefore is zero unless the charge was sent along and states it.
func captureBefore(ch *stripego.Charge) time.Time {
	if ch == nil || ch.PaymentMethodDetails == nil || ch.PaymentMethodDetails.Card == nil {
		return time.Time{}
	}
	at, _ := instant(ch.PaymentMethodDetails.Card.CaptureBefore)
	return at
}

// lastInstant is the end of the year 9999, the last that RFC 3339 can write.
const lastInstant = 253402300799

func instant(seconds int64) (time.Time, bool) {
	if seconds <= 0 || seconds > lastInstant {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

var errForeign = errors.New("the object does not name the payment that was asked for")
