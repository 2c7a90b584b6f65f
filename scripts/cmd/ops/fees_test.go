package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/payment"
)

func TestFeesAreSetAndCharged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	if out := r.ops("fees", "list", m.Merchant); !strings.Contains(out, "pays no fees") {
		t.Errorf("at first:\n%s", out)
	}
	if out := r.ops("balances", "list"); !strings.Contains(out, "Nothing was posted") {
		t.Errorf("at first:\n%s", out)
	}
	set := []string{"fees", "set", m.Merchant, "--provider", "stripe", "--currency", "JPY"}
	r.ops(append(set, "--basis-points", "1000")...)
	r.advance(time.Hour)
	r.ops(append(set, "--basis-points", "360", "--fixed", "30", "--rounding", "up", "--refunds-return-it", "--dispute-fee", "1500")...)
	r.ops(append(set, "--from", "2027-04-01T00:00:00+09:00")...)

	type fee struct {
		Points  int64  `json:"basis_points"`
		Force   string `json:"in_force"`
		Dispute int64  `json:"dispute_fee_minor"`
	}
	want := []fee{{0, feeToCome, 0}, {360, feeNow, 1500}, {1000, feePast, 0}}
	got := asked[[]fee](r, "fees", "list", m.Merchant)
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("listed: %+v, want %+v", got, want)
	}

	r.captured(m)
	type balance struct {
		Merchant, Account string
		Amount            int64 `json:"amount_minor"`
	}
	stands := map[string]int64{}
	for _, b := range asked[[]balance](r, "balances", "list", "--merchant", m.Merchant, "--provider", "stripe", "--currency", "JPY") {
		stands[b.Account] = b.Amount
	}
	if len(stands) != 3 || stands["receivable"] != 5000 || stands["payable"] != -4790 || stands["fees"] != -210 {
		t.Errorf("after a capture of 5000: %v", stands)
	}
	for what, args := range map[string][]string{
		"another merchant": {"--merchant", r.merchant().Merchant}, "another provider": {"--provider", "bank"}, "another currency": {"--currency", "USD"},
	} {
		if b := asked[[]balance](r, append([]string{"balances", "list"}, args...)...); len(b) != 0 {
			t.Errorf("%s has %+v", what, b)
		}
	}
}

func TestFeesThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	set := []string{"fees", "set", r.merchant().Merchant, "--provider", "stripe"}
	r.refused(exitUsage, "--currency", set...)
	r.refused(exitUsage, "ISO 4217", append(set, "--currency", "yen")...)
	set = append(set, "--currency", "JPY")
	r.refused(exitFailed, "basis_points", append(set, "--basis-points", "10001")...)
	r.refused(exitFailed, "fixed_minor", append(set, "--fixed", "-1")...)
	r.refused(exitFailed, "dispute_fee_minor", append(set, "--dispute-fee", "-1")...)
	r.refused(exitFailed, "rounding", append(set, "--rounding", "nearest")...)
	r.refused(exitFailed, "past", append(set, "--from", "2027-02-01T00:00:00Z")...)
	r.refused(exitUsage, "--from", append(set, "--from", "tomorrow")...)
	r.refused(exitFailed, "no such merchant", "fees", "set", "01890000-0000-7000-8000-000000000000", "--provider", "stripe", "--currency", "JPY")
	r.ops(set...)
	r.refused(exitFailed, "choose another time", set...)
}

// captured makes a payment of 5000 yen and captures it.
func (r *rig) captured(m made) {
	r.t.Helper()
	merchantID, err := id.Merchant.Parse(m.Merchant)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := id.Payment.Parse(r.pay(m))
	if err != nil {
		r.t.Fatal(err)
	}
	request := idempotency.Request{MerchantID: merchantID, Key: "capture-" + p.String(), Method: "POST", Path: "/capture"}
	if _, err := r.payments.Capture(r.t.Context(), payment.Caller{MerchantID: merchantID}, request, p, payment.CaptureParams{}); err != nil {
		r.t.Fatal(err)
	}
}
