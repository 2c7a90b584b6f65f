package stripe

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
)

// ParseEvent reads a webhook event whose signature was verified. Facts come from
// payment_intent.*, refund.*, charge.dispute.*, charge.refund.updated and charge.refunded;
// an endpoint should be subscribed to the first three families. Other events, and test events for a
// live account or the reverse, have nothing for us: no facts and no error. An error
// means that the event could not be understood.
func (a *Adapter) ParseEvent(body []byte) (provider.Event, error) {
	e, live, err := parseEvent(body)
	if err != nil {
		return provider.Event{}, err
	}
	if (a.mode == liveMode) != live {
		e.Facts = nil
	}
	if e.Account == a.mode {
		e.Account = a.account
	}
	return e, nil
}

// ParseEvent is Adapter.ParseEvent without an account to hold the event's mode
// against; the caller compares Event.Account.
func ParseEvent(body []byte) (provider.Event, error) {
	e, _, err := parseEvent(body)
	return e, err
}

// envelope is Stripe's event object: https://docs.stripe.com/api/events/object
type envelope struct {
	ID       string `json:"id"`
	Object   string `json:"object"`
	Type     string `json:"type"`
	Account  string `json:"account"` // a connected account's, empty for our own
	Livemode bool   `json:"livemode"`
	Created  int64  `json:"created"`
	Data     struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
}

func parseEvent(body []byte) (e provider.Event, live bool, err error) {
	var in envelope
	if err := json.Unmarshal(body, &in); err != nil {
		return e, false, fmt.Errorf("stripe: the event is not JSON of the expected shape: %w", err)
	}
	at, ok := instant(in.Created)
	switch {
	case in.Object != "event":
		return e, false, fmt.Errorf("stripe: not an event but %.40q", in.Object)
	case in.ID == "" || in.Type == "":
		return e, false, errors.New("stripe: the event lacks its id or type")
	case !ok:
		return e, false, fmt.Errorf("stripe: the event's time %d is not possible", in.Created)
	}
	e = provider.Event{ID: in.ID, Account: accountOf(in), Type: in.Type, OccurredAt: at}
	if err := readObject(&e, in.Data.Object, at); err != nil {
		return provider.Event{}, false, fmt.Errorf("stripe: event %.60q (%.60q): %w", in.ID, in.Type, err)
	}
	return e, in.Livemode, nil
}

// accountOf names the account as far as the event does: "live" or "test" for our own,
// after the connected account's id for one of those.
func accountOf(in envelope) string {
	mode := testMode
	if in.Livemode {
		mode = liveMode
	}
	if in.Account == "" {
		return mode
	}
	return in.Account + "/" + mode
}

func readObject(e *provider.Event, raw json.RawMessage, at time.Time) error {
	switch {
	case strings.HasPrefix(e.Type, "payment_intent."):
		return readIntent(e, raw, at)
	case strings.HasPrefix(e.Type, "refund."), e.Type == "charge.refund.updated":
		return readRefund(e, raw, at)
	case strings.HasPrefix(e.Type, "charge.dispute."):
		return readDispute(e, raw, at)
	case e.Type == "charge.refunded":
		return readCharge(e, raw, at)
	}
	var any struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(raw, &any); err != nil {
		return err
	}
	e.ObjectID = any.ID
	return nil
}

func readIntent(e *provider.Event, raw json.RawMessage, at time.Time) error {
	pi, err := decodeIntent(raw)
	if err != nil {
		return err
	}
	e.ObjectID, e.Reference, e.PaymentID = pi.ID, pi.ID, paymentOf(pi.Metadata)
	// Somebody else's payment on the same account; and one that has only been created
	// shows the moment before its confirmation, which proves nothing.
	if e.PaymentID.IsZero() || e.Type == "payment_intent.created" {
		return nil
	}
	e.Facts, err = intentFacts(pi, at)
	return err
}

func readRefund(e *provider.Event, raw json.RawMessage, at time.Time) error {
	re, err := decodeRefund(raw)
	if err != nil {
		return err
	}
	e.ObjectID, e.PaymentID = re.ID, paymentOf(re.Metadata)
	if re.PaymentIntent == nil {
		return nil // of a charge without a PaymentIntent: none of ours
	}
	e.Reference = re.PaymentIntent.ID
	e.Facts, err = refundFacts(re, at)
	return err
}

// readCharge takes the refunds out of a charge, if the API version of the endpoint
// sends them along. The charge itself is the PaymentIntent's story told twice.
func readCharge(e *provider.Event, raw json.RawMessage, at time.Time) error {
	var ch struct {
		ID            string            `json:"id"`
		PaymentIntent json.RawMessage   `json:"payment_intent"`
		Metadata      map[string]string `json:"metadata"`
		Refunds       struct {
			Data []json.RawMessage `json:"data"`
		} `json:"refunds"`
	}
	if err := json.Unmarshal(raw, &ch); err != nil {
		return err
	}
	e.ObjectID, e.PaymentID = ch.ID, paymentOf(ch.Metadata)
	// An expanded PaymentIntent is no string; then the reference stays empty.
	_ = json.Unmarshal(ch.PaymentIntent, &e.Reference)
	for _, each := range ch.Refunds.Data {
		re, err := decodeRefund(each)
		if err != nil {
			return err
		}
		facts, err := refundFacts(re, at)
		if err != nil {
			return err
		}
		if re.PaymentIntent != nil {
			e.Facts = append(e.Facts, facts...)
		}
	}
	return nil
}
