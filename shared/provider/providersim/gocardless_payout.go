package providersim

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// GoCardlessFee is GoCardless's standard price for Instant Bank Pay: 1 % and 20 pence or
// cents, 4 pounds or euros at most, in tenths of a minor unit, rounded half up.
// https://gocardless.com/pricing/
func GoCardlessFee(amountMinor int64, _ string) (tenths int64) {
	const fixed, most = 200, 4000
	return min((amountMinor+5)/10+fixed, most)
}

// gcPayout is a payout as the API returns it.
type gcPayout struct{ *payout }

// nameLine makes a payout known. Nothing else in the book has a name.
func (s *GoCardless) nameLine(l *line) {
	if l.kind == movePayout {
		p := &gcPayout{l.payout}
		s.ordinal++
		p.ordinal = s.ordinal
		s.objects[p.id] = p
		s.payouts = append(s.payouts, p)
	}
}

// move moves the account's money. The caller holds the lock.
func (s *GoCardless) move(kind string, br *gcRequest, source string, amount, tenths int64, pending time.Duration) *line {
	now := s.now()
	return s.book.add(&line{
		head: head{created: now}, kind: kind, source: source, metadata: merged(br.metadata, nil), currency: lowerCurrency(br.currency),
		amount: amount, fee: tenths, available: now.Add(pending),
	})
}

func (s *GoCardless) charge(p *gcPayment) *line {
	br := p.request
	return s.move(moveCharge, br, p.id, br.amount, s.cfg.Fee(br.amount, br.currency), s.cfg.PayOutDelay)
}

// takeBack takes a payment out of the balance again, and its fee.
func (s *GoCardless) takeBack(kind string, p *gcPayment) *line {
	br := p.request
	return s.move(kind, br, p.id, -br.amount, -s.cfg.Fee(br.amount, br.currency), 0)
}

// giveBack puts it in again.
func (s *GoCardless) giveBack(kind string, p *gcPayment) *line {
	br := p.request
	return s.move(kind, br, p.id, br.amount, s.cfg.Fee(br.amount, br.currency), 0)
}

// Plant makes the account's report wrong in a way. The report states a currency of
// payouts alone, so that it can't be planted.
func (s *GoCardless) Plant(p Plant) error {
	if p.What == PlantCurrency {
		return errors.New("GoCardless's report states no currency of a movement")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.plant(p, s.orphan)
}

// Planted lists what was planted so far.
func (s *GoCardless) Planted() []Planted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Planted{}, s.book.planted...)
}

// orphan is a payment that somebody took with the account by other means. No webhook
// tells of it.
func (s *GoCardless) orphan(plant Plant) (*line, error) {
	code := strings.ToUpper(plant.Currency)
	if code != "GBP" && code != "EUR" {
		return nil, errNotTaken
	}
	br := &gcRequest{
		amount: plant.Amount, currency: code, status: "fulfilled", scheme: gcScheme(code),
		metadata: merged(plant.Metadata, nil), paymentMetadata: merged(plant.Metadata, nil),
	}
	s.keep("BRQ", br)
	s.requests = append(s.requests, br)
	p := &gcPayment{request: br, status: "confirmed", metadata: br.paymentMetadata}
	s.keep("PM", p)
	s.payments, br.payment = append(s.payments, p), p
	s.effect(cause{}, EffectAuthorize, br, p.id, br.amount, nil)
	s.effect(cause{}, EffectCapture, br, p.id, br.amount, nil)
	return s.charge(p), nil
}

func (s *GoCardless) listPayouts(c *gcCall) (any, *gcError) {
	var span [2]time.Time // from, and before
	for i, name := range []string{"created_at[gte]", "created_at[lt]"} {
		text := c.query.Get(name)
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, gcInvalid(name, "is not a time in ISO 8601")
		}
		span[i] = at
	}
	currency, status := c.query.Get("currency"), c.query.Get("status")
	known := []string{"created_at[gte]", "created_at[lt]", "currency", "status"}
	return gcPage(s, c, s.payouts, known, func(p *gcPayout) bool {
		return !p.created.Before(span[0]) && (span[1].IsZero() || p.created.Before(span[1])) &&
			(currency == "" || lowerCurrency(currency) == p.currency) && (status == "" || status == "paid")
	})
}

// listItems lists what a payout consists of. Items have no identifiers, so that the
// cursors are the list's own.
func (s *GoCardless) listItems(c *gcCall) (any, *gcError) {
	for name := range c.query {
		if !slices.Contains([]string{"payout", "limit", "after"}, name) {
			return nil, gcInvalid(name, "is not a parameter of this list")
		}
	}
	p, ok := s.objects[c.query.Get("payout")].(*gcPayout)
	switch {
	case !ok:
		return nil, gcInvalid("payout", "does not exist")
	case s.now().After(p.created.AddDate(0, 6, 0)):
		return nil, misuse(http.StatusGone, "resource_gone", "Items of payouts created more than six months ago are not available")
	}
	limit, begin, problem := itemsPage(c.query, p.id)
	if problem != nil {
		return nil, problem
	}
	items := s.items(p)
	begin = min(begin, len(items))
	end := min(begin+limit, len(items))
	after := any(nil)
	if end < len(items) {
		after = fmt.Sprintf("%s_%d", p.id, end)
	}
	return gcList{data: items[begin:end], meta: object{"cursors": object{"before": nil, "after": after}, "limit": limit}}, nil
}

func itemsPage(q url.Values, payout string) (limit, begin int, problem *gcError) {
	limit = 50
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 500 {
			return 0, 0, gcInvalid("limit", "must be between 1 and 500")
		}
		limit = n
	}
	if cursor := q.Get("after"); cursor != "" {
		text, of := strings.CutPrefix(cursor, payout+"_")
		n, err := strconv.Atoi(text)
		if !of || err != nil || n < 0 {
			return 0, 0, misuse(http.StatusBadRequest, "record_not_found", "Cursor not found: %s", cursor)
		}
		begin = n
	}
	return limit, begin, nil
}

// gcItemTypes: https://developer.gocardless.com/api-reference/#core-endpoints-payout-items,
// which has no type for a chargeback that was cancelled; that one is a guess.
var gcItemTypes = map[string]string{
	moveCharge: "payment_paid_out", moveLateFailure: "payment_failed", moveDispute: "payment_charged_back",
	moveDisputeWon: "payment_chargeback_cancelled", moveRefund: "payment_refunded", moveRefundFailed: "refund_funds_returned",
}

// items are what the report shows of a payout: its members, each with its fee behind it.
func (s *GoCardless) items(p *gcPayout) []any {
	items := []any{}
	for _, l := range p.members {
		if l.hidden {
			continue
		}
		links := object{"payment": l.source}
		if r, ok := s.objects[l.source].(*gcRefund); ok {
			links = object{"payment": r.payment.id, "refund": r.id}
		}
		items = append(items, renderItem(gcItemTypes[l.kind], l.amount*10, links))
		if l.fee != 0 {
			items = append(items, renderItem("gocardless_fee", -l.fee, object{"payment": links["payment"]}))
		}
	}
	return items
}

func renderItem(kind string, tenths int64, links object) object {
	sign := ""
	if tenths < 0 {
		sign, tenths = "-", -tenths
	}
	return object{"type": kind, "amount": fmt.Sprintf("%s%d.%d", sign, tenths/10, tenths%10), "taxes": []any{}, "links": links}
}

func (p *gcPayout) render() any {
	return object{
		"id": p.id, "amount": p.amount, "arrival_date": p.created.UTC().Format(time.DateOnly), "created_at": p.created.UTC().Format(goCardlessTime),
		"currency": strings.ToUpper(p.currency), "deducted_fees": floorDiv(2*p.fees+10, 20), "payout_type": "merchant", "reference": "SIM-" + p.id,
		"status": "paid", "metadata": object{}, "tax_currency": nil, "fx": object{"fx_currency": nil, "fx_amount": nil, "exchange_rate": nil},
		"links": object{"creditor": "CR123", "creditor_bank_account": "BA123"},
	}
}
