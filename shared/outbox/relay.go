package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/id"
)

const (
	// lease is how long a relay may hold a key. A round must publish and write that
	// down well within it; only a dead or frozen relay overstays.
	lease        = 60 * time.Second
	roundTimeout = 20 * time.Second

	// noteTimeout bounds the statement that writes down what became of a publish. It
	// is apart from the caller's deadline: a publish that succeeded at the last moment
	// would otherwise be forgotten, and repeated.
	noteTimeout = 3 * time.Second

	keysPerRound = 256
	rowsPerKey   = 50 // in one request; payloads are some kilobytes, a request may hold 10 MB
	publishers   = 32 // requests to Pub/Sub at a time
	maxErrorText = 500
)

// Relay publishes outbox rows to a topic. Any number of relays may work at the same
// time, in any number of processes.
type Relay struct {
	db    *pgxpool.Pool
	topic *Topic
	now   func() time.Time
	newID func() id.ID
}

// NewRelay makes a relay; now and newID are the injected clock and source of ids.
func NewRelay(db *pgxpool.Pool, topic *Topic, now func() time.Time, newID func() id.ID) *Relay {
	return &Relay{db: db, topic: topic, now: now, newID: newID}
}

// Publish publishes what waits for one payment, in order, including rows that another
// request commits while it runs. It does nothing where another relay holds the key:
// that one looks again before it lets go. ctx bounds it, but for the moment that it takes to
// write down the result. After an error the rows are the sweep's; nothing is lost,
// and the caller should answer as if it had succeeded.
func (r *Relay) Publish(ctx context.Context, payment id.ID) error {
	for {
		done, err := r.round(ctx, payment, 1)
		if err != nil {
			return err
		}
		if done.failed != nil {
			return done.failed
		}
		if done.keys == 0 {
			return nil
		}
	}
}

// Drain publishes what is due until nothing is left, limit rows are published, or
// ctx ends, and returns how many rows it published. A key that fails waits for its
// backoff while the others go on; when no key of a round gets through, Pub/Sub is
// taken to be away, and Drain returns the error and leaves the rest for the next
// sweep. That its time is up is an error only if nothing was published in it.
func (r *Relay) Drain(ctx context.Context, limit int) (published int, err error) {
	for published < limit {
		done, err := r.round(ctx, id.ID{}, min(keysPerRound, limit-published))
		published += done.published
		if err == nil && done.published > 0 {
			continue
		}
		if err == nil {
			err = done.failed
		}
		if published > 0 && ctx.Err() != nil {
			err = nil
		}
		return published, err
	}
	return published, nil
}

// result tells what a round did.
type result struct {
	keys      int   // how many were claimed
	published int   // rows
	failed    error // why a key's rows were not published, if any were not
}

// round claims keys, publishes their rows, and writes down what became of them.
func (r *Relay) round(ctx context.Context, key id.ID, limit int) (result, error) {
	if err := ctx.Err(); err != nil {
		return result{}, err // a claim that can't be used would only keep others out
	}
	token := r.newID()
	trains, err := claim(ctx, r.db, key, limit, token, r.now())
	if err != nil || len(trains) == 0 {
		return result{}, err
	}
	failures := r.publish(ctx, trains)

	var sent, unsent []id.ID
	var reasons []string
	var first error
	for i, t := range trains {
		for _, e := range t {
			if failures[i] == nil {
				sent = append(sent, e.ID)
				continue
			}
			unsent, reasons = append(unsent, e.ID), append(reasons, reason(failures[i]))
		}
		if first == nil && failures[i] != nil {
			first = fmt.Errorf("outbox: payment %s: %w", t.key(), failures[i])
		}
	}
	if err := r.note(ctx, token, sent, unsent, reasons); err != nil {
		return result{}, err
	}
	return result{keys: len(trains), published: len(sent), failed: first}, nil
}

// publish sends each key's rows, several keys at a time, and returns each key's error.
func (r *Relay) publish(ctx context.Context, trains []train) []error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	failures := make([]error, len(trains))
	var g errgroup.Group
	g.SetLimit(publishers)
	for i, t := range trains {
		g.Go(func() error {
			messages := make([]Message, len(t))
			for j, e := range t {
				messages[j] = e.message()
			}
			failures[i] = r.topic.Publish(ctx, t.key().String(), messages...)
			return nil
		})
	}
	_ = g.Wait() // each key keeps its own error
	return failures
}

// note marks what was published and gives back what was not. Both hold only where
// the token still matches, so a relay that overstayed its lease changes nothing.
func (r *Relay) note(ctx context.Context, token id.ID, sent, unsent []id.ID, reasons []string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	var errs []error
	if len(sent) > 0 {
		_, err := r.db.Exec(ctx, markPublished, sent, token, r.now())
		errs = append(errs, err)
	}
	if len(unsent) > 0 {
		_, err := r.db.Exec(ctx, releaseFailed, unsent, reasons, token, r.now())
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("outbox: write down what was published: %w", err)
	}
	return nil
}

// reason is an error's text as the last_error column keeps it.
func reason(err error) string {
	s := err.Error()
	if len(s) > maxErrorText {
		s = s[:maxErrorText]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
}
