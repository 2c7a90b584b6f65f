package payment

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/period"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// story is anything that can happen to the payments of a merchant.
type story struct {
	*town
	t        *rapid.T
	merchant id.ID
	disputes []complaint
	stripe   string // the address of the simulator, for those who go there without Tollgate
}

// Whatever happens to payments, at whatever provider and with whatever faults: entries
// balance, the balances are what the payments' amounts say, the merchant's money waits to
// be settled, and in the end the ledger is what the providers really did.
func TestTheLedgerAgreesWhateverHappens(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	door := httptest.NewServer(w.sim)
	defer door.Close()
	rapid.Check(t, func(t *rapid.T) {
		s := &story{town: w, t: t, merchant: w.merchant(), stripe: door.URL}
		s.agreeOnFees()
		for range rapid.IntRange(1, 3).Draw(t, "payments") {
			s.create()
		}
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			s.step()
			s.audit()
		}
		s.comeToRest()
		s.audit()
		s.compareWithProviders()
	})
	w.fold()
	w.gapless()
	// Of these there are dozens; what is rarer has tests of its own, and may be missing.
	for _, k := range []ledger.Kind{ledger.Capture, ledger.Refund, ledger.Fee, ledger.DisputeOpened, ledger.DisputeWon, ledger.Settlement} {
		if n := w.count(`SELECT count(*) FROM ledger_postings WHERE kind = $1`, k); n == 0 {
			t.Errorf("no %s was ever posted: the stories are too dull", k)
		}
	}
	if n := w.count(`SELECT count(*) FROM ledger_balances`); n == 0 {
		t.Error("no period was ever closed")
	}
}

// agreeOnFees gives the merchant fees at two of the providers, drawn, and none at the third.
func (s *story) agreeOnFees() {
	for _, name := range []string{"stripe", "paypal"} {
		for _, currency := range []string{"JPY", "USD"} {
			schedule := ledger.Schedule{
				MerchantID: s.merchant, Provider: name, Currency: money.MustParseCurrency(currency), EffectiveFrom: s.Now(),
				BasisPoints: rapid.Int64Range(0, 500).Draw(s.t, "basis points"), FixedMinor: rapid.Int64Range(0, 40).Draw(s.t, "fixed"),
				Rounding: rapid.SampledFrom(ledger.Roundings()).Draw(s.t, "rounding"), RefundReturnsFee: rapid.Bool().Draw(s.t, "returned"),
			}
			s.must(ledger.SetSchedule(s.ctx(), s.Pool, schedule, s.Now()))
		}
	}
}

func (s *story) ctx() context.Context { return s.town.t.Context() }

func (s *story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) draw(what string, of ...string) string { return rapid.SampledFrom(of).Draw(s.t, what) }

func (s *story) request() idempotency.Request {
	r := s.key("/x")
	r.MerchantID = s.merchant
	return r
}

// step is one thing that a merchant, a payer, a provider or time does.
func (s *story) step() {
	all := s.payments()
	if len(all) == 0 {
		return // a fault befell every request to make one
	}
	p := rapid.SampledFrom(all).Draw(s.t, "payment")
	caller := Caller{MerchantID: s.merchant, KeyID: s.NewID()}
	switch s.draw("step", "create", "payer", "capture", "cancel", "refund", "refund", "fault", "time", "news",
		"dashboard", "close", "dispute", "dispute", "decision", "settlement") {
	case "create":
		s.create()
	case "payer":
		s.answerAsPayer(p)
	case "capture":
		s.answered(s.Capture(s.ctx(), caller, s.request(), p.ID, CaptureParams{Amount: s.part(p.AuthorizedMinor)}))
	case "cancel":
		s.answered(s.Cancel(s.ctx(), caller, s.request(), p.ID))
	case "refund":
		s.answered(s.Refund(s.ctx(), caller, s.request(), p.ID, RefundParams{Amount: s.part(p.Refundable())}))
	case "fault":
		s.harm()
	case "time":
		s.pass(time.Duration(rapid.IntRange(1, 5).Draw(s.t, "hours"))*time.Hour, time.Hour)
	case "news":
		s.hear(p)
	case "dashboard":
		s.refundInDashboard(p)
	case "close":
		s.closePeriod()
	case "dispute":
		s.dispute(p)
	case "decision":
		s.decide()
	case "settlement":
		s.settle()
	}
}

// part is a part of an amount, or nil for all of it.
func (s *story) part(of int64) *int64 {
	if of < 2 || rapid.Bool().Draw(s.t, "all") {
		return nil
	}
	return minor(rapid.Int64Range(1, of).Draw(s.t, "part"))
}

// answered takes whatever a merchant may be told; nothing of it is trouble of our own.
func (s *story) answered(a idempotency.Answer, err error) {
	s.t.Helper()
	if err != nil && fault.As(err).Code == fault.Internal {
		s.t.Fatal(err)
	}
	if a.After != nil {
		a.After(s.ctx())
	}
}

func (s *story) create() {
	in := CreateParams{
		Amount: rapid.Int64Range(100, 90_000).Draw(s.t, "amount"), Currency: s.draw("currency", "JPY", "USD"),
		CaptureMethod: s.draw("method", string(Automatic), string(Automatic), string(Manual)), ReturnURL: "https://shop.example/back",
		PaymentMethod: s.draw("payment method", "pm_card_visa", "pm_card_refundFail", "pm_card_refundFail", "pm_card_pendingRefund",
			"pm_card_authenticationRequired", "pm_card_chargeDeclined", "pm_card_chargeDeclined", "pm_sim_processing", "paypal", "bank_transfer"),
	}
	if in.PaymentMethod == "bank_transfer" {
		in.Currency, in.CaptureMethod = "GBP", string(Automatic)
	}
	s.answered(s.Create(s.ctx(), Caller{MerchantID: s.merchant, KeyID: s.NewID()}, s.request(), in))
	all := s.payments()
	if len(all) == 0 {
		return
	}
	p := all[len(all)-1]
	if in.PaymentMethod == "pm_card_chargeDeclined" && p.ProviderTransactionID != nil && rapid.Bool().Draw(s.t, "revived") {
		// Before the object of the decline is cancelled, its payer gives it another card.
		s.goToStripe("/v1/payment_intents/"+p.Reference()+"/confirm", url.Values{"payment_method": {"pm_card_visa"}, "return_url": {in.ReturnURL}})
		s.hear(p)
	}
	if p.Status == Pending && rapid.IntRange(0, 3).Draw(s.t, "absent") > 0 {
		s.answerAsPayer(p)
	}
}

// answerAsPayer does what a payer does at the provider's page, if there is anything to do.
func (s *story) answerAsPayer(p *Payment) {
	yes := rapid.IntRange(0, 4).Draw(s.t, "no") > 0
	switch p.Provider {
	case "stripe":
		_ = s.sim.CompleteAuthentication(p.Reference(), yes)
	case "paypal":
		_ = s.paypal.Approve(p.Reference(), map[bool]string{true: providersim.PayPalApproves, false: providersim.PayPalDeclined}[yes])
	case "bank":
		if p.NextAction != nil {
			_ = s.bank.CompleteFlow(path.Base(p.NextAction.RedirectURL), map[bool]string{true: "authorise", false: "fail"}[yes])
		}
	}
}

// harm makes something of the next requests go wrong.
func (s *story) harm() {
	rule := providersim.Rule{
		Operation: rapid.SampledFrom([]providersim.Operation{providersim.Authorize, providersim.Capture, providersim.Void, providersim.Refund, providersim.Retrieve}).Draw(s.t, "operation"),
		Fault: providersim.Fault{Kind: rapid.SampledFrom([]providersim.FaultKind{
			providersim.DropAfter, providersim.DropBefore, providersim.HTMLBefore, providersim.HTMLAfter, providersim.BadJSON, providersim.LateDrop,
		}).Draw(s.t, "fault")},
	}
	switch s.draw("provider", "stripe", "paypal", "bank") {
	case "stripe":
		_ = s.sim.Inject(rule)
	case "paypal":
		_ = s.paypal.Inject(rule)
	case "bank":
		_ = s.bank.Inject(rule)
	}
}

// hear brings what the payment's provider knows of it.
func (s *story) hear(p *Payment) {
	e := provider.Event{ID: "evt_news", PaymentID: p.ID, LookUp: true}
	if _, err := s.ApplyEvent(s.ctx(), p.Provider, e, s.NewID()); err != nil && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.NotFound) {
		s.t.Fatal(err)
	}
}

// refundInDashboard refunds at the provider, without Tollgate.
func (s *story) refundInDashboard(p *Payment) {
	if p.Provider != "stripe" || p.CapturedMinor == 0 {
		return
	}
	amount := rapid.Int64Range(1, p.CapturedMinor).Draw(s.t, "by hand")
	s.goToStripe("/v1/refunds", url.Values{"payment_intent": {p.Reference()}, "amount": {strconv.FormatInt(amount, 10)}})
}

// goToStripe asks for something at the simulator that Tollgate does not know of. What
// comes of it is seen later, or nothing is.
func (s *story) goToStripe(path string, form url.Values) {
	r, err := http.NewRequestWithContext(s.ctx(), http.MethodPost, s.stripe+path, strings.NewReader(form.Encode()))
	s.must(err)
	r.Header.Set("Authorization", "Bearer sk_test_sim")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if answer, err := http.DefaultClient.Do(r); err == nil { // else a fault befell it
		_ = answer.Body.Close()
	}
}

// complaint is a dispute at a simulator.
type complaint struct{ provider, id string }

// dispute contests a payment, or a part of it, at its provider.
func (s *story) dispute(p *Payment) {
	c := providersim.Complaint{Payment: p.Reference(), Inquiry: rapid.IntRange(0, 3).Draw(s.t, "inquiry") == 0}
	if part := s.part(p.CapturedMinor); part != nil && p.Provider != "bank" {
		c.AmountMinor = *part
	}
	contest := map[string]func(providersim.Complaint) (string, error){"stripe": s.sim.Dispute, "paypal": s.paypal.Dispute, "bank": s.bank.Dispute}[p.Provider]
	if made, err := contest(c); err == nil { // else there is nothing to contest
		s.disputes = append(s.disputes, complaint{p.Provider, made})
	}
	s.hear(p)
}

// decide decides a dispute, or overturns what was decided: not in the same second, which is
// all that providers' times tell apart.
func (s *story) decide() {
	if len(s.disputes) == 0 {
		return
	}
	s.pass(time.Minute, time.Minute)
	c := rapid.SampledFrom(s.disputes).Draw(s.t, "dispute")
	decide := map[string]func(string, string) error{"stripe": s.sim.Decide, "paypal": s.paypal.Decide, "bank": s.bank.Decide}[c.provider]
	_ = decide(c.id, s.draw("outcome", providersim.DisputeWon, providersim.DisputeLost, providersim.DisputeEscalated))
}

// settle does with all that waits what a settlement does, in short.
func (s *story) settle() {
	settlement := s.NewID()
	s.must(postgres.InTx(s.ctx(), s.Pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(s.ctx(), `
			WITH frozen AS (DELETE FROM unsettled_entries WHERE merchant_id = $1 RETURNING provider, currency, amount_minor)
			SELECT provider, currency, sum(amount_minor)::bigint FROM frozen GROUP BY provider, currency`, s.merchant)
		type owed struct {
			Provider string
			Currency money.Currency
			Amount   int64
		}
		sums, err := pgx.CollectRows(rows, pgx.RowToStructByPos[owed])
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		for _, o := range sums {
			ledger.Queue(b, ledger.Posting{
				ID: s.NewID(), Kind: ledger.Settlement, MerchantID: s.merchant, SubjectID: settlement, Provider: o.Provider, Currency: o.Currency,
				Entries: ledger.Entries(ledger.Settlement, -o.Amount), At: s.Now(),
			})
		}
		if err := postgres.Pipeline(s.ctx(), tx, b); err != nil {
			return err
		}
		var due []Settling
		for _, p := range s.payments() {
			if p.Status == Captured {
				due = append(due, Settling{PaymentID: p.ID, Captured: p.CapturedMinor + p.CaptureExcessMinor})
			}
		}
		_, err = s.Settle(s.ctx(), tx, settlement, due, s.Now())
		return err
	}))
}

// closePeriod closes the ledger's books of what is old enough.
func (s *story) closePeriod() {
	until := s.Now().Add(-period.Horizon)
	last, err := period.Last(s.ctx(), s.Pool)
	s.must(err)
	if last != nil && !until.After(last.Until) {
		return
	}
	s.must(period.Mark(s.ctx(), s.Pool, until, s.Now()))
	for ready := false; !ready; {
		ready, err = period.Ready(s.ctx(), s.Pool, until)
		s.must(err)
	}
	s.must(postgres.InTx(s.ctx(), s.Pool, func(tx pgx.Tx) error {
		if err := ledger.Close(s.ctx(), tx, until); err != nil {
			return err
		}
		return period.Close(s.ctx(), tx, until, s.Now())
	}))
}

// comeToRest lets everything come to its end: what is unknown is found out, what waits for a
// payer is given up, and all of it is heard of.
func (s *story) comeToRest() {
	for _, p := range s.payments() {
		switch rapid.IntRange(0, 3).Draw(s.t, "in the end") {
		case 2:
			s.answered(s.Refund(s.ctx(), Caller{MerchantID: s.merchant, KeyID: s.NewID()}, s.request(), p.ID, RefundParams{Amount: s.part(p.Refundable())}))
		case 3:
			s.dispute(p)
		}
	}
	for range 2 * len(s.disputes) {
		s.decide()
	}
	s.pass(60*time.Hour, 5*time.Hour)
	s.closePeriod()
	for range 3 { // a fault that was left over may befall the first look
		for _, p := range s.payments() {
			s.hear(p)
		}
		s.carryOn()
	}
	open := s.strings(`SELECT s.kind || ' ' || s.state || ' at ' || s.provider FROM transaction_saga s JOIN transactions t ON t.id = s.transaction_id
		WHERE t.merchant_id = $1 AND s.state <> 'done'`, s.merchant)
	owed := s.strings(`SELECT kind || ' at ' || provider FROM obligations WHERE merchant_id = $1 AND state = 'open'`, s.merchant)
	if len(open)+len(owed) > 0 {
		s.t.Fatalf("not at rest: operations %v, obligations %v", open, owed)
	}
}

func (s *story) payments() []*Payment {
	s.t.Helper()
	var all []*Payment
	for _, text := range s.strings(`SELECT id::text FROM transactions WHERE merchant_id = $1 ORDER BY id`, s.merchant) {
		p, err := find(s.ctx(), s.Pool, selectPayment, mustParse(s.town.t, text), id.ID{})
		s.must(err)
		all = append(all, p)
	}
	return all
}
