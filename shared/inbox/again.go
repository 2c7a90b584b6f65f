package inbox

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

const (
	publishers = 16 // requests to Pub/Sub at a time
	noteTime   = 3 * time.Second
)

// DueAgain publishes events again that are neither applied nor ignored and whose time
// has come, at most limit of them, and returns how many. It is the sweep's part: it
// carries on what a crash, a lost message or Pub/Sub's absence left, and what was
// parked. What can't be published is due again a minute later.
func (b *Inbox) DueAgain(ctx context.Context, limit int) (int, error) {
	now := b.Now()
	rows, err := b.Pool.Query(ctx, claimDue, now, now.Add(grace), limit)
	if err != nil {
		return 0, fault.Wrap(err, "claim due events")
	}
	due, err := pgx.CollectRows(rows, pgx.RowToStructByName[keptRow])
	if err != nil {
		return 0, fault.Wrap(err, "claim due events")
	}
	published, failed := b.publishAll(ctx, due)
	// Apart from the caller's deadline: what was published at the last moment would
	// otherwise go out again a minute later.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	_, err = b.Pool.Exec(ctx, republished, published, now)
	return len(published), errors.Join(failed, fault.Wrap(err, "note what was published again"))
}

// publishAll publishes each key's events in the order in which they came.
func (b *Inbox) publishAll(ctx context.Context, due []keptRow) (published []id.ID, failed error) {
	slices.SortFunc(due, func(x, y keptRow) int { return slices.Compare(x.ID[:], y.ID[:]) })
	byKey := make(map[string][]keptRow)
	for _, e := range due {
		byKey[e.key()] = append(byKey[e.key()], e)
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(publishers)
	for _, events := range byKey {
		g.Go(func() error {
			err := b.publish(ctx, events...)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err // one stands for all: they have one cause
				return nil
			}
			for _, e := range events {
				published = append(published, e.ID)
			}
			return nil
		})
	}
	_ = g.Wait() // each key keeps its own error
	return published, failed
}
