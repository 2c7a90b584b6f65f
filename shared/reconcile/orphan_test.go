package reconcile

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// orphan plants a charge that no request of ours made, and returns its difference.
func (r *rig) orphan(metadata map[string]string) id.ID {
	r.t.Helper()
	r.card(5000, "automatic")
	check(r.t, r.stripe.Plant(providersim.Plant{What: providersim.PlantOrphan, Currency: "usd", Amount: 4321, Metadata: metadata}))
	r.hourly(2 * time.Hour)
	r.wantDifferences("orphan stripe 0 USD 4321 USD")
	d, err := id.Parse(r.text(`SELECT id::text FROM differences WHERE kind = 'orphan'`))
	check(r.t, err)
	return d
}

func (r *rig) refunds() int64 { return r.stripe.Counters()["effect.refund"] }

func TestAnOrphanIsRefundedOnceAHumanApproves(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.orphan(nil)
	r.pass(2*time.Hour, 20*time.Minute)
	if got := r.text(`SELECT state FROM obligations`); got != "proposed" || r.refunds() != 0 {
		t.Fatalf("before anybody approved: %s, %d refunds", got, r.refunds())
	}
	for _, bad := range [][2]string{{"", "theirs"}, {"alice", " "}} {
		if err := r.Approve(t.Context(), d, bad[0], bad[1]); !fault.Is(err, fault.InvalidRequest) {
			t.Errorf("approved by %q because %q: %v", bad[0], bad[1], err)
		}
	}
	check(t, r.Approve(t.Context(), d, "alice", "a test charge of the old shop"))
	r.wantSums()
	if err := r.Approve(t.Context(), d, "bob", "again"); !fault.Is(err, fault.InvalidState) {
		t.Errorf("approved twice: %v", err)
	}
	r.pass(2*time.Hour, 20*time.Minute)
	if got := r.text(`SELECT state || ' ' || approved_by FROM obligations`); got != "done alice" || r.refunds() != 1 {
		t.Errorf("approved: %s, %d refunds", got, r.refunds())
	}
	r.hourly(5 * 24 * time.Hour)
	r.wantDifferences()
	r.wantSums()
	if got := r.text(`SELECT sum(amount_minor)::text FROM ledger_entries WHERE account = 'obligations'`); got != "0" {
		t.Errorf("obligations stand at %s", got)
	}
	if got := r.text(`SELECT resolution || ' ' || resolved_by || ' ' || note FROM differences WHERE kind = 'orphan'`); got != "approved alice a test charge of the old shop" {
		t.Errorf("the difference says %q", got)
	}
	r.wantQuiet()
}

// chargedTwice shows one more charge of every payment object than there is.
type chargedTwice struct {
	provider.Adapter
	amount int64
}

func (c *chargedTwice) Find(ctx context.Context, q provider.Query) provider.Finding {
	found := c.Adapter.Find(ctx, q)
	for _, f := range found.Facts {
		if f.Kind == provider.KindCapture && f.State == provider.StateSucceeded {
			f.ObjectID, f.Amount.Minor = f.ObjectID+"_second", c.amount
			found.Facts = append(found.Facts, f)
			break
		}
	}
	return found
}

// What a human approves is refunded, and not what else was charged by the same object.
func TestAnApprovalIsOfOneCharge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.orphan(nil)
	r.Payments.Providers["stripe"] = &chargedTwice{r.Payments.Providers["stripe"], 700}
	check(t, r.Approve(t.Context(), d, "alice", "a test charge of the old shop"))
	r.pass(2*time.Hour, 20*time.Minute)
	if got := r.text(`SELECT state || ' ' || attempt || ' ' || (request -> 'amount')::text FROM obligations`); r.refunds() != 1 || !strings.Contains(got, "4321") {
		t.Errorf("%d refunds: %s", r.refunds(), got)
	}
	if got := r.text(`SELECT sum(amount_minor)::text FROM ledger_entries WHERE account = 'obligations'`); got != "0" {
		t.Errorf("obligations stand at %s", got)
	}
}

func TestAnOrphanIsLeftWhereItIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.orphan(nil)
	if err := r.Resolve(t.Context(), d, "alice", "whatever", false); !fault.Is(err, fault.InvalidState) {
		t.Errorf("resolved as if it were no orphan: %v", err)
	}
	check(t, r.Reject(t.Context(), d, "alice", "another shop's"))
	r.hourly(5 * time.Hour)
	r.wantDifferences()
	r.wantSums() // the difference explains the sums, though it is resolved
	if got := r.text(`SELECT state FROM obligations`); got != "rejected" || r.refunds() != 0 {
		t.Errorf("rejected: %s, %d refunds", got, r.refunds())
	}
	r.wantQuiet()
}

// An orphan may name a payment that there is not: one of a database that was lost, say.
func TestAnOrphanThatNamesAPaymentIsRefundedToo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.orphan(map[string]string{"tollgate_payment": id.Payment.External(r.NewID())})
	check(t, r.Approve(t.Context(), d, "alice", "of the database that burnt"))
	r.pass(2*time.Hour, 20*time.Minute)
	if got := r.text(`SELECT state FROM obligations`); got != "done" || r.refunds() != 1 {
		t.Errorf("approved: %s, %d refunds", got, r.refunds())
	}
}

// What turns out to be a payment's is none, and nothing is refunded.
func TestAnOrphanThatFindsItsPaymentIsNone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.orphan(nil)
	object := r.text(`SELECT object_id FROM differences`)
	p := r.card(4321, "manual")
	r.exec(`INSERT INTO provider_facts (provider, object_id, state, transaction_id, kind, rank, amount_minor, currency, effect, source, evidence_id,
		occurred_at, recorded_at) VALUES ('stripe', $1, 'succeeded', $2, 'capture', 2, 4321, 'USD', 'applied', 'test', $3, $4, $4)`, object, p.ID, r.NewID(), r.Now())
	r.reconcileOnce()
	if got := r.text(`SELECT kind || ' ' || state || ' ' || coalesce(resolution, '') FROM differences WHERE id = $1`, d); got != "orphan RESOLVED agrees" {
		t.Errorf("the orphan is %s", got)
	}
	if got := r.text(`SELECT state FROM obligations`); got != "rejected" {
		t.Errorf("its obligation is %s", got)
	}
	r.wantDifferences("ledger stripe 4321 USD 0 USD") // the fact of this test was posted nowhere
	if err := r.Approve(t.Context(), d, "alice", "too late"); !fault.Is(err, fault.InvalidState) {
		t.Errorf("approved afterwards: %v", err)
	}
}

// The database itself refuses to release an orphan that nobody has approved.
func TestNoOrphanIsReleasedWithoutApproval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.orphan(nil)
	if _, err := r.Pool.Exec(t.Context(), `UPDATE obligations SET state = 'open', due_at = $1`, r.Now()); err == nil {
		t.Error("opened without an approval")
	}
}

func TestDifferencesAreAssignedResolvedAndWrittenOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.card(5000, "automatic")
	r.card(6000, "automatic")
	for _, object := range r.strings(`SELECT object_id FROM provider_facts WHERE kind = 'capture' ORDER BY amount_minor`) {
		check(t, r.stripe.Plant(providersim.Plant{What: providersim.PlantAmount, Object: object, By: -50}))
	}
	r.hourly(2 * time.Hour)
	r.wantDifferences("amount stripe 5000 USD 4950 USD", "amount stripe 6000 USD 5950 USD")
	all, err := List(t.Context(), r.Pool, Filter{State: Open, Kind: Amount, Provider: "stripe", MerchantID: r.shop.MerchantID})
	check(t, err)
	if len(all) != 2 {
		t.Fatalf("%d differences", len(all))
	}
	check(t, r.Assign(t.Context(), all[0].ID, "carol", "alice"))
	check(t, r.Resolve(t.Context(), all[0].ID, "carol", "their mistake; they wrote", false))
	check(t, r.Resolve(t.Context(), all[1].ID, "alice", "too little to argue", true))
	r.wantSums()
	r.hourly(5 * 24 * time.Hour)
	r.wantDifferences()
	r.wantSums()
	r.wantQuiet()
	d, err := Get(t.Context(), r.Pool, all[0].ID)
	check(t, err)
	if d.Owner != "carol" || d.Resolution != Explained || d.ResolvedBy != "carol" || d.Booked || len(d.Log) != 3 {
		t.Errorf("explained: %+v", d)
	}
	if d, err = Get(t.Context(), r.Pool, all[1].ID); err != nil || d.Resolution != WrittenOff || !d.Booked {
		t.Errorf("written off: %+v, %v", d, err)
	}
	if got := r.text(`SELECT amount_minor::text FROM ledger_entries WHERE kind = 'adjustment' AND account = 'variance'`); got != "50" {
		t.Errorf("variance %s", got)
	}
	for name, err := range map[string]error{
		"resolve": r.Resolve(t.Context(), d.ID, "alice", "again", false), "assign": r.Assign(t.Context(), d.ID, "bob", "alice"),
		"approve": r.Approve(t.Context(), d.ID, "alice", "no orphan"), "reject": r.Reject(t.Context(), d.ID, "alice", "no orphan"),
	} {
		if !fault.Is(err, fault.InvalidState) {
			t.Errorf("%s of a resolved one: %v", name, err)
		}
	}
	if _, err := Get(t.Context(), r.Pool, r.NewID()); !fault.Is(err, fault.NotFound) {
		t.Errorf("one that there is not: %v", err)
	}
	if _, err := List(t.Context(), r.Pool, Filter{Kind: "weather"}); !fault.Is(err, fault.InvalidRequest) {
		t.Errorf("of no kind: %v", err)
	}
}

func TestAnOrphanAtPayPalIsRefundedToo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.wallet(3000)
	check(t, r.paypal.Plant(providersim.Plant{
		What: providersim.PlantOrphan, Currency: "usd", Amount: 4321, Metadata: map[string]string{"custom_id": "their order 17"},
	}))
	r.hourly(5 * time.Hour)
	r.wantDifferences("orphan paypal 0 USD 4321 USD")
	d, err := id.Parse(r.text(`SELECT id::text FROM differences WHERE kind = 'orphan'`))
	check(t, err)
	check(t, r.Approve(t.Context(), d, "alice", "of the shop that was sold"))
	r.wantSums()
	r.pass(2*time.Hour, 20*time.Minute)
	if got := r.text(`SELECT state FROM obligations`); got != "done" || r.paypal.Counters()["effect.refund"] != 1 {
		t.Errorf("approved: %s, %d refunds", got, r.paypal.Counters()["effect.refund"])
	}
	r.hourly(2 * 24 * time.Hour)
	r.wantDifferences()
	r.wantSums()
}
