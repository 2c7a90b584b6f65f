package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// holdAgainst compares the log with all the rows of a seal.
func (c *merchantCheck) holdAgainst(ctx context.Context, seal *Seal) error {
	for i := range seal.Rows {
		sealed := seal.Rows[i]
		if err := c.inserted(ctx, &sealed); err != nil {
			return err
		}
		r, err := c.peek(ctx)
		if err != nil {
			return err
		}
		c.totals.Rows++
		if r == nil || r.place().compare(sealed) != 0 {
			if err := c.gone(ctx, seal, sealed); err != nil {
				return err
			}
			continue
		}
		c.rows = c.rows[1:]
		if r.leaf().SHA256 == sealed.SHA256 {
			continue
		}
		err = c.find(Finding{
			Kind: RowRewritten, Seal: seal.Number, Payment: r.Payment, Row: r.ID,
			Detail: fmt.Sprintf("the log's row of %s is not the one that was sealed; it says now: %s by %s", sealed.At.Format(time.RFC3339Nano), r.Action, r.Actor),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// gone says what became of a sealed row that is not where it was.
func (c *merchantCheck) gone(ctx context.Context, seal *Seal, sealed Leaf) error {
	rows, _ := c.Pool.Query(ctx, selectRow, sealed.Payment, sealed.Row) // CollectExactlyOneRow returns the error
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[row])
	f := Finding{
		Kind: RowDeleted, Seal: seal.Number, Payment: sealed.Payment, Row: sealed.Row,
		Detail: fmt.Sprintf("the log lacks the row of %s that was sealed", sealed.At.Format(time.RFC3339Nano)),
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return fault.Wrap(err, "look for a row of the audit log")
	default:
		f.Kind = RowRewritten
		f.Detail = fmt.Sprintf("the log's row of %s, merchant %s, was sealed as of %s, merchant %s",
			r.At.UTC().Format(time.RFC3339Nano), r.Merchant, sealed.At.Format(time.RFC3339Nano), c.merchant)
		c.moved[r.ID] = true
		c.forgetInserted(r.ID)
	}
	return c.find(f)
}

// forgetInserted drops the finding that a row was inserted, now that it is known where it
// comes from.
func (c *merchantCheck) forgetInserted(row id.ID) {
	kept := c.findings[:0]
	for _, f := range c.findings {
		if f.Kind != RowInserted || f.Row != row {
			kept = append(kept, f)
		}
	}
	c.findings = kept
}

// inserted goes on to the sealed row. What the log has before it was not sealed. nil: to
// the end of the last closed period.
func (c *merchantCheck) inserted(ctx context.Context, sealed *Leaf) error {
	for {
		r, err := c.peek(ctx)
		if err != nil || r == nil {
			return err
		}
		if sealed != nil && r.place().compare(*sealed) >= 0 {
			c.blind = nil
			return nil
		}
		c.rows = c.rows[1:]
		if c.blind != nil && r.At.Before(*c.blind) || c.moved[r.ID] {
			continue
		}
		err = c.find(Finding{
			Kind: RowInserted, Payment: r.Payment, Row: r.ID,
			Detail: fmt.Sprintf("the log's row of %s (%s by %s) lies in a closed period and was not sealed", r.At.UTC().Format(time.RFC3339Nano), r.Action, r.Actor),
		})
		if err != nil {
			return err
		}
	}
}

// holdAgainstHead compares the log with a seal of which only the head is left.
func (c *merchantCheck) holdAgainstHead(ctx context.Context, n int64, seal *kept) error {
	if c.blind != nil && c.blind.Equal(seal.Until) {
		return nil // where its rows begin is not known
	}
	if seal.Since != nil {
		if err := c.inserted(ctx, &Leaf{At: *seal.Since}); err != nil {
			return err
		}
	}
	leaves := make([]Leaf, 0, seal.Count)
	for len(leaves) < seal.Count {
		r, err := c.peek(ctx)
		if err != nil {
			return err
		}
		if r == nil || !r.At.Before(seal.Until) {
			break
		}
		leaves = append(leaves, r.leaf())
		c.rows = c.rows[1:]
	}
	c.totals.Rows += int64(len(leaves))
	if newSeal(c.merchant, n, Hash(seal.Previous), seal.Since, seal.Until, leaves).Head == Hash(seal.Head) {
		return nil
	}
	c.blind = &seal.Until
	return c.find(Finding{
		Kind: RowsChanged, Seal: n,
		Detail: fmt.Sprintf("the log's rows until %s are not the %d that were sealed; which ones only the vault's copy could tell", seal.Until.UTC().Format(time.RFC3339), seal.Count),
	})
}

// peek is the next row of the log before the end of the last closed period, nil at the end.
func (c *merchantCheck) peek(ctx context.Context) (*row, error) {
	const page = 1000
	if len(c.rows) == 0 && !c.allRead {
		rows, err := listRows(ctx, c.Pool, c.merchant, nil, c.closed, c.read, page)
		if err != nil {
			return nil, err
		}
		c.rows, c.allRead = rows, len(rows) < page
		if len(rows) > 0 {
			last := rows[len(rows)-1].place()
			c.read = &last
		}
	}
	if len(c.rows) == 0 {
		return nil, nil
	}
	return &c.rows[0], nil
}
