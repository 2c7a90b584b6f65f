package inbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Message is the data of a message on provider-events.
type Message struct {
	ID id.ID `json:"id"` // of the row in webhook_events
}

// publishTimeout bounds the publishing that follows an answer.
const publishTimeout = 300 * time.Millisecond

// Ingest verifies and stores one webhook. When it returns nil the event is durable
// and the provider may be told so; publish, if it is not nil, is to be called after
// that. It publishes the event, also one that was sent before and is not dealt with
// yet; when it fails the sweep does it.
func (b *Inbox) Ingest(ctx context.Context, providerName string, h http.Header, body []byte) (publish func(context.Context), err error) {
	source, ok := b.Sources[providerName]
	if !ok {
		return nil, fault.New(fault.NotFound, "There is no such provider.")
	}
	now := b.Now()
	if err := source.Verify(h, body, now); err != nil {
		return nil, err
	}
	e, err := source.Parse(body)
	row := newRow{
		ID: b.NewID(), Provider: providerName, Account: e.Account, EventID: e.ID, Type: e.Type, ObjectID: e.ObjectID,
		PaymentID: e.PaymentID, Body: body, State: stored, RequestID: telemetry.RequestID(ctx), ReceivedAt: now,
	}
	if err != nil {
		// The provider really sent it, and would send it again for days if it were
		// refused. It is kept, for a human and for code that understands it.
		b.Log.ErrorContext(ctx, "a provider's event can't be understood", "provider", providerName, "webhook_event", row.ID, "error", err)
		sum := sha256.Sum256(body)
		row.EventID, row.Type, row.State, row.Reason = "sha256:"+hex.EncodeToString(sum[:]), "unknown", ignored, unparsable(err)
	}
	kept, err := insert(ctx, b.Pool, row)
	if err != nil || kept.finished() {
		return nil, err
	}
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		if err := b.publish(ctx, kept); err != nil {
			b.Log.WarnContext(ctx, "publishing is left to the sweep", "webhook_event", kept.ID, "error", err)
		}
	}, nil
}

// unparsable is the reason of an event that can't be read. What a parser says of its
// input may repeat it.
func unparsable(err error) string { return "unparsable: " + clean(err.Error()) }

func clean(s string) string {
	const most = 500
	s = strings.ToValidUTF8(strings.ReplaceAll(telemetry.Mask(s), "\x00", ""), "")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// publish puts the events on the topic, in order, as one request. All are of one key.
func (b *Inbox) publish(ctx context.Context, events ...keptRow) error {
	messages := make([]outbox.Message, len(events))
	for i, e := range events {
		data, err := json.Marshal(Message{ID: e.ID})
		if err != nil {
			return err
		}
		messages[i] = outbox.Message{Data: data, Attributes: map[string]string{
			"provider": e.Provider, telemetry.KeyRequestID: e.RequestID,
		}}
	}
	return b.Topic.Publish(ctx, events[0].key(), messages...)
}

// key is the ordering key: the payment, or else the provider's object, so that the
// events of one object come one after the other.
func (r keptRow) key() string {
	if !r.TransactionID.IsZero() {
		return r.TransactionID.String()
	}
	return r.Provider + ":" + r.ObjectID
}

// nothingForUs says why an event without facts is set aside.
func nothingForUs(e provider.Event) string {
	if e.PaymentID.IsZero() {
		return "not about a payment of ours"
	}
	return "nothing in it that changes a payment"
}
