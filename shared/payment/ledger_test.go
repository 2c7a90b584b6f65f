package payment

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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

// audit holds the ledger against the payments, as they are now.
func (s *story) audit() {
	s.t.Helper()
	wrong, err := ledgerMismatches(s.ctx(), s.Pool, s.merchant)
	s.must(err)
	if len(wrong) > 0 {
		s.t.Fatalf("the ledger does not agree: %v", wrong)
	}
	balances, err := ledger.Balances(s.ctx(), s.Pool, ledger.Filter{MerchantID: s.merchant})
	s.must(err)
	for _, b := range balances {
		sum := s.count(`SELECT coalesce(sum(amount_minor), 0) FROM ledger_entries WHERE merchant_id = $1 AND provider = $2 AND currency = $3 AND account = $4`,
			s.merchant, b.Provider, b.Currency, b.Account)
		if int64(sum) != b.AmountMinor {
			s.t.Fatalf("%s at %s in %s stands at %d, its entries come to %d", b.Account, b.Provider, b.Currency, b.AmountMinor, sum)
		}
	}
}

// compareWithProviders holds each payment's receivable against the movements of money at
// the simulators, of which nothing of Tollgate's knows.
func (s *story) compareWithProviders() {
	s.t.Helper()
	sign := map[providersim.EffectKind]int64{
		providersim.EffectCapture: 1, providersim.EffectRefund: -1, providersim.EffectRefundReversed: 1,
		providersim.EffectDispute: -1, providersim.EffectDisputeWon: 1,
	}
	for _, p := range s.payments() {
		external := id.Payment.External(p.ID)
		var moved int64
		for _, e := range slices.Concat(s.sim.EffectsFor("tollgate_payment", external), s.paypal.EffectsFor("invoice_id", external), s.bank.EffectsFor("tollgate_payment", external)) {
			moved += sign[e.Kind] * e.AmountMinor
		}
		posted, err := ledger.Postings(s.ctx(), s.Pool, p.ID)
		s.must(err)
		var receivable, obligations int64
		for _, posting := range posted {
			receivable += posting.On(ledger.Receivable)
			obligations += posting.On(ledger.Obligations)
		}
		if receivable != moved {
			s.t.Fatalf("payment %s (%s at %s): its provider holds %d, the ledger says %d: %+v", p.ID, p.Status, p.Provider, moved, receivable, posted)
		}
		if obligations < 0 { // one that is disputed as well as refunded is given back twice
			s.t.Fatalf("payment %s (%s at %s): %d are still owed to its payer", p.ID, p.Status, p.Provider, -obligations)
		}
	}
}

// mismatches has a row for whatever the ledger says otherwise than the payments, refunds,
// disputes and provider_facts do. A refund that was of another amount than it was asked for
// stays pending in the tables, and has moved in the ledger; a dispute in another currency
// than the payment's is in neither.
const mismatches = `
	WITH payment AS (
		SELECT id, captured_minor + capture_excess_minor AS captured FROM transactions WHERE $1::uuid IS NULL OR merchant_id = $1),
	entry AS (
		SELECT e.* FROM ledger_entries e WHERE $1::uuid IS NULL OR e.merchant_id = $1),
	paid AS (
		SELECT transaction_id AS id,
			-coalesce(sum(amount_minor) FILTER (WHERE kind = 'capture'), 0) AS captured,
			coalesce(sum(amount_minor) FILTER (WHERE kind IN ('refund', 'refund_failed')), 0) AS refunded,
			coalesce(sum(amount_minor) FILTER (WHERE kind IN ('dispute_opened', 'dispute_won', 'dispute_lost')), 0) AS disputed
		FROM entry WHERE account = 'payable' GROUP BY transaction_id),
	fact AS (
		SELECT DISTINCT ON (f.transaction_id, f.provider, f.kind, f.object_id) f.transaction_id, f.provider, f.kind, f.state, f.amount_minor
		FROM payment t JOIN provider_facts f ON f.transaction_id = t.id AND (f.kind <> 'dispute' OR f.effect <> 'mismatch')
		ORDER BY f.transaction_id, f.provider, f.kind, f.object_id, f.rank DESC, f.occurred_at DESC),
	held AS (
		SELECT transaction_id AS id, provider, sum(CASE
			WHEN kind = 'capture' AND state = 'succeeded' THEN amount_minor
			WHEN kind = 'refund' AND state = 'succeeded' THEN -amount_minor
			WHEN kind = 'dispute' AND state <> 'won' THEN -amount_minor ELSE 0 END) AS minor
		FROM fact GROUP BY transaction_id, provider),
	receivable AS (
		SELECT transaction_id AS id, provider, sum(amount_minor) AS minor
		FROM entry WHERE account = 'receivable' AND transaction_id IS NOT NULL GROUP BY transaction_id, provider)
	SELECT format('captured of %s: %s, %s in the ledger', id, t.captured, p.captured) FROM payment t LEFT JOIN paid p USING (id)
	WHERE t.captured <> coalesce(p.captured, 0)
	UNION ALL
	SELECT format('refunded of %s: %s in the ledger', id, p.refunded) FROM payment t LEFT JOIN paid p USING (id)
	WHERE coalesce(p.refunded, 0) <> (SELECT coalesce(sum(r.amount_minor), 0) FROM refunds r WHERE r.transaction_id = t.id AND r.status = 'SUCCEEDED')
		AND NOT EXISTS (SELECT 1 FROM provider_facts f WHERE f.transaction_id = t.id AND f.kind = 'refund' AND f.effect = 'mismatch')
	UNION ALL
	SELECT format('disputed of %s: %s in the ledger', id, p.disputed) FROM payment t LEFT JOIN paid p USING (id)
	WHERE coalesce(p.disputed, 0) <> (SELECT coalesce(sum(d.amount_minor), 0) FROM disputes d WHERE d.transaction_id = t.id AND d.status <> 'WON')
	UNION ALL
	SELECT format('receivable of %s at %s: %s in the ledger, %s by facts', id, provider, r.minor, h.minor)
	FROM held h FULL JOIN receivable r USING (id, provider) WHERE coalesce(h.minor, 0) <> coalesce(r.minor, 0)
	UNION ALL
	SELECT format('fees of %s: %s more returned than charged', transaction_id, -sum(amount_minor)) FROM entry
	WHERE account = 'payable' AND kind IN ('fee', 'fee_returned') GROUP BY transaction_id HAVING sum(amount_minor) < 0
	UNION ALL
	SELECT format('posting %s does not balance', posting_id) FROM entry GROUP BY posting_id, currency HAVING sum(amount_minor) <> 0
	UNION ALL
	SELECT format('what waits to be settled of %s', merchant_id) FROM (
		SELECT merchant_id, amount_minor FROM entry WHERE account = 'payable'
		UNION ALL SELECT merchant_id, -amount_minor FROM unsettled_entries WHERE $1::uuid IS NULL OR merchant_id = $1) u
	GROUP BY merchant_id HAVING sum(amount_minor) <> 0`

// ledgerMismatches lists them for one merchant, or with the zero ID for all.
func ledgerMismatches(ctx context.Context, pool *pgxpool.Pool, merchant id.ID) ([]string, error) {
	rows, err := pool.Query(ctx, mismatches, merchant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// checkLedger holds the ledger against all else in the database, at the end of each test.
func (r *rig) checkLedger(pool *pgxpool.Pool) {
	r.t.Helper()
	wrong, err := ledgerMismatches(context.Background(), pool, id.ID{})
	if err != nil || len(wrong) > 0 {
		r.t.Errorf("the ledger does not agree: %v %v", wrong, err)
	}
}
