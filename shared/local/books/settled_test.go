package books

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// settlement is what the API says of one.
type settlement struct {
	ID       string    `json:"id"`
	Status   string    `json:"status"`
	Currency string    `json:"currency"`
	Date     string    `json:"business_date"`
	CutOff   time.Time `json:"cutoff_at"`
	Captured int64     `json:"captured_amount"`
	Refunded int64     `json:"refunded_amount"`
	Fee      int64     `json:"fee_amount"`
	Disputed int64     `json:"disputed_amount"`
	Adjusted int64     `json:"adjusted_amount"`
	Net      int64     `json:"net_amount"`
	Payments int       `json:"payment_count"`
	Lines    int       `json:"line_count"`
	Digest   string    `json:"manifest_sha256"`
}

// settlements lists a shop's, by page.
func (w *world) settlements(m *tenant) (all []settlement) {
	w.t.Helper()
	for path := "/v1/settlements?limit=5"; path != ""; {
		a, err := m.Get(w.t.Context(), path)
		check(w.t, err)
		var page struct {
			Data   []settlement `json:"data"`
			More   bool         `json:"has_more"`
			Cursor string       `json:"next_cursor"`
		}
		check(w.t, a.Into(&page))
		all = append(all, page.Data...)
		if path = ""; page.More {
			path = "/v1/settlements?limit=5&cursor=" + url.QueryEscape(page.Cursor)
		}
	}
	return all
}

// wantSettlements holds every settlement to its file, its file to the ledger, and all of
// them together to have settled everything once.
func (w *world) wantSettlements() {
	w.t.Helper()
	payable := w.payable()
	for _, m := range w.shops {
		all := w.settlements(m)
		if len(all) < 6 {
			w.t.Errorf("the shop in %s has only %d settlements", m.zone, len(all))
		}
		for _, s := range all {
			w.wantSettlement(m, s, payable)
		}
	}
	for entry, e := range payable {
		w.t.Errorf("%s was not settled: %+v", entry, *e)
	}
	for what, sql := range map[string]string{
		"entries wait to be settled":                `SELECT count(*) FROM unsettled_entries`,
		"postings do not balance":                   `SELECT count(*) FROM (SELECT 1 FROM ledger_entries GROUP BY posting_id, currency HAVING sum(amount_minor) <> 0) s`,
		"merchants are owed what is settled":        `SELECT count(*) FROM (SELECT 1 FROM ledger_entries WHERE account = 'payable' GROUP BY merchant_id, provider, currency HAVING sum(amount_minor) <> 0) s`,
		"runs of settlement did not succeed":        `SELECT count(*) FROM batch_job_executions WHERE status <> 'SUCCEEDED'`,
		"payments were left out of a settlement":    `SELECT count(*) FROM batch_execution_errors`,
		"alerts are open":                           `SELECT count(*) FROM operator_alerts WHERE resolved_at IS NULL`,
		"captured payments are not settled":         `SELECT count(*) FROM transactions WHERE status = 'CAPTURED'`,
		"settlements did not post what they settle": `SELECT count(*) FROM settlements s WHERE net_minor <> (SELECT coalesce(sum(amount_minor), 0) FROM ledger_entries e WHERE e.account = 'payable' AND e.kind = 'settlement' AND e.posting_id = ANY (s.posting_ids))`,
	} {
		var n int
		check(w.t, w.DB.QueryRow(w.t.Context(), sql).Scan(&n))
		if n != 0 {
			w.t.Errorf("%d %s", n, what)
		}
	}
}

// owed is an entry of the ledger that a merchant is to be settled for.
type owed struct {
	merchant, provider, currency, kind string
	amount                             int64
	postedAt                           time.Time
}

// payable is by entry, as manifests name them.
func (w *world) payable() map[string]*owed {
	w.t.Helper()
	rows, err := w.DB.Query(w.t.Context(), `SELECT posting_id || '-' || line, merchant_id::text, provider, currency, kind, -amount_minor, posted_at
		FROM ledger_entries WHERE account = 'payable' AND kind <> 'settlement'`)
	check(w.t, err)
	defer rows.Close()
	all := map[string]*owed{}
	for rows.Next() {
		var name string
		var e owed
		check(w.t, rows.Scan(&name, &e.merchant, &e.provider, &e.currency, &e.kind, &e.amount, &e.postedAt))
		all[name] = &e
	}
	check(w.t, rows.Err())
	return all
}

func (w *world) wantSettlement(m *tenant, s settlement, payable map[string]*owed) {
	w.t.Helper()
	file, err := m.Get(w.t.Context(), "/v1/settlements/"+s.ID+"/csv")
	check(w.t, err)
	if sum := sha256.Sum256(file.Body); file.Status != http.StatusOK || hex.EncodeToString(sum[:]) != s.Digest {
		w.t.Errorf("the manifest of %s (%d) does not have the digest %s", s.ID, file.Status, s.Digest)
	}
	rows, err := csv.NewReader(strings.NewReader(string(file.Body))).ReadAll()
	check(w.t, err)
	if diff := cmp.Diff([]string{"payment", "provider", "kind", "currency", "amount", "posted_at", "entry"}, rows[0]); diff != "" {
		w.t.Fatalf("the manifest's columns: %s", diff)
	}
	got, payments := settlement{ID: s.ID, Status: "COMPLETED", Currency: s.Currency, Digest: s.Digest}, map[string]bool{}
	got.CutOff, got.Date = w.dayEnd(m, s.Date)
	for _, row := range rows[1:] {
		amount, err := strconv.ParseInt(row[4], 10, 64)
		check(w.t, err)
		e := payable[row[6]]
		if e == nil {
			w.t.Errorf("%s settles %s, which is nothing to be settled, or was settled before", s.ID, row[6])
			continue
		}
		delete(payable, row[6])
		if e.merchant != m.id.String() || e.provider != row[1] || e.kind != row[2] || e.currency != row[3] || e.currency != s.Currency ||
			e.amount != amount || !e.postedAt.Before(s.CutOff) {
			w.t.Errorf("%s until %s settles %v of the ledger's %+v", s.ID, s.CutOff, row, *e)
		}
		got.add(e.kind, amount)
		payments[row[0]] = true
	}
	if got.Payments = len(payments); got != s {
		w.t.Errorf("settlement %s by its manifest and by its sums: %s", s.ID, cmp.Diff(got, s))
	}
}

func (s *settlement) add(kind string, amount int64) {
	s.Net += amount
	s.Lines++
	switch kind {
	case "capture":
		s.Captured += amount
	case "refund", "refund_failed":
		s.Refunded -= amount
	case "fee":
		s.Fee -= amount
	case "dispute_opened", "dispute_won":
		s.Disputed -= amount
	default:
		s.Adjusted += amount
	}
}

// dayEnd is when a shop's business day ended, by the clock on its wall.
func (w *world) dayEnd(m *tenant, date string) (time.Time, string) {
	w.t.Helper()
	zone, err := time.LoadLocation(m.zone)
	check(w.t, err)
	end, err := time.ParseInLocation(time.DateOnly+" 15:04", fmt.Sprintf("%s %s", date, m.cutoff), zone)
	check(w.t, err)
	if m.cutoff == "00:00" { // which is the end of that date
		end = end.AddDate(0, 0, 1)
	}
	return end.UTC(), date
}
