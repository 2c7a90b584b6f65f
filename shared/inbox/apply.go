package inbox

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

// How long an event about a payment that is not known waits for it. A payment is
// stored before its provider hears of it, so one that is named by our own id and
// missing belongs to another installation on the same account, or to a database that
// was restored. One that is named by the provider's id alone may be waiting for the
// reply that tells us that id; most are not ours.
const (
	waitForPayment   = 72 * time.Hour
	waitForReference = time.Hour
)

// Apply merges one event into its payment. It returns an error only for trouble of
// our own, after which the event is to be tried again; applying an event twice
// changes nothing.
func (b *Inbox) Apply(ctx context.Context, eventID id.ID) error {
	rows, err := b.Pool.Query(ctx, selectEvent, eventID)
	if err != nil {
		return fault.Wrap(err, "read a provider's event")
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[event])
	if errors.Is(err, pgx.ErrNoRows) {
		b.Log.ErrorContext(ctx, "a message names an event that is not stored", "webhook_event", eventID)
		return nil
	}
	if err != nil {
		return fault.Wrap(err, "read a provider's event")
	}
	if row.State == applied || row.State == ignored {
		return nil
	}
	source, ok := b.Sources[row.Provider]
	if !ok {
		return fault.New(fault.Internal, "event %s is of provider %q, which is not configured", eventID, row.Provider)
	}
	e, err := source.Parse(row.Body)
	if err != nil {
		b.Log.ErrorContext(ctx, "a provider's event can't be understood", "provider", row.Provider, "webhook_event", eventID, "error", err)
		return b.finish(ctx, eventID, ignored, unparsable(err))
	}
	if len(e.Facts) == 0 && !e.LookUp {
		return b.finish(ctx, eventID, ignored, nothingForUs(e))
	}
	return b.merge(ctx, row, e)
}

func (b *Inbox) merge(ctx context.Context, row *event, e provider.Event) error {
	effect, err := b.Payments.ApplyEvent(ctx, row.Provider, e, row.ID)
	switch {
	case fault.Is(err, fault.NotFound):
		wait, reason, hopeless := waitForPayment, "waits for the payment it names", "names a payment that does not exist"
		if e.PaymentID.IsZero() {
			wait, reason, hopeless = waitForReference, "waits for a payment with the provider's id", "not about a payment of ours"
		}
		return b.park(ctx, row, wait, reason, hopeless)
	case fault.Is(err, fault.Unavailable):
		// A hint is no more than that: what it is about is also asked for without it.
		return b.park(ctx, row, waitForPayment, "waits for the provider to confirm it", "the provider never confirmed it")
	case err != nil:
		return err
	case effect == "":
		return b.finish(ctx, row.ID, ignored, nothingForUs(e))
	case changedNothing(effect):
		return b.finish(ctx, row.ID, ignored, effect)
	}
	return b.finish(ctx, row.ID, applied, effect)
}

// changedNothing reports whether every fact of the event was known before, or older
// than what is known. The effect lists them as "kind.state: effect; …".
func changedNothing(effect string) bool {
	for fact := range strings.SplitSeq(effect, "; ") {
		if !strings.HasSuffix(fact, ": repeated") && !strings.HasSuffix(fact, ": stale") {
			return false
		}
	}
	return true
}

// park lets an event wait, and gives it up when that is hopeless.
func (b *Inbox) park(ctx context.Context, row *event, wait time.Duration, reason, hopeless string) error {
	now := b.Now()
	if now.Sub(row.ReceivedAt) >= wait {
		return b.finish(ctx, row.ID, ignored, hopeless)
	}
	_, err := b.Pool.Exec(ctx, parkEvent, row.ID, reason, now.Add(backoff(row.Tries)))
	return fault.Wrap(err, "park a provider's event")
}

func (b *Inbox) finish(ctx context.Context, eventID id.ID, state, reason string) error {
	_, err := b.Pool.Exec(ctx, finishEvent, eventID, state, clean(reason), b.Now())
	return fault.Wrap(err, "finish a provider's event")
}
