package providersim

import (
	"net/http"
	"time"
)

// availableAfter is how long money is pending before it can be paid out.
const availableAfter = 2 * 24 * time.Hour

// transaction is a balance transaction: one movement of the account's money.
type transaction struct {
	head
	kind, category, description, source string
	amount, fee                         int64
	currency                            string
	payout                              string // the payout it went out with
	now                                 func() time.Time
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

var categories = map[string]string{"charge": "charge", "refund": "refund", "refund_failure": "refund_failure", "payout": "payout"}

func (s *Stripe) newTransaction(kind, description, source string, amount, fee int64, currency string) *transaction {
	t := &transaction{
		head: s.newHead("txn_3"), kind: kind, category: categories[kind], description: description, source: source,
		amount: amount, fee: fee, currency: currency, now: s.now,
	}
	s.objects[t.id] = t
	s.transactions = append(s.transactions, t)
	return t
}

func (t *transaction) available() time.Time {
	if t.kind == "payout" {
		return t.created
	}
	return t.created.Add(availableAfter)
}

// PayOut pays out everything in a currency that is available, as Stripe does by
// itself every day, and returns the payout's identifier and its amount. The
// transactions in it can then be listed by payout. Without anything to pay out
// it returns "" and 0.
func (s *Stripe) PayOut(currency string) (id string, amountMinor int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var members []*transaction
	for _, t := range s.transactions {
		if t.payout == "" && t.currency == currency && !t.available().After(s.now()) {
			members = append(members, t)
			amountMinor += t.amount - t.fee
		}
	}
	if len(members) == 0 {
		return "", 0
	}
	id = s.ids.next("po_1")
	for _, t := range members {
		t.payout = id
	}
	s.newTransaction("payout", "STRIPE PAYOUT", id, -amountMinor, 0, currency).payout = id
	return id, amountMinor
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

func (s *Stripe) listTransactions(c *call) (any, *stripeError) {
	kind, currency := c.form.str("type"), c.form.str("currency")
	source, payout := c.form.str("source"), c.form.str("payout")
	return page(s, c, s.transactions, func(t *transaction) bool {
		return (kind == "" || t.kind == kind) && (currency == "" || t.currency == currency) &&
			(source == "" || t.source == source) && (payout == "" || t.payout == payout)
	})
}

func (t *transaction) render() any {
	status := "available"
	if t.available().After(t.now()) {
		status = "pending"
	}
	fees := []any{}
	if t.fee != 0 {
		fees = append(fees, object{
			"amount": t.fee, "application": nil, "currency": t.currency, "description": "Stripe processing fees", "type": "stripe_fee",
		})
	}
	return object{
		"id": t.id, "object": "balance_transaction", "created": t.created.Unix(), "available_on": t.available().Unix(),
		"amount": t.amount, "fee": t.fee, "net": t.amount - t.fee, "currency": t.currency, "fee_details": fees,
		"description": t.description, "exchange_rate": nil, "reporting_category": t.category, "source": t.source,
		"status": status, "type": t.kind,
	}
}
