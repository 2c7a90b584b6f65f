package audit_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/audit/vault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/payment"
)

// rig is an audit of a real log: payments by the core, in front of a simulated provider.
type rig struct {
	*apitest.World
	*audit.Service
	t      *testing.T
	folder string
	keys   int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	w := apitest.New(t)
	folder := t.TempDir()
	return &rig{World: w, t: t, folder: folder, Service: &audit.Service{
		Pool: w.Pool, Vault: vault.Folder(folder), Now: w.Clock.Now, NewID: w.Env.NewID, Log: w.Env.Log, Batch: 3,
	}}
}

// trade makes some payments of a merchant, each with a refund: several rows of the log.
func (r *rig) trade(merchant id.ID, payments int) {
	r.t.Helper()
	core := r.Core()
	for range payments {
		r.Advance(time.Second)
		p := r.pay(core, merchant)
		caller := payment.Caller{MerchantID: merchant, KeyID: r.Env.NewID()}
		if _, err := core.Refund(r.t.Context(), caller, r.request(merchant, "/refund"), p, payment.RefundParams{Reason: "changed their mind"}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) pay(core *payment.Service, merchant id.ID) id.ID {
	r.t.Helper()
	caller := payment.Caller{MerchantID: merchant, KeyID: r.Env.NewID()}
	_, err := core.Create(r.t.Context(), caller, r.request(merchant, "/v1/payments"), payment.CreateParams{
		Amount: 5000, Currency: "JPY", PaymentMethod: "pm_card_visa", CaptureMethod: "automatic", Description: "Tea",
	})
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := id.Parse(r.text(`SELECT id::text FROM transactions WHERE merchant_id = $1 ORDER BY id DESC LIMIT 1`, merchant))
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) request(merchant id.ID, path string) idempotency.Request {
	r.keys++
	return idempotency.Request{MerchantID: merchant, Key: r.Env.NewID().String(), Method: "POST", Path: path}
}

// close moves the clock on and closes what ended more than an hour ago. A transaction of
// another test may be open meanwhile, and is waited for, as the next run would.
func (r *rig) close() {
	r.t.Helper()
	r.Advance(2 * time.Hour)
	for {
		_, err := r.ClosePeriods(r.t.Context())
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "still open") {
			r.t.Fatal(err)
		}
	}
}

// verify lists what a whole verification finds.
func (r *rig) verify() (audit.Totals, []audit.Finding) {
	r.t.Helper()
	var found []audit.Finding
	totals, err := r.VerifyAll(r.t.Context(), func(f audit.Finding) { found = append(found, f) })
	if err != nil {
		r.t.Fatal(err)
	}
	return totals, found
}

// want holds the findings to the expected ones, each the beginning of a subject.
func (r *rig) want(want ...string) {
	r.t.Helper()
	_, found := r.verify()
	rest := slices.Clone(want)
	for _, f := range found {
		i := slices.IndexFunc(rest, func(w string) bool { return strings.HasPrefix(f.Subject(), w) })
		if i < 0 {
			r.t.Errorf("found %s", f)
			continue
		}
		rest = slices.Delete(rest, i, i+1)
	}
	for _, w := range rest {
		r.t.Errorf("did not find %s", w)
	}
}

// tamper does what only a superuser can who wants to.
func (r *rig) tamper(sql string) {
	r.t.Helper()
	_, err := r.World.Pool.Exec(context.Background(), "SET session_replication_role = replica; "+sql+"; SET session_replication_role = origin")
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) text(sql string, args ...any) string {
	r.t.Helper()
	var s string
	if err := r.World.Pool.QueryRow(r.t.Context(), sql, args...).Scan(&s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// row is the key of the nth row of the shop's log, in the order of sealing, as findings spell it.
func (r *rig) row(n int) string {
	return r.text(`SELECT id::text FROM transaction_audit_log WHERE merchant_id = $1 ORDER BY at, transaction_id, id OFFSET $2 LIMIT 1`, r.Shop, n)
}

func (r *rig) paymentOf(row string) string {
	return r.text(`SELECT transaction_id::text FROM transaction_audit_log WHERE id = $1::uuid`, row)
}

// file is the path of one of the shop's seals.
func (r *rig) file(number string) string {
	return filepath.Join(r.folder, "merchants", r.Shop.String(), "0000000"+number+".json")
}

func (r *rig) rewrite(path string, change func(string) string) {
	r.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	changed := change(string(text))
	if changed == string(text) {
		r.t.Fatalf("%s is not changed", path)
	}
	r.remove(path)
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) remove(path string) {
	r.t.Helper()
	if err := os.Remove(path); err != nil {
		r.t.Fatal(err)
	}
}
