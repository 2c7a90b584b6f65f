package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/audit/vault"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// closeDay seals what the log has, as verifyaudit does.
func (r *rig) closeDay() {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.root, stateFile))
	if err != nil {
		r.t.Fatal(err)
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		r.t.Fatal(err)
	}
	c, err := config.Load[vault.Config](s.settings())
	if err != nil {
		r.t.Fatal(err)
	}
	seals, err := vault.Open(r.t.Context(), c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.advance(2 * time.Hour)
	auditor := &audit.Service{Pool: r.pool, Vault: seals, Now: r.clock.Now, NewID: r.payments.NewID, Log: slog.New(slog.DiscardHandler)}
	for {
		_, err := auditor.ClosePeriods(r.t.Context())
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "still open") { // a transaction of another test
			r.t.Fatal(err)
		}
	}
}

func TestTheAuditLogIsVerified(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	r.pay(m)
	r.closeDay()
	if out := r.ops("audit", "verify"); !strings.Contains(out, "Held 2 rows of 1 merchants' logs against 1 seals, and 1 payments against their log: 0 findings.") {
		t.Errorf("verified: %s", out)
	}
	if got := asked[verification](r, "audit", "verify", "--merchant", m.Merchant); got.Rows != 2 || len(got.Found) != 0 {
		t.Errorf("of the merchant: %+v", got)
	}
	if _, err := r.pool.Exec(t.Context(), `
		SET session_replication_role = replica;
		UPDATE transaction_audit_log SET actor = 'operator:nobody' WHERE version = 2;
		SET session_replication_role = origin`); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{nil, {"--json"}, {"--merchant", m.Merchant}} {
		s := r.try(append([]string{"audit", "verify"}, more...)...)
		if s.code != exitFailed || !strings.Contains(s.out, "row_rewritten") || !strings.Contains(s.problems, "do not agree") {
			t.Errorf("tampered with, %v: %d %s%s", more, s.code, s.out, s.problems)
		}
	}
}

func TestTheAuditLogGivesADatabaseBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	r.pay(m)
	r.pay(m)
	r.refused(exitUsage, "--into URL", "audit", "rebuild")
	if out := r.ops("audit", "rebuild", "--into", pgtest.New(t)); !strings.Contains(out, "2 transactions") || !strings.Contains(out, "Every row is equal.") {
		t.Errorf("rebuilt: %s", out)
	}
	if _, err := r.pool.Exec(t.Context(), `
		SET session_replication_role = replica;
		DELETE FROM transaction_audit_log WHERE id = (SELECT id FROM transaction_audit_log WHERE version = 2 LIMIT 1);
		SET session_replication_role = origin`); err != nil {
		t.Fatal(err)
	}
	s := r.try("audit", "rebuild", "--into", pgtest.New(t))
	if s.code != exitFailed || strings.Count(s.out, "not equal: transactions ") != 1 || !strings.Contains(s.problems, "does not give 1 rows back") {
		t.Errorf("without a row: %d %s%s", s.code, s.out, s.problems)
	}
}

func TestPersonalDataIsErased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	merchantID, err := id.Merchant.Parse(r.merchant().Merchant)
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.payments.Create(context.Background(), payment.Caller{MerchantID: merchantID, KeyID: r.payments.NewID()},
		idempotency.Request{MerchantID: merchantID, Key: "a-key-of-sixteen-or-more", Method: "POST", Path: "/v1/payments"},
		payment.CreateParams{Amount: 5000, Currency: "JPY", PaymentMethod: "pm_card_visa", CaptureMethod: "manual", Description: "For Ada"})
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ ID string }
	if err := json.Unmarshal(a.Body, &p); err != nil {
		t.Fatal(err)
	}
	r.refused(exitUsage, "--payment", "personal", "erase", "--why", "request 17")
	r.refused(exitUsage, "--why", "personal", "erase", "--payment", p.ID)
	out := r.ops("personal", "erase", "--payment", p.ID, "--why", "request 17")
	if !strings.Contains(out, "Erased: 1 records") || !strings.Contains(out, "Kept as evidence: 1 raw messages") || !strings.Contains(out, "backups") {
		t.Errorf("erased: %s", out)
	}
	if got := asked[payment.Erasure](r, "personal", "erase", "--payment", p.ID, "--why", "request 17", "--evidence"); got.Records != 0 || got.Evidence != 1 || got.Remaining != 0 {
		t.Errorf("erased with the evidence: %+v", got)
	}
	r.refused(exitFailed, "no such payment", "personal", "erase", "--payment", id.Payment.External(r.payments.NewID()), "--why", "x")
}
