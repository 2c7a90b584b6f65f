package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/reconcile"
)

// reconcile does what the function of that name does.
func (r *rig) reconcile() {
	r.t.Helper()
	s := &reconcile.Service{
		Pool: r.pool, Payments: r.payments, Now: r.clock.Now, NewID: r.payments.NewID, Settings: reconcile.Default(),
		Log: slog.New(slog.DiscardHandler), Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	if _, err := s.Run(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// payAndCapture makes a payment of 5000 JPY that is captured.
func (r *rig) payAndCapture(m made) {
	r.t.Helper()
	merchantID, err := id.Merchant.Parse(m.Merchant)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := id.Payment.Parse(r.pay(m))
	if err != nil {
		r.t.Fatal(err)
	}
	request := idempotency.Request{MerchantID: merchantID, Key: "key-of-the-capture-" + p.String(), Method: "POST", Path: "/capture"}
	if _, err := r.payments.Capture(r.t.Context(), payment.Caller{MerchantID: merchantID, KeyID: r.payments.NewID()}, request, p, payment.CaptureParams{}); err != nil {
		r.t.Fatal(err)
	}
}

type shownDifference struct {
	ID         string
	Kind       string
	State      string
	Owner      string
	Resolution string
	ResolvedBy string `json:"resolved_by"`
	Note       string
	Expected   int64  `json:"expected_minor"`
	Actual     int64  `json:"actual_minor"`
	Obligation string `json:"obligation_id"`
	Evidence   json.RawMessage
	Log        []struct{ Action, Actor string }
}

func TestDifferencesAreHandledByThoseWhoSayWhy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.refused(exitUsage, "no command", "differences", "burn")
	if out := r.ops("differences", "list"); !strings.Contains(out, "Nothing differs.") {
		t.Errorf("before anything: %s", out)
	}
	if out := r.ops("differences", "sums"); !strings.Contains(out, "No provider's report") {
		t.Errorf("before anything: %s", out)
	}
	m := r.merchant()
	r.payAndCapture(m)
	for _, p := range []providersim.Plant{
		{What: providersim.PlantAmount, By: 100},
		{What: providersim.PlantOrphan, Amount: 4321, Currency: "jpy"},
		{What: providersim.PlantOrphan, Amount: 1234, Currency: "jpy"},
	} {
		if err := r.sim.Plant(p); err != nil {
			t.Fatal(err)
		}
	}
	r.advance(2 * time.Hour)
	r.reconcile()
	all := asked[[]shownDifference](r, "differences", "list")
	if len(all) != 3 {
		t.Fatalf("listed %+v", all)
	}
	by := map[int64]shownDifference{}
	for _, d := range all {
		by[d.Actual] = d
	}
	amount, theirs, old := by[5100], by[4321], by[1234]
	if amount.Kind != "amount" || theirs.Kind != "orphan" || old.Kind != "orphan" || amount.Owner != "operations" {
		t.Fatalf("listed %+v", all)
	}
	if table := r.ops("differences", "list", "--kind", "amount", "--merchant", m.Merchant, "--provider", "stripe", "--owner", "operations"); !strings.Contains(table, "5000 JPY") || strings.Contains(table, "4321") {
		t.Errorf("the table:\n%s", table)
	}
	r.refused(exitUsage, "--who NAME", "differences", "resolve", amount.ID, "--why", "x")
	r.refused(exitUsage, "--why TEXT", "differences", "resolve", amount.ID, "--who", "alice")
	r.refused(exitUsage, "--to NAME", "differences", "assign", amount.ID, "--who", "alice")
	r.refused(exitUsage, "UUID", "differences", "show", "17")
	r.refused(exitFailed, "only orphans", "differences", "approve", amount.ID, "--why", "x", "--who", "alice")
	r.ops("differences", "assign", amount.ID, "--to", "bob", "--who", "alice")
	r.ops("differences", "resolve", amount.ID, "--why", "they corrected it", "--who", "bob", "--write-off")
	r.ops("differences", "approve", theirs.ID, "--why", "a test of the old shop", "--who", "alice")
	r.ops("differences", "reject", old.ID, "--why", "not ours", "--who", "alice")
	if left := asked[[]shownDifference](r, "differences", "list"); len(left) != 0 {
		t.Errorf("still open: %+v", left)
	}
	if every := asked[[]shownDifference](r, "differences", "list", "--all"); len(every) != 3 {
		t.Errorf("with --all: %+v", every)
	}
	shown := asked[shownDifference](r, "differences", "show", amount.ID)
	if shown.Resolution != "written_off" || shown.ResolvedBy != "bob" || shown.Note != "they corrected it" || len(shown.Log) != 3 ||
		shown.Log[1].Actor != "alice" || !strings.Contains(string(shown.Evidence), "another amount") {
		t.Errorf("shown %+v", shown)
	}
	text := r.ops("differences", "show", theirs.ID)
	for _, words := range []string{"approved", "alice", "a test of the old shop", "obligation", `"why": "no payment of ours has this charge"`} {
		if !strings.Contains(text, words) {
			t.Errorf("%q is not shown:\n%s", words, text)
		}
	}
	if out := r.ops("obligations", "list"); !strings.Contains(out, "orphan") || !strings.Contains(out, "4321") || strings.Contains(out, "1234") {
		t.Errorf("obligations:\n%s", out)
	}
	for _, sum := range asked[[]struct {
		Unexplained int64 `json:"unexplained_minor"`
	}](r, "differences", "sums") {
		if sum.Unexplained != 0 {
			t.Errorf("%d are not explained", sum.Unexplained)
		}
	}
}
