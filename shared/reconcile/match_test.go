package reconcile

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func TestWhatAgreesIsBookedAndNothingDiffers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.wallet(2000)
	r.transfer(3000)
	p := r.card(10000, "manual")
	r.capture(p)
	r.refund(p, 2500)
	r.hourly(4 * 24 * time.Hour)
	r.wantDifferences()
	r.wantSums()
	for _, c := range []struct{ provider, account, want string }{
		{"stripe", "fees", "0"},
		{"paypal", "fees", "0"},
		{"bank", "fees", "0"},
		{"stripe", "variance", ""},
		{"paypal", "variance", ""},
		{"bank", "variance", ""},
		{"stripe", "payouts", "7180"},
		{"paypal", "payouts", "1881"},
		{"bank", "payouts", "2950"},
		{"stripe", "receivable", "0"},
		{"paypal", "receivable", "0"},
		{"bank", "receivable", "0"},
	} {
		got := r.text(`SELECT sum(amount_minor)::text FROM ledger_entries WHERE provider = $1 AND account = $2 AND merchant_id = $3 HAVING count(*) > 0`,
			c.provider, c.account, r.shop.MerchantID)
		if got != c.want {
			t.Errorf("%s %s: %q, want %q", c.provider, c.account, got, c.want)
		}
	}
	r.wantQuiet()
}

// Each error that is planted in a report is found, for what it is; and nothing else is.
func TestPlantedErrorsAreFoundAndNothingElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var cards, wallets, transfers []string
	for i := range 7 {
		c := r.card(int64(10000+100*i), "automatic")
		cards = append(cards, r.text(`SELECT object_id FROM provider_facts WHERE transaction_id = $1 AND kind = 'capture'`, c.ID))
		w := r.wallet(int64(20000 + 100*i))
		wallets = append(wallets, r.text(`SELECT object_id FROM provider_facts WHERE transaction_id = $1 AND kind = 'capture' AND state = 'succeeded'`, w.ID))
		b := r.transfer(int64(30000 + 100*i))
		transfers = append(transfers, r.text(`SELECT object_id FROM provider_facts WHERE transaction_id = $1 AND kind = 'capture' AND state = 'succeeded'`, b.ID))
	}
	type planter interface {
		Plant(providersim.Plant) error
	}
	plant := func(sim planter, what providersim.PlantKind, object string) {
		t.Helper()
		check(t, sim.Plant(providersim.Plant{What: what, Object: object, By: 7, Currency: "eur", Amount: 4321}))
	}
	plant(r.stripe, providersim.PlantMissing, cards[1])
	plant(r.stripe, providersim.PlantDoubled, cards[2])
	plant(r.stripe, providersim.PlantFee, cards[3])
	plant(r.stripe, providersim.PlantAmount, cards[4])
	plant(r.stripe, providersim.PlantCurrency, cards[5])
	plant(r.stripe, providersim.PlantOrphan, "")
	plant(r.paypal, providersim.PlantMissing, wallets[1])
	plant(r.paypal, providersim.PlantDoubled, wallets[2])
	plant(r.paypal, providersim.PlantFee, wallets[3])
	plant(r.paypal, providersim.PlantAmount, wallets[4])
	plant(r.paypal, providersim.PlantCurrency, wallets[5])
	plant(r.paypal, providersim.PlantOrphan, "")
	plant(r.bank, providersim.PlantMissing, transfers[1])
	plant(r.bank, providersim.PlantDoubled, transfers[2])
	plant(r.bank, providersim.PlantFee, transfers[3])
	plant(r.bank, providersim.PlantAmount, transfers[4])
	check(t, r.bank.Plant(providersim.Plant{What: providersim.PlantOrphan, Currency: "gbp", Amount: 4321}))
	r.hourly(9 * 24 * time.Hour)
	r.wantDifferences(
		"missing_there stripe 10100 USD 0 USD", "duplicate stripe 0 USD 10200 USD", "fee stripe 329 USD 336 USD",
		"amount stripe 10400 USD 10407 USD", "currency stripe 10500 USD 10500 EUR", "orphan stripe 0 EUR 4321 EUR",
		"missing_there paypal 20100 USD 0 USD", "duplicate paypal 0 USD 20200 USD", "fee paypal 757 USD 764 USD",
		"amount paypal 20400 USD 20407 USD", "currency paypal 20500 USD 20500 EUR", "orphan paypal 0 EUR 4321 EUR",
		"missing_there bank 30100 GBP 0 GBP", "duplicate bank 0 GBP 30200 GBP", "fee bank 323 GBP 330 GBP",
		"amount bank 30400 GBP 30407 GBP", "orphan bank 0 GBP 4321 GBP",
	)
	r.wantSums()
	r.wantQuiet()
	for _, status := range r.strings(`SELECT DISTINCT reconciliation_status FROM transactions`) {
		if status != string(payment.Synced) { // each was asked for: it is the reports that are wrong
			t.Errorf("a payment is %s", status)
		}
	}
	if n := r.text(`SELECT count(*)::text FROM differences WHERE evidence ->> 'why' = '' OR owner <> 'operations'`); n != "0" {
		t.Errorf("%s differences lack a reason or an owner", n)
	}
}

// asStripe sends Stripe a request of somebody who holds the account's key.
func (r *rig) asStripe(path string, form url.Values) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+path, strings.NewReader(form.Encode()))
	check(r.t, err)
	req.Header.Set("Authorization", "Bearer sk_test_sim")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	check(r.t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %s", path, res.Status)
	}
}

// A refund that was made in the provider's dashboard, and whose webhook was lost, is
// known from the report: the payment is asked for, and follows.
func TestAMissingFactIsFetched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "automatic")
	r.hourly(3 * time.Hour)
	r.asStripe("/v1/refunds", url.Values{"payment_intent": {*p.ProviderTransactionID}, "amount": {"1200"}})
	r.hourly(time.Hour)
	if got := r.get(p); got.RefundedAmount != 1200 {
		t.Errorf("refunded %d", got.RefundedAmount)
	}
	r.wantDifferences()
	r.wantSums()
	r.wantQuiet()
}

// Without an answer about the payment, nothing is made of the entry.
func TestAMissingFactIsNotMissingBeforeItWasAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "automatic")
	r.hourly(3 * time.Hour)
	r.asStripe("/v1/refunds", url.Values{"payment_intent": {*p.ProviderTransactionID}, "amount": {"1200"}})
	check(t, r.stripe.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Operation: providersim.Retrieve, Fault: providersim.Fault{Kind: providersim.DropBefore}}}}))
	r.hourly(2 * time.Hour)
	r.wantDifferences()
	r.wantSums()
	check(t, r.stripe.SetPlan(providersim.Plan{}))
	r.hourly(time.Hour)
	if got := r.get(p); got.RefundedAmount != 1200 {
		t.Errorf("refunded %d", got.RefundedAmount)
	}
	r.wantDifferences()
	r.wantSums()
}

// entry puts a row into what was read of Stripe's report.
func (r *rig) entry(kind, object, reference string, gross int64) string {
	r.t.Helper()
	name := "txn_" + r.NewID().String()
	r.exec(`INSERT INTO provider_entries (provider, account, id, kind, object_id, reference, currency, gross_minor, fee_minor, net_minor, payout_id,
		occurred_at, raw, imported_at, changed_at) VALUES ('stripe', 'test', $1, $2, $3, $4, 'USD', $5, 0, $5, '', $6, '{}', $6, $6)`,
		name, kind, object, reference, gross, r.Now())
	return name
}

func TestWhatIsNotThereForThePaymentIsMissingHere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "automatic")
	r.hourly(time.Hour)
	r.entry("refund", "re_nobody_knows", *p.ProviderTransactionID, -700)
	adjusted := r.entry("adjustment", "", "", -33)
	r.reconcileOnce()
	r.wantDifferences("missing_here stripe 0 USD -700 USD", "missing_here stripe 0 USD -33 USD")
	if got := r.text(`SELECT d.transaction_id::text FROM differences d WHERE actual_minor = -700`); got != p.ID.String() {
		t.Errorf("the difference is of payment %q", got)
	}
	if got := r.text(`SELECT entry_id FROM differences WHERE transaction_id IS NULL`); got != adjusted {
		t.Errorf("the adjustment is of entry %q", got)
	}
	r.wantSums()
	r.wantQuiet()
}

// What was missing there and comes late closes the difference, which says how.
func TestALateEntryClosesTheDifference(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "automatic")
	object := r.text(`SELECT object_id FROM provider_facts WHERE kind = 'capture'`)
	check(t, r.stripe.Plant(providersim.Plant{What: providersim.PlantMissing, Object: object}))
	r.hourly(3 * time.Hour)
	r.wantDifferences("missing_there stripe 5000 USD 0 USD")
	r.entry("charge", object, *p.ProviderTransactionID, 5000)
	r.reconcileOnce()
	r.wantDifferences("fee stripe 175 USD 0 USD") // the entry of this test has none
	if got := r.text(`SELECT state || ' ' || resolution || ' ' || resolved_by FROM differences WHERE kind = 'missing_there'`); got != "RESOLVED agrees function:reconcile" {
		t.Errorf("the difference is %s", got)
	}
	if got := r.text(`SELECT string_agg(action, ' ' ORDER BY number) FROM difference_log l JOIN differences d ON d.id = l.difference_id WHERE kind = 'missing_there'`); got != "opened resolved" {
		t.Errorf("the log says %s", got)
	}
	r.wantSums()
	r.wantQuiet()
}

// What a human has closed and turns out right after all counts once: a write-off is taken
// back, and an explanation explains nothing any more. It may be written off again later.
func TestALateEntryTakesBackWhatAHumanDecided(t *testing.T) {
	t.Parallel()
	for _, writeOff := range []bool{true, false} {
		r := newRig(t)
		p := r.card(5000, "automatic")
		object := r.text(`SELECT object_id FROM provider_facts WHERE kind = 'capture'`)
		check(t, r.stripe.Plant(providersim.Plant{What: providersim.PlantMissing, Object: object}))
		r.hourly(3 * time.Hour)
		missing, err := List(t.Context(), r.Pool, Filter{Kind: MissingThere})
		check(t, err)
		check(t, r.Resolve(t.Context(), missing[0].ID, "alice", "they will not pay", writeOff))
		r.reconcileOnce()
		r.wantSums()
		r.wantQuiet()
		r.entry("charge", object, *p.ProviderTransactionID, 5000)
		r.reconcileOnce()
		if got := r.text(`SELECT state || ' ' || resolution || ' ' || booked FROM differences WHERE kind = 'missing_there'`); got != "RESOLVED agrees false" {
			t.Errorf("write-off %t: the difference is %s", writeOff, got)
		}
		if got := r.text(`SELECT coalesce(sum(amount_minor), 0)::text FROM ledger_entries WHERE kind = 'adjustment' AND account = 'variance'`); got != "0" {
			t.Errorf("write-off %t: variance keeps %s", writeOff, got)
		}
		r.wantSums()
		r.wantQuiet()
	}
}

// A difference that was written off and has other numbers now is open with those, and can be
// written off again: what is booked is what it says last.
func TestAWriteOffOfOtherNumbers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "automatic")
	object := r.text(`SELECT object_id FROM provider_facts WHERE kind = 'capture'`)
	check(t, r.stripe.Plant(providersim.Plant{What: providersim.PlantAmount, Object: object, By: -50}))
	r.hourly(2 * time.Hour)
	for _, want := range []string{"amount stripe 5000 USD 4950 USD", "amount stripe 5000 USD 4850 USD"} {
		r.wantDifferences(want)
		open, err := List(t.Context(), r.Pool, Filter{State: Open})
		check(t, err)
		check(t, r.Resolve(t.Context(), open[0].ID, "alice", "too little to argue", true))
		r.wantSums()
		if want == "amount stripe 5000 USD 4950 USD" {
			r.entry("charge", object, *p.ProviderTransactionID, -100)
			r.reconcileOnce()
			r.wantSums()
		}
	}
	if got := r.text(`SELECT sum(amount_minor)::text FROM ledger_entries WHERE kind = 'adjustment' AND account = 'variance'`); got != "150" {
		t.Errorf("variance %s", got)
	}
	r.wantQuiet()
}

func TestFeeDifferencesCloseAsConfigured(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Settings.Fees = FeesClose
	r.card(5000, "automatic")
	check(t, r.stripe.Plant(providersim.Plant{What: providersim.PlantFee, By: 5}))
	r.hourly(2 * time.Hour)
	r.wantDifferences()
	if got := r.text(`SELECT resolution || ' ' || expected_minor || ' ' || actual_minor FROM differences`); got != "automatic 175 180" {
		t.Errorf("recorded %q", got)
	}
	if got := r.text(`SELECT sum(amount_minor)::text FROM ledger_entries WHERE account = 'variance'`); got != "5" {
		t.Errorf("variance %s", got)
	}
	r.wantQuiet()
}

// A merchant without a schedule expects no fee of anybody.
func TestWithoutAScheduleAFeeIsNoDifference(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create(payment.CreateParams{Amount: 5000, Currency: "GBP", PaymentMethod: "pm_card_visa", CaptureMethod: "automatic"})
	r.hourly(2 * time.Hour)
	r.wantDifferences()
	if got := r.text(`SELECT sum(amount_minor)::text FROM ledger_entries WHERE account = 'variance'`); got != "175" {
		t.Errorf("variance %s", got)
	}
	r.wantSums()
}

// A dispute that the report leaves out was taken from a payout all the same, with its fee.
func TestAPayoutIsExplainedByADisputeThatIsNotReported(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.card(9000, "automatic")
	p := r.card(5000, "automatic")
	dispute, err := r.stripe.Dispute(providersim.Complaint{Payment: *p.ProviderTransactionID})
	check(t, err)
	check(t, r.stripe.Plant(providersim.Plant{What: providersim.PlantMissing, Kind: "dispute", Object: dispute}))
	_, err = r.Payments.Reconcile(t.Context(), p.ID)
	check(t, err)
	r.hourly(4 * 24 * time.Hour)
	r.wantDifferences("missing_there stripe -5000 USD 0 USD")
	r.wantSums()
	r.wantQuiet()
}

func TestDisputesMatchWhateverTheReportNamesThem(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type disputer interface {
		Dispute(providersim.Complaint) (string, error)
		Decide(id, outcome string) error
	}
	for _, c := range []struct {
		sim disputer
		pay func() paying
	}{
		{r.stripe, func() paying { return r.card(9000, "automatic") }},
		{r.paypal, func() paying { return r.wallet(9000) }},
		{r.bank, func() paying { return r.transfer(9000) }},
	} {
		for _, outcome := range []string{"won", "lost"} {
			p := c.pay()
			r.hourly(30 * time.Hour)
			dispute, err := c.sim.Dispute(providersim.Complaint{Payment: *p.ProviderTransactionID, AmountMinor: 9000})
			check(t, err)
			r.hourly(2 * time.Hour)
			_, err = r.Payments.Reconcile(t.Context(), p.ID) // what the webhook would bring
			check(t, err)
			if err := c.sim.Decide(dispute, outcome); err != nil {
				t.Logf("%T %s: %v", c.sim, outcome, err) // a bank's chargeback is final
			}
			_, err = r.Payments.Reconcile(t.Context(), p.ID)
			check(t, err)
		}
	}
	r.hourly(9 * 24 * time.Hour)
	r.wantDifferences()
	r.wantSums()
	r.wantQuiet()
}

// What breaks off is read on from where it stood.
func TestReadingGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 3 {
		r.card(5000, "automatic")
	}
	r.advance(time.Hour)
	check(t, r.stripe.Inject(providersim.Rule{Operation: providersim.Report, Fault: providersim.Fault{Kind: providersim.DropBefore}}))
	report := r.reconcileOnce()["stripe"]
	if report.Entries != 0 || !strings.Contains(report.Stopped, "can't be read") {
		t.Errorf("report %+v", report)
	}
	if report = r.reconcileOnce()["stripe"]; report.Entries != 3 || report.Stopped != "" {
		t.Errorf("afterwards %+v", report)
	}
	r.wantSums()
}

func TestTwoRunsAtOnceAreOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO statement_cursors (provider, account, imported_to, cursor, facts_to, lease_token, lease_until, created_at, updated_at)
		VALUES ('stripe', 'test', $1, '', $1, $2, $3, $1, $1)`, r.Now(), r.NewID(), r.Now().Add(time.Minute))
	if report := r.reconcileOnce()["stripe"]; report.Stopped != "another run is at it" || report.Calls != 0 {
		t.Errorf("beside another run: %+v", report)
	}
	r.advance(2 * time.Minute) // it has died
	if report := r.reconcileOnce()["stripe"]; report.Stopped != "" || report.Calls == 0 {
		t.Errorf("after it: %+v", report)
	}
}

func TestWhatAProviderSaidOfAmountsStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.card(5000, "automatic")
	r.hourly(time.Hour)
	for _, sql := range []string{
		`UPDATE provider_entries SET gross_minor = 1, net_minor = 1 - fee_minor`, `UPDATE provider_entries SET currency = 'EUR'`,
		`DELETE FROM provider_entries`, `UPDATE provider_entries SET object_id = 'ch_other'`, `TRUNCATE provider_entries`,
		`UPDATE difference_log SET actor = 'nobody'`, `DELETE FROM difference_log`, `TRUNCATE difference_log CASCADE`,
	} {
		if sql == `UPDATE difference_log SET actor = 'nobody'` {
			r.entry("adjustment", "", "", 5)
			r.reconcileOnce()
		}
		if _, err := r.Pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s is not refused", sql)
		}
	}
}
