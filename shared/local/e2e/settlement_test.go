package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/money"
)

// settled is what these tests read of a settlement.
type settled struct {
	ID           string `json:"id"`
	Status       string `json:"status"`
	Currency     string `json:"currency"`
	BusinessDate string `json:"business_date"`
	Captured     int64  `json:"captured_amount"`
	Refunded     int64  `json:"refunded_amount"`
	Fee          int64  `json:"fee_amount"`
	Disputed     int64  `json:"disputed_amount"`
	Net          int64  `json:"net_amount"`
	Payments     int64  `json:"payment_count"`
	Lines        int64  `json:"line_count"`
	Digest       string `json:"manifest_sha256"`
}

// settlements lists what there is, the newest first.
func (w *world) settlements(query string) []settled {
	w.t.Helper()
	var page struct {
		Data []settled `json:"data"`
	}
	if err := w.get(http.StatusOK, "/v1/settlements"+query).http.Into(&page); err != nil {
		w.t.Fatal(err)
	}
	return page.Data
}

// tokyo moves the clock to the next time that clocks in Tokyo show this.
func (w *world) tokyo(hour, minute int) {
	w.t.Helper()
	now := w.Clock.Now().Add(9 * time.Hour) // as UTC, what clocks show there
	then := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, 0, 0, time.UTC)
	if !then.After(now) {
		then = then.AddDate(0, 0, 1)
	}
	w.advance(then.Sub(now))
}

// captured makes a payment and captures all of it.
func (w *world) captured(method string, more body) answer {
	w.t.Helper()
	p := w.post(http.StatusCreated, "/v1/payments", pay(method, more))
	return w.post(http.StatusOK, "/v1/payments/"+p.ID+"/capture", body{})
}

func (w *world) refund(p answer, amount int64) {
	w.t.Helper()
	if r := w.post(http.StatusCreated, "/v1/payments/"+p.ID+"/refund", body{"amount": amount}); r.Status != "SUCCEEDED" {
		w.t.Errorf("the refund is %v", r)
	}
}

func (w *world) wantStatus(p answer, status string) {
	w.t.Helper()
	if got := w.read(p); got.Status != status {
		w.t.Errorf("%s is %v, want %s", p.ID, got.Status, status)
	}
}

// charge has the merchant pay for each capture at Stripe, in hundredths of a percent.
func (w *world) charge(currency string, basisPoints int64) {
	w.t.Helper()
	now := w.Clock.Now()
	err := ledger.SetSchedule(w.t.Context(), w.DB, ledger.Schedule{
		MerchantID: w.merchantID, Provider: "stripe", Currency: money.MustParseCurrency(currency), BasisPoints: basisPoints,
		Rounding: ledger.HalfUp, EffectiveFrom: now,
	}, now)
	if err != nil {
		w.t.Fatal(err)
	}
}

// The night of a business day, by the real scheduler, functions and queue, which does half of its tasks twice: what was
// booked before midnight in Tokyo is settled at two, what came after it a night later, and all of it once.
func TestASettlementNight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{SweepSchedule: rarely, TasksChaos: cloudtasks.Chaos{Seed: 5, TwiceOneIn: 2}})
	w.charge("JPY", 360)
	whole, part := w.captured("pm_card_visa", nil), w.captured("pm_card_visa", body{"amount": 3000})
	dollars := w.captured("pm_card_visa", body{"amount": 2500, "currency": "USD"})
	back := w.captured("pm_card_visa", body{"amount": 700})
	held := w.post(http.StatusCreated, "/v1/payments", pay("pm_card_visa", nil))
	w.refund(part, 1000)
	w.refund(back, 700)

	w.tokyo(0, 30)
	late := w.captured("pm_card_visa", body{"amount": 900})
	w.tokyo(2, 10)

	for p, status := range map[*answer]string{
		&whole: "SETTLED", &part: "SETTLED", &dollars: "SETTLED", &back: "REFUNDED", &held: "AUTHORIZED", &late: "CAPTURED",
	} {
		w.wantStatus(*p, status)
	}
	w.wantEvents(whole, "payment.authorized", "payment.captured", "payment.settled")
	w.wantEvents(part, "payment.authorized", "payment.captured", "refund.created", "refund.succeeded", "payment.settled")
	first := w.settlements("?currency=JPY")
	if len(first) != 1 || len(w.settlements("")) != 2 {
		t.Fatalf("settlements %+v", w.settlements(""))
	}
	want := settled{
		ID: first[0].ID, Status: "COMPLETED", Currency: "JPY", BusinessDate: "2026-11-24", Captured: 8700, Refunded: 1700,
		Fee: 180 + 108 + 25, Net: 6687, Payments: 3, Lines: 8, Digest: first[0].Digest,
	}
	if diff := cmp.Diff(want, first[0]); diff != "" {
		t.Errorf("the night's settlement (-want +got):\n%s", diff)
	}
	w.wantFile(first[0])
	w.wantCompleted(first[0].ID, w.settlements("?currency=USD")[0].ID)

	// Six o'clock finds the night's work done, and so does who runs it by hand.
	w.tokyo(6, 10)
	if err := w.RunJob(t.Context(), "settle"); err != nil {
		t.Error(err)
	}
	w.settle()
	if n := w.count(`SELECT count(*) FROM batch_job_executions WHERE status = 'SUCCEEDED' AND attempt = 1`); n != 1 || len(w.settlements("")) != 2 {
		t.Errorf("%d runs succeeded at their first attempt, and there are %d settlements", n, len(w.settlements("")))
	}

	// What happens to a settled payment is settled a night later, with what came too late.
	w.refund(whole, 500)
	w.tokyo(2, 10)
	next := w.settlements("?currency=JPY")
	if len(next) != 2 || next[0].BusinessDate != "2026-11-25" || next[0].Captured != 900 || next[0].Refunded != 500 || next[0].Net != 900-500-32 {
		t.Errorf("the next night's settlement: %+v", next)
	}
	w.wantStatus(late, "SETTLED")
	w.wantStatus(whole, "SETTLED")
	w.wantFile(next[0])
	w.wantBooks()
}

// wantFile holds the settlement's file to its digest, and to its sums.
func (w *world) wantFile(s settled) {
	w.t.Helper()
	a := w.get(http.StatusOK, "/v1/settlements/"+s.ID)
	file, err := w.Get(w.t.Context(), "/v1/settlements/"+s.ID+"/csv")
	if err != nil || file.Status != http.StatusOK {
		w.t.Fatalf("the file: %d, %v", file.Status, err)
	}
	if sum := sha256.Sum256(file.Body); hex.EncodeToString(sum[:]) != s.Digest {
		w.t.Errorf("the file's digest is not that of %s", a)
	}
	rows, err := csv.NewReader(strings.NewReader(string(file.Body))).ReadAll()
	if err != nil || int64(len(rows)) != s.Lines+1 {
		w.t.Fatalf("the file has %d rows, %v", len(rows), err)
	}
	net := int64(0)
	for _, row := range rows[1:] {
		for i, title := range rows[0] {
			if title == "amount" {
				amount, err := strconv.ParseInt(row[i], 10, 64)
				if err != nil {
					w.t.Error(err)
				}
				net += amount
			}
		}
	}
	if net != s.Net {
		w.t.Errorf("the file's lines add up to %d, the settlement to %d", net, s.Net)
	}
}

// wantCompleted waits until the shop was told of these settlements, each by one event, however often that came.
func (w *world) wantCompleted(ids ...string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	told, want := map[string]int{}, map[string]int{}
	err := w.shop.Await(ctx, func(all []shop.Webhook) bool {
		clear(told)
		events := map[string]bool{}
		for _, r := range all {
			if r.Type == "settlement.completed" && r.Err == nil && !events[r.ID] {
				events[r.ID] = true
				told[r.SettlementID]++
			}
		}
		return len(told) >= len(ids)
	})
	for _, id := range ids {
		want[id] = 1
	}
	if diff := cmp.Diff(want, told); diff != "" {
		w.t.Errorf("settlements that the shop was told of (-want +got, %v):\n%s", err, diff)
	}
}

// wantBooks holds the ledger to itself and to what was settled.
func (w *world) wantBooks() {
	w.t.Helper()
	if n := w.count(`SELECT count(*) FROM (SELECT 1 FROM ledger_entries GROUP BY posting_id, currency HAVING sum(amount_minor) <> 0) s`); n != 0 {
		w.t.Errorf("%d postings do not balance", n)
	}
	if n := w.count(`SELECT count(*) FROM unsettled_entries`); n != 0 {
		w.t.Errorf("%d entries wait to be settled", n)
	}
	if n := w.count(`SELECT coalesce(sum(amount_minor), 0) FROM ledger_entries WHERE account = 'payable'`); n != 0 {
		w.t.Errorf("after all was settled %d are payable", n)
	}
}
