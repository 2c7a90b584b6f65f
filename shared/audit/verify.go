package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// merchantCheck verifies one merchant's log up to the end of the last closed period. It
// walks along the seals and the rows at once, both in the order of sealing, and holds one
// file and one page of rows.
type merchantCheck struct {
	*Service
	merchant id.ID
	closed   time.Time
	next     int64       // the seal to begin with, and in the end to go on with: 0 when all is done
	pause    func() bool // whether to stop where a period ends

	rows    []row // read and not looked at yet
	read    *Leaf // the last row read
	allRead bool

	previous *Hash           // the head of the seal before; nil: not known
	since    time.Time       // of the period at hand
	blind    *time.Time      // until then, up to the next seal that can be read, rows can't be told apart
	moved    map[id.ID]bool  // rows reported as rewritten, which turn up elsewhere too
	seals    map[int64]*kept // of the page at hand

	totals   Totals
	findings []Finding
}

var errEnough = errors.New("audit: enough found")

// verifyMerchant finds what does not agree in a merchant's log and seals, from one seal on,
// until all is done (next is 0) or pause says to stop.
func (s *Service) verifyMerchant(ctx context.Context, merchant id.ID, closed time.Time, from int64, pause func() bool) (*merchantCheck, error) {
	c := &merchantCheck{
		Service: s, merchant: merchant, closed: closed, next: from, pause: pause, previous: &Hash{}, moved: map[id.ID]bool{},
	}
	err := c.run(ctx)
	if errors.Is(err, errEnough) {
		c.findings = append(c.findings, Finding{Kind: More, Merchant: merchant, Detail: "the rest of the merchant's log was not looked at"})
		c.next, err = 0, nil
	}
	if c.next == 0 {
		c.totals.Merchants = 1
	}
	c.totals.Findings = int64(len(c.findings))
	return c, err
}

func (c *merchantCheck) run(ctx context.Context) error {
	last, err := lastSeal(ctx, c.Pool, c.merchant)
	if err != nil {
		return err
	}
	if c.next > 1 {
		if err := c.resume(ctx); err != nil {
			return err
		}
	}
	for n := c.next; ; n++ {
		there, err := c.kept(ctx, n)
		if err != nil {
			return err
		}
		file, broken, err := c.file(ctx, n)
		if err != nil {
			return err
		}
		if n > last.Number && file == nil && broken == nil {
			break
		}
		if open, err := c.open(ctx, n, there, file); err != nil {
			return err
		} else if open {
			break
		}
		if since := sinceOf(there, file); n > c.next && since != nil && since.After(c.since) {
			if c.pause() {
				c.next = n
				return c.inserted(ctx, &Leaf{At: *since})
			}
			c.since = *since
		}
		c.totals.Seals++
		if err := c.judgeSeal(n, there, file, broken); err != nil {
			return err
		}
		switch {
		case file != nil:
			err = c.holdAgainst(ctx, file)
		case there != nil:
			err = c.holdAgainstHead(ctx, n, there)
		}
		if err != nil {
			return err
		}
	}
	c.next = 0
	return c.inserted(ctx, nil)
}

// open reports whether the seal is of a period that is being closed right now. One of a
// period that the database does not know is raised, and the period taken to be closed:
// who takes periods away does not thereby keep what was sealed from being looked at.
func (c *merchantCheck) open(ctx context.Context, n int64, there *kept, file *Seal) (bool, error) {
	var until time.Time
	switch {
	case file != nil:
		until = file.Until
	case there != nil:
		until = there.Until
	}
	if !until.After(c.closed) {
		return false, nil
	}
	known, err := periodKnown(ctx, c.Pool, until)
	if err != nil || known { // or closed meanwhile: what was read of its seals before may be a part
		return true, err
	}
	c.closed, c.allRead = until, false
	return false, c.find(Finding{
		Kind: PeriodMissing, Seal: n,
		Detail: fmt.Sprintf("the database does not know the closed period until %s, of which this is the first seal", until.UTC().Format(time.RFC3339)),
	})
}

// resume begins where an earlier check stopped: with the first seal of a period.
func (c *merchantCheck) resume(ctx context.Context) error {
	before, file, err := c.seal(ctx, c.next-1)
	if err != nil {
		return err
	}
	c.previous = headOf(before, file)
	first, file, err := c.seal(ctx, c.next)
	if err != nil {
		return err
	}
	since := sinceOf(first, file)
	if since == nil { // it is gone since: from the beginning, then
		c.next, c.previous = 1, &Hash{}
		return nil
	}
	c.since, c.read = *since, &Leaf{At: *since}
	return nil
}

// seal is both copies of a seal, where they are there and can be read.
func (c *merchantCheck) seal(ctx context.Context, number int64) (*kept, *Seal, error) {
	seals, err := listSeals(ctx, c.Pool, c.merchant, number-1, 1)
	if err != nil {
		return nil, nil, err
	}
	file, _, err := c.file(ctx, number)
	if len(seals) == 0 || seals[0].Number != number {
		return nil, file, err
	}
	return &seals[0], file, err
}

// sinceOf is when the period of a seal begins, the vault's word before the database's.
func sinceOf(there *kept, file *Seal) *time.Time {
	switch {
	case file != nil:
		return file.Since
	case there != nil:
		return there.Since
	}
	return nil
}

func headOf(there *kept, file *Seal) *Hash {
	switch {
	case file != nil:
		return &file.Head
	case there != nil:
		h := Hash(there.Head)
		return &h
	}
	return nil
}

// kept is the database's seal of the number, nil if it has none.
func (c *merchantCheck) kept(ctx context.Context, number int64) (*kept, error) {
	const page = 200
	if c.seals == nil || (number-1)%page == 0 {
		seals, err := listSeals(ctx, c.Pool, c.merchant, number-1, page)
		if err != nil {
			return nil, err
		}
		c.seals = make(map[int64]*kept, len(seals))
		for i := range seals {
			c.seals[seals[i].Number] = &seals[i]
		}
	}
	return c.seals[number], nil
}

// file is the vault's seal of the number, nil if it has none; broken says what is wrong
// with the one it has.
func (c *merchantCheck) file(ctx context.Context, number int64) (seal *Seal, broken, err error) {
	text, err := c.Vault.Read(ctx, sealName(c.merchant, number))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the seal %s: %w", sealName(c.merchant, number), err)
	}
	seal, broken = decodeSeal(text, c.merchant, number)
	return seal, broken, nil
}

func (c *merchantCheck) find(f Finding) error {
	f.Merchant = c.merchant
	c.findings = append(c.findings, f)
	if len(c.findings) >= mostFindings {
		return errEnough
	}
	return nil
}

// judgeSeal holds the seal's two copies against each other and the seal before.
func (c *merchantCheck) judgeSeal(n int64, there *kept, file *Seal, broken error) error {
	var found []Finding
	add := func(k Kind, format string, args ...any) {
		found = append(found, Finding{Kind: k, Seal: n, Detail: fmt.Sprintf(format, args...)})
	}
	switch {
	case broken != nil:
		add(SealBroken, "in the vault, %v", broken)
	case file == nil && there == nil:
		add(SealMissing, "neither the database nor the vault has it, though they have later ones")
	case file == nil:
		add(SealMissing, "the vault does not have it")
	}
	if there == nil && (file != nil || broken != nil) {
		add(SealMissing, "the database does not have it")
	}
	if there != nil && file != nil && !there.equal(file) {
		add(SealRewritten, "the database has the head %x of %d rows, the vault %x of %d", there.Head, there.Count, file.Head, len(file.Rows))
	}
	var previous *Hash
	switch {
	case file != nil:
		previous = &file.Previous
	case there != nil:
		p := Hash(there.Previous)
		previous = &p
	}
	if previous != nil && c.previous != nil && *previous != *c.previous {
		add(SealForked, "it follows a seal with the head %x, and the one before it has %x", *previous, *c.previous)
	}
	c.previous = headOf(there, file)
	for _, f := range found {
		if err := c.find(f); err != nil {
			return err
		}
	}
	return nil
}

func (k *kept) equal(s *Seal) bool {
	sameSince := (k.Since == nil) == (s.Since == nil) && (k.Since == nil || k.Since.Equal(*s.Since))
	return sameSince && k.Until.Equal(s.Until) && k.Count == len(s.Rows) &&
		bytes.Equal(k.Previous, s.Previous[:]) && bytes.Equal(k.Head, s.Head[:])
}
