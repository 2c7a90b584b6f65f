package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/period"
	"github.com/tollgate/tollgate/shared/postgres"
)

// How long an ended period is waited for: the transactions that were open when it was
// marked have to end, which takes them some milliseconds. A longer one (a backup) leaves
// the period to the next run.
const (
	readyTimeout = 20 * time.Second
	readyPoll    = 50 * time.Millisecond

	// sumTimeout bounds the statement that sums the ledger's period up: it reads a whole
	// day's entries.
	sumTimeout = 5 * time.Minute
)

// ClosePeriods ends the period up to an hour ago, and closes it and those that earlier runs
// left open: it seals the audit log, sums the ledger up, and marks the period closed. It
// returns the end of the last period that it closed, nil for none. Where it is cut short,
// the next one goes on.
func (s *Service) ClosePeriods(ctx context.Context) (closed *time.Time, err error) {
	until := s.Now().Add(-period.Horizon)
	last, err := period.Last(ctx, s.Pool)
	if err != nil {
		return nil, err
	}
	if last == nil || last.Until.Before(until) {
		if err := period.Mark(ctx, s.Pool, until, s.Now()); err != nil {
			return nil, err
		}
	}
	// Only what is marked has its beginning for good: another run may have ended a period
	// since the last one was read.
	open, err := period.Open(ctx, s.Pool)
	if err != nil {
		return nil, err
	}
	for _, p := range open {
		if err := s.closePeriod(ctx, p); err != nil {
			return closed, fmt.Errorf("close the period until %s: %w", p.Until.UTC().Format(time.RFC3339), err)
		}
		closed = &p.Until
	}
	return closed, nil
}

func (s *Service) closePeriod(ctx context.Context, p period.Period) error {
	if err := period.Mark(ctx, s.Pool, p.Until, s.Now()); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, p.Until); err != nil {
		return err
	}
	if err := s.seal(ctx, p.Since, p.Until); err != nil {
		return err
	}
	err := postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL statement_timeout = %d`, sumTimeout.Milliseconds())); err != nil {
			return err
		}
		if err := ledger.Close(ctx, tx, p.Until); err != nil {
			return err
		}
		return period.Close(ctx, tx, p.Until, s.Now())
	})
	if err == nil {
		s.Log.InfoContext(ctx, "period closed", "since", p.Since, "until", p.Until)
	}
	return err
}

// awaitReady waits for transactions of other processes, so it goes by real time.
func (s *Service) awaitReady(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		ready, err := period.Ready(ctx, s.Pool, until)
		if err != nil || ready {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("a transaction that began before its end is still open; the next run goes on")
		}
	}
}

// seal seals what the log has of a period that is complete, merchant by merchant. What an
// earlier try sealed is left as it is.
func (s *Service) seal(ctx context.Context, since *time.Time, until time.Time) error {
	for after := (id.ID{}); ; {
		merchants, err := listMerchants(ctx, s.Pool, selectLogMerchants, after, merchantsPerPage)
		if err != nil || len(merchants) == 0 {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(workers)
		for _, m := range merchants {
			g.Go(func() error { return s.sealMerchant(ctx, m, since, until) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		after = merchants[len(merchants)-1]
	}
}

// sealMerchant seals the merchant's rows of the period. The vault comes first: a crash
// leaves files that the next try makes again, to the byte, and never a seal in the database
// that the vault lacks.
func (s *Service) sealMerchant(ctx context.Context, merchant id.ID, since *time.Time, until time.Time) error {
	last, err := lastSeal(ctx, s.Pool, merchant)
	if err != nil || !last.Until.Before(until) { // another run may be ahead of this one
		return err
	}
	b := &pgx.Batch{}
	number, head := last.Number, Hash(last.Head)
	for after := (*Leaf)(nil); ; {
		rows, err := listRows(ctx, s.Pool, merchant, since, until, after, s.batch())
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		leaves := make([]Leaf, len(rows))
		for i := range rows {
			leaves[i] = rows[i].leaf()
		}
		sealed, err := s.putSeal(ctx, newSeal(merchant, number+1, head, since, until, leaves))
		if err != nil {
			return err
		}
		queueSeal(b, sealed, s.Now())
		number, head, after = sealed.Number, sealed.Head, &leaves[len(leaves)-1]
	}
	if b.Len() == 0 {
		return nil
	}
	return postgres.Pipeline(ctx, s.Pool, b)
}

// putSeal keeps a seal in the vault. Where its place is taken by another than itself,
// somebody took seals out of the database, or put one into the vault: that is raised, and
// the chain goes on behind what the vault has.
func (s *Service) putSeal(ctx context.Context, seal *Seal) (*Seal, error) {
	for {
		content, err := seal.encode()
		if err != nil {
			return nil, err
		}
		name := sealName(seal.Merchant, seal.Number)
		err = s.Vault.Create(ctx, name, content)
		if err == nil {
			return seal, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("keep the seal %s: %w", name, err)
		}
		text, err := s.Vault.Read(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read the seal %s: %w", name, err)
		}
		there, err := decodeSeal(text, seal.Merchant, seal.Number)
		if err == nil && there.Head == seal.Head {
			return seal, nil // of an earlier try
		}
		f := Finding{Kind: SealForked, Merchant: seal.Merchant, Seal: seal.Number, Detail: "the vault had another seal of the number when this one was to be kept"}
		head := seal.Previous
		if err == nil {
			head = there.Head
		}
		if err := s.raise(ctx, f); err != nil {
			return nil, err
		}
		seal = newSeal(seal.Merchant, seal.Number+1, head, seal.Since, seal.Until, seal.Rows)
	}
}
