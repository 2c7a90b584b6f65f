package main

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/settlement/settlementtest"
)

// A night leaves a payment out, another fails and is tried again by an operator, who looks
// at all of it.
func TestSettlementsAreShownRunAndTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	if out := r.ops("settlements", "list"); !strings.Contains(out, "No settlement has run yet") {
		t.Errorf("before the first: %s", out)
	}
	shop, err := id.Merchant.Parse(m.Merchant)
	if err != nil {
		t.Fatal(err)
	}
	if err := settlementtest.Plant(t.Context(), r.pool, settlementtest.Seed{Name: "a", Merchant: shop, Payments: 3, Fee: 10, At: epoch}); err != nil {
		t.Fatal(err)
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := r.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '55000'; END $$`)
	exec(`CREATE TRIGGER poison BEFORE UPDATE ON transactions FOR EACH ROW EXECUTE FUNCTION poison()`)

	r.refused(exitFailed, "not due before", "settlements", "run", "--date", "2027-03-02")
	r.refused(exitUsage, "--date", "settlements", "run")
	r.refused(exitUsage, "is not a date", "settlements", "show", "today")
	r.refused(exitFailed, "there was no settlement run", "settlements", "retry", "2027-03-02")
	r.advance(24 * time.Hour)
	if out := r.ops("settlements", "run", "--date", "2027-03-02"); !strings.Contains(out, "by the task") {
		t.Errorf("run: %s", out)
	}
	r.advance(time.Second)
	r.refused(exitFailed, "only one that has failed", "settlements", "retry", "2027-03-02")
	r.advance(20 * time.Minute)
	shown := asked[shownRun](r, "settlements", "show", "2027-03-02")
	if shown.Status != "FAILED" || shown.Payments != 3 || shown.Settled != 0 || len(shown.Alerts) != 1 || shown.Alerts[0].Kind != "settlement_failed" {
		t.Errorf("when it failed: %+v", shown)
	}
	if out := r.ops("settlements", "show", "2027-03-02"); !strings.Contains(out, "poison") || !strings.Contains(out, "settlement_failed") {
		t.Errorf("when it failed:\n%s", out)
	}

	exec(`DROP TRIGGER poison ON transactions`)
	exec(`CREATE OR REPLACE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '23514'; END $$`)
	exec(`CREATE TRIGGER poison BEFORE UPDATE ON transactions FOR EACH ROW WHEN (NEW.captured_minor = 1001) EXECUTE FUNCTION poison()`)
	r.ops("settlements", "retry", "2027-03-02")
	r.advance(time.Second)
	shown = asked[shownRun](r, "settlements", "show", "2027-03-02")
	if shown.Status != "SUCCEEDED" || shown.Attempt != 2 || shown.Settled != 2 || shown.Skipped != 1 || len(shown.LeftOut) != 1 || shown.LeftOut[0].Type != "23514" {
		t.Errorf("when it was tried again: %+v", shown)
	}
	if len(shown.List) != 1 || shown.List[0].Net != 1000+1002-20 || shown.List[0].Merchant != m.Merchant {
		t.Fatalf("its settlements: %+v", shown.List)
	}
	csv := r.ops("settlements", "csv", shown.List[0].ID)
	if sum := sha256.Sum256([]byte(csv)); hex.EncodeToString(sum[:]) != shown.List[0].Manifest {
		t.Errorf("the hash %s is not of\n%s", shown.List[0].Manifest, csv)
	}
	if out := r.ops("settlements", "list"); !strings.Contains(out, "2027-03-02") || !strings.Contains(out, "SUCCEEDED") {
		t.Errorf("in the end:\n%s", out)
	}
	if out := r.ops("settlements", "run", "--date", "2027-03-02"); !strings.Contains(out, "nothing to do") {
		t.Errorf("again: %s", out)
	}
	r.refused(exitFailed, "there is no stl_", "settlements", "csv", id.Settlement.External(r.payments.NewID()))
}

// shownRun is what settlements show tells a program.
type shownRun struct {
	Status, Date               string
	Attempt                    int
	Payments, Settled, Skipped int
	List                       []struct {
		ID       string
		Merchant string `json:"merchant_id"`
		Net      int    `json:"net_minor"`
		Manifest string `json:"manifest_sha256"`
	} `json:"settlement_list"`
	LeftOut []struct {
		Type string `json:"error_type"`
	} `json:"left_out"`
	Alerts []struct{ Kind string }
}

func TestAMerchantsDayIsSet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	r.ops("merchants", "settle", m.Merchant, "--timezone", "America/New_York", "--cutoff", "18:30")
	var got string
	if err := r.pool.QueryRow(t.Context(), `SELECT timezone || ' ' || settlement_cutoff FROM merchants`).Scan(&got); err != nil || got != "America/New_York 18:30:00" {
		t.Errorf("%s, %v", got, err)
	}
	r.refused(exitUsage, "--timezone", "merchants", "settle", m.Merchant)
	r.refused(exitFailed, "not a time zone", "merchants", "settle", m.Merchant, "--timezone", "Mars/Olympus")
	r.refused(exitFailed, "not a time of day", "merchants", "settle", m.Merchant, "--timezone", "UTC", "--cutoff", "25:00")
}
