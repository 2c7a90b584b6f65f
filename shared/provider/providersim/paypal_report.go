package providersim

import (
	"strconv"
	"strings"
	"time"
)

// Limits of the transaction search. That of results is not documented: it is known from
// the error, RESULTSET_TOO_LARGE.
const (
	paypalReportSpan = 31 * 24 * time.Hour
	paypalReportPage = 500
)

// paypalCodes are the transaction event codes of movements:
// https://developer.paypal.com/docs/transaction-search/transaction-event-codes/
// That a refund which failed comes back as T1100 is a guess.
var paypalCodes = map[string]string{
	moveCharge: "T0006", moveRefund: "T1107", moveRefundFailed: "T1100", moveDispute: "T1201", moveDisputeWon: "T1202",
	moveFee: "T0106", movePayout: "T0401",
}

// paypalFixed is the fixed part of a fee. Currencies that are not in it have none here.
var paypalFixed = map[string]int64{"usd": 49, "eur": 39, "gbp": 39, "jpy": 49, "aud": 59, "cad": 59}

// PayPalFee is PayPal's price in the United States for payments of its Checkout: 3.49 %
// and a fixed fee by currency, rounded half up.
// https://www.paypal.com/us/business/paypal-business-fees
func PayPalFee(units int64, currency string) int64 {
	return halfUp(units*349) + paypalFixed[currency]
}

// move moves the account's money, which is available at once. The caller holds the lock.
func (p *PayPal) move(kind string, b *paypalObject, units, fee int64) *line {
	now := p.now()
	l := &line{
		head: head{id: b.id, created: now}, kind: kind, source: b.id, metadata: b.metadata(), currency: strings.ToLower(b.order.currency),
		amount: units, fee: fee, available: now,
	}
	if kind != moveCharge && kind != moveRefund {
		l.id = strings.ToUpper(p.ids.next("SIM"))
	}
	return p.book.add(l)
}

// namePayPalRow: the transaction id of a capture or a refund is its own.
func namePayPalRow(l *line) {
	if l.id == "" {
		l.id = l.source
	}
}

// Plant makes the account's report wrong in a way.
func (p *PayPal) Plant(plant Plant) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.book.plant(plant, p.orphan)
}

// Planted lists what was planted so far.
func (p *PayPal) Planted() []Planted {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Planted{}, p.book.planted...)
}

// orphan is a payment that somebody took with the account by other means. No webhook
// tells of it. Its metadata may be custom_id and invoice_id.
func (p *PayPal) orphan(plant Plant) (*line, error) {
	code := strings.ToUpper(plant.Currency)
	if _, taken := paypalCurrencies[code]; !taken {
		return nil, errNotTaken
	}
	now := p.now()
	o := &paypalOrder{
		id: strings.ToUpper(p.ids.next("SIM")), intent: "CAPTURE", status: "COMPLETED", answer: PayPalApproves, currency: code, units: plant.Amount,
		customID: plant.Metadata["custom_id"], invoiceID: plant.Metadata["invoice_id"], created: now, updated: now,
	}
	p.orders[o.id] = o
	b := p.newPayment(o, "capture", o.units)
	b.status = "COMPLETED"
	p.note(cause{}, EffectAuthorize, b, b.units)
	p.note(cause{}, EffectCapture, b, b.units)
	return p.move(moveCharge, b, b.units, p.cfg.Fee(b.units, plant.Currency)), nil
}

// searchTransactions is GET /v1/reporting/transactions, for all that moved the balance
// from one time to another, oldest first.
func (p *PayPal) searchTransactions(c *paypalCall) (paypalResult, *paypalError) {
	from, problem := c.date("start_date")
	if problem != nil {
		return paypalResult{}, problem
	}
	to, problem := c.date("end_date")
	if problem != nil {
		return paypalResult{}, problem
	}
	number, problem := c.number("page", 1, 1<<31-1)
	if problem != nil {
		return paypalResult{}, problem
	}
	size, problem := c.number("page_size", 100, paypalReportPage)
	if problem != nil {
		return paypalResult{}, problem
	}
	for name := range c.query {
		switch name {
		case "start_date", "end_date", "page", "page_size", "fields", "balance_affecting_records_only":
		default:
			return paypalResult{}, malformed("the simulator does not have the parameter " + name)
		}
	}
	if to.Before(from) || to.Sub(from) > paypalReportSpan {
		return paypalResult{}, malformed("Date range is greater than 31 days")
	}
	fresh := p.now().Add(-p.cfg.ReportDelay).Truncate(time.Second)
	var found []*line
	for _, l := range p.book.report() {
		if !l.created.Before(from) && !l.created.After(to) && !l.created.After(fresh) {
			found = append(found, l)
		}
	}
	if len(found) > p.cfg.MaxReport {
		return paypalResult{}, &paypalError{
			status: 400, Name: "RESULTSET_TOO_LARGE", Message: "Result set size is greater than the maximum limit. Change the filter criteria and try again.",
		}
	}
	total := len(found)
	begin := min(total, (number-1)*size)
	rows := []any{}
	for _, l := range found[begin:min(total, begin+size)] {
		rows = append(rows, object{"transaction_info": p.renderRow(l)})
	}
	answer := object{
		"transaction_details": rows, "account_number": "SIMACCOUNT", "start_date": paypalDate(from), "end_date": paypalDate(to),
		"last_refreshed_datetime": paypalDate(fresh), "page": number, "total_items": total, "total_pages": (total + size - 1) / size, "links": []any{},
	}
	return paypalResult{200, func() any { return answer }}, nil
}

// date reads a time of the query.
func (c *paypalCall) date(name string) (time.Time, *paypalError) {
	t, err := time.Parse(time.RFC3339, c.query.Get(name))
	if err != nil {
		return t, malformed(name + " is not a date and time in Internet format")
	}
	return t, nil
}

func (c *paypalCall) number(name string, fallback, most int) (int, *paypalError) {
	text := c.query.Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, malformed(name + " is out of range")
	}
	return n, nil
}

// paypalDate is how the transaction search writes a time: without a colon in the zone.
func paypalDate(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05-0700") }

func (p *PayPal) renderRow(l *line) object {
	code := strings.ToUpper(l.currency)
	row := object{
		"paypal_account_id": "SIMPAYER", "transaction_id": l.id, "transaction_event_code": paypalCodes[l.kind], "transaction_status": "S",
		"transaction_initiation_date": paypalDate(l.created), "transaction_updated_date": paypalDate(l.created),
		"transaction_amount": paypalAmount{code, paypalSigned(l.amount, code)}, "protection_eligibility": "02", "instrument_type": "PAYPAL",
	}
	if l.fee != 0 {
		row["fee_amount"] = paypalAmount{code, paypalSigned(-l.fee, code)}
	}
	if custom := l.metadata["custom_id"]; custom != "" {
		row["custom_field"] = custom
	}
	if invoice := l.metadata["invoice_id"]; invoice != "" {
		row["invoice_id"] = invoice
	}
	if b := p.objects[l.source]; b != nil {
		switch {
		case l.kind == moveCharge:
			row["paypal_reference_id"], row["paypal_reference_id_type"] = b.order.id, "ODR"
		case l.kind == moveRefund:
			row["paypal_reference_id"], row["paypal_reference_id_type"] = b.of.id, "TXN"
		default:
			row["paypal_reference_id"], row["paypal_reference_id_type"] = b.id, "TXN"
		}
	}
	return row
}

func paypalSigned(units int64, code string) string {
	if units < 0 {
		return "-" + paypalValue(-units, code)
	}
	return paypalValue(units, code)
}
