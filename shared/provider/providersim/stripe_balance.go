package providersim

import (
	"net/http"
	"time"
)

// availableAfter is how long money is pending before it can be paid out.
const availableAfter = 2 * 24 * time.Hour

// transaction is a balance transaction: one movement of the account's money.
type transaction struct {
	*line
	of          stripeMove
	description string
	now         func() time.Time
}

// stripeMove is what Stripe calls a movement.
type stripeMove struct{ kind, category string }

// stripeMoves: https://docs.stripe.com/reports/reporting-categories
var stripeMoves = map[string]stripeMove{
	moveCharge: {"charge", "charge"}, moveRefund: {"refund", "refund"}, moveRefundFailed: {"refund_failure", "refund_failure"},
	moveDispute: {"adjustment", "dispute"}, moveDisputeWon: {"adjustment", "dispute_reversal"}, movePayout: {"payout", "payout"},
}

var stripeDescriptions = map[string]string{
	moveCharge: "Payment", moveRefund: "REFUND FOR PAYMENT", moveRefundFailed: "REFUND FAILURE",
	moveDispute: "Chargeback withdrawal", moveDisputeWon: "Chargeback reversal", movePayout: "STRIPE PAYOUT",
}

// StripeFee is a standard price: 2.9 % and 30 minor units, or 3.6 % and nothing
// in currencies without decimals. Stripe rounds each fee half up
// (https://support.stripe.com/questions/what-rules-do-you-use-for-rounding-stripe-fees).
func StripeFee(amountMinor int64, currency string) int64 {
	if stripeZeroDecimal[currency] {
		return halfUp(amountMinor * 360)
	}
	return halfUp(amountMinor*290) + 30
}

// halfUp divides an amount of hundredths of a percent.
func halfUp(n int64) int64 { return (n + 5_000) / 10_000 }

// newTransaction moves the account's money. The source is the object that did; own is its
// metadata, over that of the payment.
func (s *Stripe) newTransaction(kind, source string, in *intent, amount, fee int64, own map[string]string) *transaction {
	now := s.now()
	l := s.book.add(&line{
		head: head{created: now}, kind: kind, source: source, metadata: merged(in.metadata, own), currency: in.currency,
		amount: amount, fee: fee, available: now.Add(availableAfter),
	})
	return s.objects[l.id].(*transaction)
}

// nameTransaction makes a line of the book a balance transaction.
func (s *Stripe) nameTransaction(l *line) {
	h := s.newHead("txn_3")
	l.id, l.ordinal = h.id, h.ordinal
	t := &transaction{line: l, of: stripeMoves[l.kind], description: stripeDescriptions[l.kind], now: s.now}
	s.objects[t.id] = t
	s.transactions = append(s.transactions, t)
	if l.kind == movePayout {
		p := l.payout
		p.ordinal = s.nextOrdinal()
		s.objects[p.id] = &stripePayout{payout: p, transaction: t}
	}
}

// stripePayout is a payout as the API returns it.
type stripePayout struct {
	*payout
	transaction *transaction
}

// PayOut pays out everything in a currency that is available, as Stripe does by
// itself every midnight UTC, and returns the payout's identifier and its amount. The
// transactions in it can then be listed by payout. Without anything to pay out
// it returns "" and 0.
func (s *Stripe) PayOut(currency string) (id string, amountMinor int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.settle(s.now())
	p := s.book.pay(s.ids.next("po_1"), currency, s.now())
	if p == nil {
		return "", 0
	}
	return p.id, p.amount
}

func (s *Stripe) payoutAdmin(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Currency string `json:"currency"`
	}
	var out struct {
		Payout      string `json:"payout"`
		AmountMinor int64  `json:"amount_minor"`
	}
	if problem := decodeStrict(r, &in); problem != nil {
		adminError(w, http.StatusBadRequest, problem)
		return
	}
	out.Payout, out.AmountMinor = s.PayOut(in.Currency)
	writeJSON(w, http.StatusOK, out)
}

// Plant makes the account's report wrong in a way.
func (s *Stripe) Plant(p Plant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.plant(p, s.orphan)
}

// Planted lists what was planted so far.
func (s *Stripe) Planted() []Planted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Planted{}, s.book.planted...)
}

// orphan is a payment that somebody made with the account by other means. No webhook
// tells of it.
func (s *Stripe) orphan(p Plant) (*line, error) {
	if problem := checkStripeAmount("amount", p.Amount, p.Currency); problem != nil || !stripeCurrencies[p.Currency] {
		return nil, errNotTaken
	}
	card, problem := s.useCard("pm_card_visa")
	if problem != nil {
		return nil, errNotTaken
	}
	in := &intent{
		head: s.newHead("pi_3"), amount: p.Amount, currency: p.Currency, captureMethod: "automatic", confirmationMethod: "automatic",
		metadata: merged(p.Metadata, nil), texts: map[string]string{}, method: card, threeDSecure: "automatic",
	}
	s.objects[in.id], s.objects[card.id] = in, card
	s.intents = append(s.intents, in)
	ch := s.newCharge(in)
	ch.status = succeeded
	s.effect(cause{}, EffectAuthorize, in, ch.id, ch.amount, nil)
	s.take(cause{}, in, in.amount)
	return ch.transaction.line, nil
}

func (s *Stripe) listTransactions(c *call) (any, *stripeError) {
	kind, currency := c.form.str("type"), c.form.str("currency")
	source, payout := c.form.str("source"), c.form.str("payout")
	return page(s, c, s.transactions, func(t *transaction) bool {
		return !t.hidden && (kind == "" || t.of.kind == kind) && (currency == "" || t.currency == currency) &&
			(source == "" || t.source == source) && (payout == "" || t.line.payout != nil && t.line.payout.id == payout)
	})
}

func (s *Stripe) listPayouts(c *call) (any, *stripeError) {
	status := c.form.str("status")
	var all []*stripePayout
	for _, p := range s.book.payouts {
		all = append(all, s.objects[p.id].(*stripePayout))
	}
	return page(s, c, all, func(p *stripePayout) bool { return status == "" || status == "paid" })
}

func (t *transaction) render() any {
	status := "available"
	if t.available.After(t.now()) {
		status = "pending"
	}
	fees := []any{}
	if t.fee != 0 {
		fees = append(fees, object{
			"amount": t.fee, "application": nil, "currency": t.currency, "description": "Stripe processing fees", "type": "stripe_fee",
		})
	}
	return object{
		"id": t.id, "object": "balance_transaction", "created": t.created.Unix(), "available_on": t.available.Unix(),
		"amount": t.amount, "fee": t.fee, "net": t.amount - t.fee, "currency": t.currency, "fee_details": fees,
		"description": t.description, "exchange_rate": nil, "reporting_category": t.of.category, "source": orNil(t.source),
		"status": status, "type": t.of.kind,
	}
}

func (p *stripePayout) render() any {
	return object{
		"id": p.id, "object": "payout", "created": p.created.Unix(), "arrival_date": p.created.Add(24 * time.Hour).Unix(), "livemode": false,
		"amount": p.amount, "automatic": true, "balance_transaction": p.transaction.id, "currency": p.currency, "description": "STRIPE PAYOUT",
		"destination": "ba_sim", "failure_balance_transaction": nil, "failure_code": nil, "failure_message": nil, "metadata": object{},
		"method": "standard", "original_payout": nil, "reconciliation_status": "completed", "reversed_by": nil, "source_type": "card",
		"statement_descriptor": nil, "status": "paid", "type": "bank_account",
	}
}
