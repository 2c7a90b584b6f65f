package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

const (
	// lease is how long a worker may hold a delivery: an attempt, and time to write
	// it down. Only a dead worker overstays.
	lease = 30 * time.Second

	// recordTimeout bounds the statement that writes an attempt down. It is apart from
	// the caller's deadline: an attempt that is not written down is made again.
	recordTimeout = 5 * time.Second
)

// held is a delivery under this worker's lease, with what an attempt needs.
type held struct {
	Delivery
	Payload []byte    `db:"payload"`
	EventAt time.Time `db:"event_at"`
	URL     string    `db:"url"`
	Enabled bool      `db:"enabled"`
	Sealed  [][]byte  `db:"sealed"` // the secrets that have not expired, the newest first
	Token   id.ID     `db:"lease_token"`
}

// attempt is one request as it is written down.
type attempt struct {
	sender.Result
	Number int
	At     time.Time
	Took   time.Duration
}

// Deliver makes one attempt (from 1) at a delivery. It returns nil when there is
// nothing left to do, whether the endpoint took the event or not, and also when the
// attempt was made before or is being made by another worker. An error means that
// something of ours failed, and that the task should be run again.
func (s *Service) Deliver(ctx context.Context, delivery id.ID, number int) error {
	d, err := s.lease(ctx, delivery, number)
	if err != nil {
		return err
	}
	if d == nil {
		return s.followUp(ctx, delivery, number)
	}
	if !d.Enabled {
		s.Log.InfoContext(ctx, "webhook delivery abandoned: the endpoint is disabled", d.attrs()...)
		return s.letGo(ctx, d, abandonDelivery)
	}
	a, err := s.try(ctx, d, number)
	if err != nil {
		return errors.Join(err, s.letGo(ctx, d, releaseDelivery)) // the next run need not wait for the lease to end
	}
	return s.conclude(ctx, d, a)
}

func (s *Service) lease(ctx context.Context, delivery id.ID, number int) (*held, error) {
	now := s.Now()
	rows, _ := s.Pool.Query(ctx, leaseDelivery, delivery, number, s.NewID(), now.Add(lease), now) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[held])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return d, fault.Wrap(err, "lease a delivery")
}

// try makes the request. An error is our own trouble.
func (s *Service) try(ctx context.Context, d *held, number int) (attempt, error) {
	if len(d.Sealed) == 0 {
		return attempt{}, fmt.Errorf("webhook: endpoint %s has no signing secret", id.Endpoint.External(d.EndpointID))
	}
	keys := make([]sender.Key, len(d.Sealed))
	for i, sealed := range d.Sealed {
		secret, err := s.Sealer.Open(ctx, d.EndpointID, sealed)
		if err != nil {
			return attempt{}, fault.Wrap(err, "open a secret of endpoint %s", id.Endpoint.External(d.EndpointID))
		}
		keys[i] = sender.Key{Scheme: sender.SchemeV1, Secret: secret}
	}
	at := s.Now()
	event := id.Event.External(d.EventID)
	header := http.Header{"Content-Type": {"application/json"}}
	header.Set(sender.HeaderID, event)
	header.Set(sender.HeaderTimestamp, sender.Timestamp(at))
	header.Set(sender.HeaderSignature, sender.Sign(event, at, d.Payload, keys))
	r, err := s.Sender.Send(ctx, d.URL, header, d.Payload)
	return attempt{Result: r, Number: number, At: at, Took: max(0, s.Now().Sub(at))}, err
}

// conclude writes the attempt down with the delivery's next state, and makes the task
// of the next attempt.
func (s *Service) conclude(ctx context.Context, d *held, a attempt) error {
	now := s.Now()
	status, next := Delivered, (*time.Time)(nil)
	switch {
	case a.Outcome == sender.OutcomeGone:
		status = Abandoned
	case a.Outcome != sender.OutcomeDelivered:
		status, next = s.Schedule.next(d.ID, a.Number, now, a.RetryAfter)
	}
	kept, err := s.record(ctx, d, a, status, next, now)
	if err != nil {
		return err
	}
	if !kept {
		s.Log.WarnContext(ctx, "webhook attempt not written down: the lease was lost", d.attrs("outcome", a.Outcome)...)
		return nil
	}
	d.Status, d.Attempts, d.NextAttemptAt = status, a.Number, next
	s.tell(ctx, d, a, now)
	if status != Pending {
		return nil
	}
	// If this fails the task is run again, finds the attempt made, and comes back here
	// by way of followUp; if we die first, the sweep does the same.
	return s.enqueue(ctx, &d.Delivery)
}

func (s *Service) record(ctx context.Context, d *held, a attempt, status Status, next *time.Time, now time.Time) (kept bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	var code *int
	if a.Code != 0 {
		code = &a.Code
	}
	disable := ""
	if a.Outcome == sender.OutcomeGone {
		disable = "the endpoint answered 410 Gone"
	}
	tag, err := s.Pool.Exec(ctx, recordAttempt, d.ID, d.Token, status, a.Number, a.At, next, code, a.Body, now,
		s.NewID(), a.Took.Milliseconds(), a.Outcome, a.Error, disable)
	return tag.RowsAffected() == 1, fault.Wrap(err, "write a webhook attempt down")
}

// tell logs and counts an attempt.
func (s *Service) tell(ctx context.Context, d *held, a attempt, now time.Time) {
	merchant := id.Merchant.External(d.MerchantID)
	if a.Outcome == sender.OutcomeDelivered {
		s.Metrics.WebhookDelivered(ctx, merchant, d.EventType, max(0, now.Sub(d.EventAt)))
	} else {
		s.Metrics.WebhookFailed(ctx, merchant, d.EventType, string(a.Outcome))
	}
	attrs := d.attrs("attempt", a.Number, "outcome", a.Outcome, "code", a.Code, "duration_ms", a.Took.Milliseconds())
	level, message := slog.LevelInfo, "webhook attempt"
	switch d.Status {
	case Exhausted:
		level, message = slog.LevelWarn, "webhook delivery given up: the last attempt failed"
	case Abandoned:
		level, message = slog.LevelWarn, "webhook endpoint disabled: it answered 410 Gone"
	case Pending:
		attrs = append(attrs, "next_attempt_at", d.NextAttemptAt)
	}
	s.Log.Log(ctx, level, message, attrs...)
}

// followUp deals with a task that stands for no attempt: one that was made, is being
// made, or is not wanted any more. If the attempt was the last one made, the task of
// the next one may be what is missing, and making it twice does no harm.
func (s *Service) followUp(ctx context.Context, delivery id.ID, number int) error {
	rows, _ := s.Pool.Query(ctx, selectDelivery, delivery) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Delivery])
	if errors.Is(err, pgx.ErrNoRows) {
		s.Log.ErrorContext(ctx, "a task names a delivery that does not exist", "delivery", id.Delivery.External(delivery))
		return nil
	}
	if err != nil {
		return fault.Wrap(err, "read a delivery")
	}
	if d.Status == Pending && d.Attempts == number {
		return s.enqueue(ctx, d)
	}
	return nil
}

// letGo gives a leased delivery back without an attempt, by one of the statements
// that do.
func (s *Service) letGo(ctx context.Context, d *held, sql string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	_, err := s.Pool.Exec(ctx, sql, d.ID, d.Token, s.Now())
	return fault.Wrap(err, "let go of a delivery")
}

func (d *held) attrs(more ...any) []any {
	return append([]any{
		"delivery", id.Delivery.External(d.ID), "event", id.Event.External(d.EventID),
		"endpoint", id.Endpoint.External(d.EndpointID), "event_type", d.EventType,
	}, more...)
}
