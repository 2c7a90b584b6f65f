package providersim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// What moves an account's money, in words that all providers share.
const (
	moveCharge       = "charge"
	moveRefund       = "refund"
	moveRefundFailed = "refund_failed"
	moveDispute      = "dispute"
	moveLateFailure  = "late_failure" // of a charge
	moveDisputeWon   = "dispute_won"
	moveFee          = "fee"
	movePayout       = "payout"
)

// line is one line of the account's report: a movement of its money as the report tells
// it, which is how it was unless something was planted.
type line struct {
	head
	kind        string
	source      string            // the object that moved it
	metadata    map[string]string // of the payment, and of the object
	currency    string            // ISO 4217, lower case
	amount      int64             // the provider's units, signed
	fee         int64             // of the amount, in the book's units
	available   time.Time
	payout      *payout
	hidden      bool
	planted     bool
	netCurrency string // what really moved the balance: in the book's units
	net         int64
}

// payout is money that went to the account holder's bank.
type payout struct {
	head
	currency string
	amount   int64 // the provider's units
	fees     int64 // in the book's units
	members  []*line
}

// book keeps an account's money: its movements, the payouts that are made of them every
// day at midnight UTC, and what was planted in its report. The lock of the account
// guards it.
type book struct {
	scale  int64  // units of fees in a unit of amounts
	prefix string // of payouts' identifiers

	// name makes a new line known to the account. nil: there is nothing to know it by.
	name func(*line)

	lines   []*line // in the order of their creation
	waiting []*line // not paid out yet
	payouts []*payout
	next    time.Time // when the next payouts are made

	plants    []*planting
	planted   []Planted
	orphaning bool // what is added now is planted itself
}

// add takes a movement into the book.
func (b *book) add(l *line) *line {
	l.netCurrency, l.net = l.currency, l.amount*b.scale-l.fee
	if l.metadata == nil {
		l.metadata = map[string]string{}
	}
	if b.next.IsZero() {
		b.next = midnightAfter(l.created)
	}
	b.keep(l)
	if l.planted = b.orphaning; l.planted {
		return l
	}
	for _, p := range b.plants {
		if p.fits(l) && b.strike(p, l) {
			break
		}
	}
	return l
}

func (b *book) keep(l *line) {
	if b.name != nil {
		b.name(l)
	}
	b.lines = append(b.lines, l)
	if l.kind != movePayout {
		b.waiting = append(b.waiting, l)
	}
}

func midnightAfter(t time.Time) time.Time {
	const day = 24 * time.Hour
	return t.UTC().Truncate(day).Add(day)
}

// settle makes the payouts that are due until now. It is called before anything is
// looked at, so that they need nobody who steps the clock for them.
func (b *book) settle(now time.Time) {
	for !b.next.IsZero() && !b.next.After(now) {
		if len(b.waiting) == 0 {
			b.next = midnightAfter(now)
			return
		}
		for _, currency := range b.currencies() {
			name := b.prefix + strings.ToUpper(currency) + b.next.Format("20060102")
			b.pay(name, currency, b.next)
		}
		b.next = b.next.Add(24 * time.Hour)
	}
}

func (b *book) currencies() []string {
	all := map[string]bool{}
	for _, l := range b.waiting {
		all[l.netCurrency] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// pay pays out what is available in a currency, if there is anything: nil if not. What
// does not fill a minor unit is rounded half up.
func (b *book) pay(name, currency string, at time.Time) *payout {
	p := &payout{head: head{id: name, created: at}, currency: currency}
	var sum int64
	var left []*line
	for _, l := range b.waiting {
		if l.netCurrency != currency || l.available.After(at) {
			left = append(left, l)
			continue
		}
		p.members = append(p.members, l)
		sum += l.net
		p.fees += l.fee
	}
	if p.amount = floorDiv(2*sum+b.scale, 2*b.scale); p.amount <= 0 {
		return nil
	}
	b.waiting = left
	for _, l := range p.members {
		l.payout = p
	}
	b.payouts = append(b.payouts, p)
	b.add(&line{
		head: head{created: at}, kind: movePayout, source: p.id, currency: currency, amount: -p.amount, available: at, payout: p,
	})
	return p
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// report lists the lines that the report shows.
func (b *book) report() []*line {
	var shown []*line
	for _, l := range b.lines {
		if !l.hidden {
			shown = append(shown, l)
		}
	}
	return shown
}
