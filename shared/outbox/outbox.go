// Package outbox tells the rest of the system what was committed, after it was
// committed: events by Pub/Sub, work to be done by Cloud Tasks.
//
// It owns the tables events and outbox. Queue writes both in the transaction of
// the change itself, so an event exists exactly when its change does. A Relay
// publishes them afterwards: at once, on the way out of the request that made them,
// and from the sweep whatever that missed. Tasks is the client of the task queues.
//
// What holds, whatever fails: an event is published at least once, and the events
// of one payment reach the topic first in the order of their sequence. They may
// come again (a relay that dies after publishing and before writing that down
// leaves its rows to the next one); consumers drop repeats by event id.
//
// How the order holds with many relays at work. A row may be claimed only while it
// is the head of its key, which means that no earlier row of the payment is
// unpublished; a leased row is unpublished, so it holds back what follows. Whoever
// claims the head takes all the waiting rows of the key with it, publishes them in
// one request, and looks again until nothing is left, since a row committed in the
// meantime found the key leased and its own relay went away. Rows of one key commit
// in the order of their sequence, because whoever writes one holds the payment's
// row lock; across keys there is no order and no cursor that could skip a row.
//
// The topic is reached by the generated client, one unary call per key, and not by
// pubsub.Publisher. That one buffers: a message whose caller has stopped waiting
// stays queued, and after the ResumePublish that every failure calls for, it can go
// out ahead of an earlier message that failed. It also needs CPU after the answer,
// which a function does not have. A call that carries a key's rows in order fails
// or succeeds as one, ends with its context, and leaves nothing paused behind.
package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Event is one thing that a merchant is told.
type Event struct {
	ID         id.ID
	MerchantID id.ID
	SubjectID  id.ID  // what it is about, and the ordering key; the payment when zero
	PaymentID  id.ID  // zero if it is about something else
	EndpointID id.ID  // the only endpoint that is told; zero: all that subscribe
	Type       string // such as "payment.captured"
	Sequence   int64  // per subject, from 1, without gaps
	Payload    []byte // the bytes that every delivery of the event sends
	RequestID  string // the request that caused it
	At         time.Time
}

// Queue adds the event and its outbox row to the batch, as one statement. The batch
// must run in the transaction of the change, under the subject's row lock: that lock
// is what makes the rows of a subject commit in the order of their sequence.
func Queue(b *pgx.Batch, e Event) {
	if e.SubjectID.IsZero() {
		e.SubjectID = e.PaymentID
	}
	b.Queue(insertEvent, e.ID, e.MerchantID, e.SubjectID, e.Type, e.Sequence, e.Payload, e.RequestID, e.At, e.PaymentID, e.EndpointID)
}

// QueueAll is Queue for many events, all about payments, in one statement. Each row lock of
// theirs is held.
func QueueAll(b *pgx.Batch, events []Event) {
	n := len(events)
	var (
		ids, merchants, payments = make([]id.ID, n), make([]id.ID, n), make([]id.ID, n)
		types, requests          = make([]string, n), make([]string, n)
		sequences                = make([]int64, n)
		payloads                 = make([][]byte, n)
		times                    = make([]time.Time, n)
	)
	for i, e := range events {
		ids[i], merchants[i], payments[i], types[i], sequences[i] = e.ID, e.MerchantID, e.PaymentID, e.Type, e.Sequence
		payloads[i], requests[i], times[i] = e.Payload, e.RequestID, e.At
	}
	b.Queue(insertEvents, ids, merchants, payments, types, sequences, payloads, requests, times)
}

// Backlog is what waits to be published.
type Backlog struct {
	Rows      int64
	OldestAge time.Duration // of the oldest row; 0 when there is none
}

// ReadBacklog measures the backlog at the time now, for the gauges.
func ReadBacklog(ctx context.Context, db postgres.DB, now time.Time) (Backlog, error) {
	var b Backlog
	var oldest *time.Time
	if err := db.QueryRow(ctx, selectBacklog).Scan(&b.Rows, &oldest); err != nil {
		return Backlog{}, fmt.Errorf("outbox: read the backlog: %w", err)
	}
	if oldest != nil {
		b.OldestAge = max(0, now.Sub(*oldest))
	}
	return b, nil
}
