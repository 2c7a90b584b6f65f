package reconcile

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// lost loses the reply to the next capture, which the provider makes all the same.
func (r *rig) lost(op providersim.Operation) {
	r.t.Helper()
	check(r.t, r.stripe.Inject(providersim.Rule{Operation: op, Fault: providersim.Fault{Kind: providersim.DropAfter}}))
}

func TestAnAuthorizationThatTheProviderLetGoOfFollows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "manual")
	r.advance(8 * 24 * time.Hour) // it expires there after 7 days, and the webhook is lost
	r.want(p, payment.Authorized)
	report := r.reconcileOnce()["stripe"]
	r.want(p, payment.Canceled)
	if report.Checked[payment.Followed] != 1 || report.Calls == 0 {
		t.Errorf("report %+v", report)
	}
	if got := r.text(`SELECT outcome FROM payment_reconciliations`); got != "followed" {
		t.Errorf("outcome %q", got)
	}
}

func TestYoungPaymentsAreLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.card(5000, "manual")
	r.card(5000, "automatic")
	r.advance(14 * time.Minute)
	if report := r.reconcileOnce()["stripe"]; len(report.Checked) != 0 {
		t.Errorf("checked too early: %v", report.Checked)
	}
	r.advance(2 * time.Minute)
	if report := r.reconcileOnce()["stripe"]; report.Checked[payment.Agrees] != 1 {
		t.Errorf("of an authorized and a captured one: %v", report.Checked)
	}
	if n := r.text(`SELECT count(*)::text FROM provider_responses WHERE operation = 'lookup'`); n != "0" {
		t.Errorf("%s replies are kept of checks that showed nothing new", n)
	}
	if report := r.reconcileOnce()["stripe"]; len(report.Checked) != 0 {
		t.Errorf("checked again at once: %v", report.Checked)
	}
	r.advance(time.Hour)
	if report := r.reconcileOnce()["stripe"]; report.Checked[payment.Agrees] != 1 {
		t.Errorf("not checked again an hour later: %v", report.Checked)
	}
}

func TestAPaymentUnderALiveLeaseIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "manual")
	r.lost(providersim.Capture)
	r.capture(p)
	r.advance(20 * time.Minute)
	r.exec(`UPDATE transaction_saga SET state = 'leased', lease_token = $1, lease_until = $2, due_at = NULL WHERE kind = 'capture'`,
		r.NewID(), r.Now().Add(10*time.Second))
	calls := r.stripe.Counters()["retrieve.requests"]
	report := r.reconcileOnce()["stripe"]
	r.want(p, payment.Authorized)
	if report.Checked[payment.Leased] == 0 || len(report.Checked) > 1 || r.stripe.Counters()["retrieve.requests"] != calls {
		t.Errorf("report %+v", report)
	}
	r.advance(11 * time.Second) // its worker is dead
	r.reconcileOnce()
	r.want(p, payment.Captured)
	if got := r.text(`SELECT state || ' ' || outcome || ' ' || rule FROM transaction_saga WHERE kind = 'capture'`); got != "done approved lookup" {
		t.Errorf("the saga is %s", got)
	}
}

func TestAPaymentThatIsContradictedIsForAHuman(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "automatic")
	r.exec(`UPDATE provider_facts SET amount_minor = 4999 WHERE kind = 'capture'`)
	check(t, r.Payments.Question(t.Context(), p.ID, "test"))
	if got := r.get(p); got.ReconciliationStatus != payment.PendingReconciliation {
		t.Fatalf("questioned: %s", got.ReconciliationStatus)
	}
	report := r.reconcileOnce()["stripe"]
	if got := r.get(p); got.ReconciliationStatus != payment.ManualReview || got.Status != payment.Captured || report.Checked[payment.Disagrees] != 1 {
		t.Errorf("contradicted: %s %s, %+v", got.Status, got.ReconciliationStatus, report)
	}
}

func TestAPaymentThatIsQuestionedAndAgreesIsSynced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "automatic")
	check(t, r.Payments.Question(t.Context(), p.ID, "test"))
	check(t, r.Payments.Question(t.Context(), p.ID, "test")) // and again, which is nothing new
	r.reconcileOnce()
	if got := r.get(p); got.ReconciliationStatus != payment.Synced || got.Version != 4 {
		t.Errorf("%s, version %d", got.ReconciliationStatus, got.Version)
	}
	if wrong, err := payment.AuditMismatches(t.Context(), r.Pool); err != nil || len(wrong) > 0 {
		t.Errorf("the log does not fold: %v %v", wrong, err)
	}
}

// What the provider does not answer concludes nothing, and the provider is left alone.
func TestNothingIsConcludedFromSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 5 {
		r.card(5000, "manual")
	}
	r.advance(20 * time.Minute)
	check(t, r.stripe.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Operation: providersim.Retrieve, Fault: providersim.Fault{Kind: providersim.HTMLBefore}}}}))
	before := r.text(`SELECT sum(version)::text FROM transactions`)
	report := r.reconcileOnce()["stripe"]
	if report.Checked[payment.Unanswered] != silences || report.Stopped == "" {
		t.Errorf("report %+v", report)
	}
	if after := r.text(`SELECT sum(version)::text FROM transactions`); after != before {
		t.Error("payments have changed")
	}
}

// Payments that the provider knows nothing of, or too much, are no silence: they come first
// each hour, and keep neither the others nor the report from being read.
func TestPaymentsWithoutAnAnswerKeepNothingElseBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range silences {
		r.card(5000, "manual")
	}
	r.tamper(`UPDATE transactions SET provider_transaction_id = 'pi_gone' || id, reconciliation_status = 'PENDING_RECONCILIATION'`)
	r.card(5000, "automatic")
	r.card(5000, "manual")
	r.advance(20 * time.Minute)
	for range 2 {
		report := r.reconcileOnce()["stripe"]
		if report.Checked[payment.Unanswered] != silences || report.Entries == 0 || report.Stopped != "" {
			t.Errorf("report %+v", report)
		}
		r.advance(time.Hour)
	}
}

// asking keeps what a provider was asked for.
type asking struct {
	provider.Adapter
	queries []provider.Query
}

func (a *asking) Find(ctx context.Context, q provider.Query) provider.Finding {
	a.queries = append(a.queries, q)
	return a.Adapter.Find(ctx, q)
}

// Without a reference all that was made at the provider since is looked through: no more
// than its attempts can have made.
func TestALookUpWithoutAReferenceHasAnEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	asked := &asking{Adapter: r.Payments.Providers["stripe"]}
	r.Payments.Providers["stripe"] = asked
	check(t, r.stripe.Inject(providersim.Rule{Operation: providersim.Authorize, Fault: providersim.Fault{Kind: providersim.DropBefore}}))
	began := r.Now()
	p := r.card(5000, "manual")
	if p.ProviderTransactionID != nil {
		t.Fatalf("the payment has the reference %s", *p.ProviderTransactionID)
	}
	r.advance(72 * time.Hour)
	asked.queries = nil
	r.reconcileOnce()
	if len(asked.queries) != 1 {
		t.Fatalf("asked %d times", len(asked.queries))
	}
	if q := asked.queries[0]; q.Reference != "" || q.Until.IsZero() || q.Until.After(began.Add(25*time.Hour)) {
		t.Errorf("asked for %+v", q)
	}
}

// tamper changes rows as nothing of ours does.
func (r *rig) tamper(sql string, args ...any) {
	r.t.Helper()
	r.exec(`ALTER TABLE transactions DISABLE TRIGGER USER`)
	r.exec(sql, args...)
	r.exec(`ALTER TABLE transactions ENABLE TRIGGER USER`)
}

// A payment whose row can't be read is nobody else's trouble: it is told of each hour, and
// the others and the report are reconciled all the same.
func TestAPaymentThatCantBeHeldAgainstItsProviderKeepsNothingElseBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad := r.card(5000, "manual")
	r.tamper(`UPDATE transactions SET currency = 'ZZZ', reconciliation_status = 'PENDING_RECONCILIATION' WHERE id = $1`, bad.ID)
	r.card(5000, "automatic")
	r.card(5000, "manual")
	r.advance(20 * time.Minute)
	reports, err := r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), bad.ID.String()) {
		t.Errorf("it was not told of: %v", err)
	}
	for _, report := range reports {
		if report.Provider == "stripe" && (report.Checked[payment.Agrees] != 1 || report.Entries == 0 || report.Judged == 0) {
			t.Errorf("report %+v", report)
		}
	}
}

func TestARunIsBoundedAndTheNextGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Settings.Payments = 2
	for range 5 {
		r.card(5000, "manual")
	}
	r.advance(20 * time.Minute)
	for run, want := range []string{"2", "4", "5"} {
		r.reconcileOnce()
		if got := r.text(`SELECT count(*)::text FROM payment_reconciliations`); got != want {
			t.Errorf("after run %d: %s were checked, want %s", run+1, got, want)
		}
	}
}
