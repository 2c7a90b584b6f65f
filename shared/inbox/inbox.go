// Package inbox takes in what providers tell us, and sees to it that all of it is
// either merged into a payment or set aside with the reason.
//
// It owns the table webhook_events: every event whose signature was right, raw and
// once per (provider, event id). An event is stored before it is acknowledged and
// published after, so that nothing is lost; a state says what has become of it:
//
//	stored   not looked at yet; published, and published again when that got lost
//	parked   about a payment that is not known, or not yet; tried again, ever more rarely
//	applied  merged into its payment
//	ignored  it changed nothing, and reason says why
//
// It refuses senders without a valid signature (signature_invalid, or what the
// provider's own rules ask for), providers it does
// not know (not_found) and bodies above 1 MiB (body_too_large, at the edge).
package inbox

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/provider"
)

// MaxBody is the most that one webhook may have, in bytes. Stripe's events have some
// kilobytes.
const MaxBody = 1 << 20

// Source is one provider's way of telling us things.
type Source struct {
	// Verify checks the signature of a webhook, by its headers and raw body; only who
	// takes webhooks in needs it.
	Verify func(ctx context.Context, h http.Header, body []byte, now time.Time) error
	// Split takes a webhook of several events apart; nil for a provider that sends them
	// one by one.
	Split func(body []byte) ([]json.RawMessage, error)
	// Parse reads one event whose signature was verified.
	Parse func(body []byte) (provider.Event, error)
}

// Payments is what applies an event: *payment.Service.
type Payments interface {
	ApplyEvent(ctx context.Context, providerName string, e provider.Event, evidence id.ID) (effect string, err error)
}

// Inbox is the events. Fields are set where it is wired; Payments is for Apply alone.
type Inbox struct {
	Pool     *pgxpool.Pool
	Sources  map[string]Source // by provider
	Topic    *outbox.Topic     // provider-events
	Payments Payments
	Now      func() time.Time
	NewID    func() id.ID
	Log      *slog.Logger
}

// The states of an event.
const (
	stored  = "stored"
	parked  = "parked"
	applied = "applied"
	ignored = "ignored"
)

const (
	// grace is how long the first publishing has before the sweep publishes again.
	grace      = time.Minute
	maxBackoff = time.Hour
)

// backoff is how long an event waits after it was published again n times.
func backoff(n int) time.Duration {
	if n > 6 { // 1 min << 6 is above the maximum
		return maxBackoff
	}
	return min(grace<<n, maxBackoff)
}

// Unapplied counts the events that are neither applied nor ignored, for the gauge.
func (b *Inbox) Unapplied(ctx context.Context) (n int64, err error) {
	err = b.Pool.QueryRow(ctx, countOpen).Scan(&n)
	return n, err
}
