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

// Ingest verifies and stores one webhook. When it returns nil all of its events are
// durable and the provider may be told so; publish, if it is not nil, is to be called
// after that. It publishes the events, also those that were sent before and are not
// dealt with yet; when it fails the sweep does it.
func (b *Inbox) Ingest(ctx context.Context, providerName string, h http.Header, body []byte) (publish func(context.Context), err error) {
	source, ok := b.Sources[providerName]
	if !ok {
		return nil, fault.New(fault.NotFound, "There is no such provider.")
	}
	if err := source.Verify(ctx, h, body, b.Now()); err != nil {
		return nil, err
	}
	var open []keptRow
	for _, raw := range b.split(ctx, providerName, source, body) {
		kept, err := b.store(ctx, providerName, source, raw)
		if err != nil {
			return nil, err // the provider sends all of it again, and what is stored is known by its id
		}
		if !kept.finished() {
			open = append(open, kept)
		}
	}
	if len(open) == 0 {
		return nil, nil
	}
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		published, err := b.publishAll(ctx, open)
		if err != nil {
			b.Log.WarnContext(ctx, "publishing is left to the sweep", "provider", providerName,
				"events", len(open), "published", len(published), "error", err)
		}
	}, nil
}

// split takes a webhook apart. One that can't be is kept whole, as store keeps what it
// can't read.
func (b *Inbox) split(ctx context.Context, providerName string, source Source, body []byte) []json.RawMessage {
	if source.Split == nil {
		return []json.RawMessage{body}
	}
	events, err := source.Split(body)
	if err != nil {
		b.Log.ErrorContext(ctx, "a provider's webhook can't be taken apart", "provider", providerName, "error", err)
		return []json.RawMessage{body}
	}
	return events
}

// store keeps one event.
func (b *Inbox) store(ctx context.Context, providerName string, source Source, body []byte) (keptRow, error) {
	e, err := source.Parse(body)
	row := newRow{
		ID: b.NewID(), Provider: providerName, Account: e.Account, EventID: e.ID, Type: e.Type, ObjectID: e.ObjectID,
		PaymentID: e.PaymentID, Body: body, State: stored, RequestID: telemetry.RequestID(ctx), ReceivedAt: b.Now(),
	}
	if err != nil {
		// The provider really sent it, and would send it again for days if it were
		// refused. It is kept, for a human and for code that understands it.
		b.Log.ErrorContext(ctx, "a provider's event can't be understood", "provider", providerName, "webhook_event", row.ID, "error", err)
		sum := sha256.Sum256(body)
		row.EventID, row.Type, row.State, row.Reason = "sha256:"+hex.EncodeToString(sum[:]), "unknown", ignored, unparsable(err)
	}
	return insert(ctx, b.Pool, row)
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
