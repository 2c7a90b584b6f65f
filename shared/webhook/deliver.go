package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// recordTimeout bounds the statement that writes an attempt down. It is apart from
// the caller's deadline: an attempt that is not written down is made again.
const recordTimeout = 5 * time.Second

// OutcomeCircuitOpen is an attempt that was lost without a request: the endpoint has
// failed so often in a row that it is asked now and then only.
const OutcomeCircuitOpen sender.Outcome = "circuit_open"

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
	a := attempt{Number: number, At: s.Now()}
	switch d.Verdict {
	case crowded, early:
		return s.postpone(ctx, d, number)
	case disabled:
		s.Log.InfoContext(ctx, "webhook delivery abandoned: the endpoint is disabled", d.attrs()...)
		return s.letGo(ctx, d, abandonDelivery)
	case shut:
		a.Result = sender.Result{Outcome: OutcomeCircuitOpen, Error: "the endpoint's circuit is open: nothing was sent"}
	default:
		if err := s.try(ctx, d, &a); err != nil {
			return errors.Join(err, s.letGo(ctx, d, releaseDelivery)) // the next run need not wait for the lease to end
		}
	}
	return s.conclude(ctx, d, a)
}

// try makes the request. An error is our own trouble.
func (s *Service) try(ctx context.Context, d *held, a *attempt) (err error) {
	keys, err := s.keys(ctx, d)
	if err != nil {
		return err
	}
	own, err := s.headers(ctx, d)
	if err != nil {
		return err
	}
	body, err := event.Render(d.Payload, d.APIVersion, d.Form)
	if err != nil {
		return err
	}
	a.At = s.Now()
	header, err := sender.Header(id.Event.External(d.EventID), a.At, body, keys, own)
	if err != nil {
		return fault.Wrap(err, "sign for endpoint %s", id.Endpoint.External(d.EndpointID))
	}
	a.Result, err = s.Sender.Send(ctx, d.URL, header, body)
	a.Took = max(0, s.Now().Sub(a.At))
	return err
}

// keys opens the endpoint's secrets, the newest first.
func (s *Service) keys(ctx context.Context, d *held) ([]sender.Key, error) {
	name := id.Endpoint.External(d.EndpointID)
	if len(d.Sealed) == 0 {
		return nil, fmt.Errorf("webhook: endpoint %s has no signing secret", name)
	}
	keys := make([]sender.Key, len(d.Sealed))
	for i, sealed := range d.Sealed {
		secret, err := s.Sealer.Open(ctx, d.EndpointID, sealed)
		if err != nil {
			return nil, fault.Wrap(err, "open a secret of endpoint %s", name)
		}
		keys[i] = sender.Key{Scheme: d.Signature, Secret: secret}
	}
	return keys, nil
}

// headers opens the merchant's own headers.
func (s *Service) headers(ctx context.Context, d *held) (own map[string]string, err error) {
	if d.Headers == nil {
		return nil, nil
	}
	name := id.Endpoint.External(d.EndpointID)
	text, err := s.Sealer.Open(ctx, d.EndpointID, d.Headers)
	if err != nil {
		return nil, fault.Wrap(err, "open the headers of endpoint %s", name)
	}
	if err := json.Unmarshal(text, &own); err != nil {
		return nil, fmt.Errorf("webhook: the headers of endpoint %s are not readable", name)
	}
	return own, nil
}

// The attempt and the next state, and what the attempt says of the endpoint, are one
// statement, which does nothing where the lease is lost. A success of an endpoint that
// was down begins the replay of what it missed.
var recordAttempt = `
	WITH delivery AS (
		UPDATE webhook_deliveries
		SET status = $3, attempt_count = $4, tried_at = coalesce(tried_at, $5), last_attempt_at = $5, next_retry_at = $6,
		    response_code = $7, response_body = nullif($8, ''), lease_token = NULL, lease_until = NULL, updated_at = $9,
		    delivered_at = coalesce(delivered_at, CASE WHEN $3 = 'DELIVERED' THEN $5::timestamptz END)
		WHERE id = $1 AND lease_token = $2
		RETURNING id, webhook_id, replay_id
	), log AS (
		INSERT INTO webhook_delivery_logs (id, delivery_id, webhook_id, attempt, requested_at, duration_ms, outcome,
			response_code, response_body, error, replay_id)
		SELECT $10, id, webhook_id, $4, $5, $11, $12, $7, nullif($8, ''), nullif($13, ''), replay_id FROM delivery
	), was AS MATERIALIZED (
		SELECT w.id, w.failures, w.failing_since FROM delivery d JOIN webhook_endpoints w ON w.id = d.webhook_id
		WHERE $14 = 'bad' OR $14 = 'good' AND w.failing_since IS NOT NULL
		FOR NO KEY UPDATE OF w
	), endpoint AS (
		` + judgeEndpoint + `
	), recovered AS (
		` + insertRecovery + `
		RETURNING id
	)
	SELECT n.failures, n.failing_since, r.id AS replay_id
	FROM delivery d LEFT JOIN endpoint n ON true LEFT JOIN recovered r ON true`

// recorded is what writing an attempt down brought to light.
type recorded struct {
	Failures     *int       `db:"failures"` // of the endpoint, in a row; nil if the attempt said nothing new of it
	FailingSince *time.Time `db:"failing_since"`
	ReplayID     *id.ID     `db:"replay_id"` // the replay that it began

	next []Delivery `db:"-"` // whose turn came
}

const releaseDelivery = `
	UPDATE webhook_deliveries SET lease_token = NULL, lease_until = NULL, updated_at = $3
	WHERE id = $1 AND lease_token = $2`

const abandonDelivery = `
	UPDATE webhook_deliveries
	SET status = 'ABANDONED', next_retry_at = NULL, lease_token = NULL, lease_until = NULL, updated_at = $3
	WHERE id = $1 AND lease_token = $2`

// conclude writes the attempt down with the delivery's next state, and makes the tasks of
// what is to come.
func (s *Service) conclude(ctx context.Context, d *held, a attempt) error {
	now := s.Now()
	status, next := Delivered, (*time.Time)(nil)
	switch {
	case a.Outcome == sender.OutcomeGone:
		status = Abandoned
	case a.Outcome != sender.OutcomeDelivered:
		status, next = s.Schedule.next(d.ID, a.Number-d.SeriesStart, now, a.RetryAfter)
	}
	r, err := s.record(ctx, d, a, status, next, now)
	if err != nil {
		return err
	}
	if r == nil {
		s.Log.WarnContext(ctx, "webhook attempt not written down: the lease was lost", d.attrs("outcome", a.Outcome)...)
		return nil
	}
	d.Status, d.Attempts, d.NextAttemptAt = status, a.Number, next
	s.tell(ctx, d, a, now)
	// If any of this fails the task is run again, finds the attempt made, and comes back
	// by way of followUp; if we die first, the sweep does the same.
	failed := s.judge(ctx, d, a, *r, now)
	if status == Pending {
		failed = errors.Join(failed, s.enqueue(ctx, &d.Delivery))
	}
	if r.ReplayID != nil {
		failed = errors.Join(failed, s.enqueueTurn(ctx, *r.ReplayID, 0, now))
	}
	return errors.Join(failed, s.enqueueAll(ctx, r.next))
}

// record returns nil if the lease was lost.
func (s *Service) record(ctx context.Context, d *held, a attempt, status Status, next *time.Time, now time.Time) (*recorded, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	var code *int
	if a.Code != 0 {
		code = &a.Code
	}
	write := func(db postgres.DB) (*recorded, error) {
		rows, _ := db.Query(ctx, recordAttempt, d.ID, d.Token, status, a.Number, a.At, next, code, a.Body, now,
			s.NewID(), a.Took.Milliseconds(), a.Outcome, a.Error, a.health(), s.NewID(), len(s.Schedule)) // CollectRows returns the error
		found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[recorded])
		if err != nil || len(found) == 0 {
			return nil, fault.Wrap(err, "write a webhook attempt down")
		}
		return found[0], nil
	}
	if status == Pending || !d.Ordered && d.ReplayID == nil {
		return write(s.Pool)
	}
	var r *recorded
	return r, pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) (err error) {
		if _, err = tx.Exec(ctx, lockHead, d.EndpointID, d.SubjectID); err != nil {
			return err
		}
		if r, err = write(tx); r == nil || err != nil {
			return err
		}
		var b pgx.Batch
		queueAdvance(&b, d.EndpointID, d.SubjectID, now, &r.next)
		return fault.Wrap(postgres.Pipeline(ctx, tx, &b), "let the next of a line go")
	})
}

// tell logs and counts an attempt.
func (s *Service) tell(ctx context.Context, d *held, a attempt, now time.Time) {
	merchant := id.Merchant.External(d.MerchantID)
	if a.Number == 1 {
		s.Metrics.WebhookFirstAttempt(ctx, merchant, max(0, a.At.Sub(d.EventAt)))
	}
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
