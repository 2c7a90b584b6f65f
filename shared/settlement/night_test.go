package settlement

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event/eventtest"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/settlement/settlementtest"
)

// post posts something about a payment of the shop.
func (r *rig) post(db postgres.DB, kind ledger.Kind, payment id.ID, entries []ledger.Entry, at time.Time) id.ID {
	r.t.Helper()
	currency, err := money.ParseCurrency("JPY")
	r.must(err)
	p := ledger.Posting{
		ID: r.NewID(), Kind: kind, MerchantID: r.shop, PaymentID: payment, Provider: "stripe", Currency: currency, Entries: entries, At: at,
	}
	var b pgx.Batch
	ledger.Queue(&b, p)
	r.must(postgres.Pipeline(r.t.Context(), db, &b))
	return p.ID
}

func refund(amount int64) []ledger.Entry {
	return ledger.Move(ledger.Payable, ledger.Receivable, amount)
}

// first is the payment that was captured first.
func (r *rig) first() id.ID {
	r.t.Helper()
	p, err := id.Parse(r.text(`SELECT id FROM transactions ORDER BY created_at, id LIMIT 1`))
	r.must(err)
	return p
}

func TestANightSettlesWhatWasCaptured(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Chunk = 40
	other := r.merchant()
	r.plant(settlementtest.Seed{Name: "a", Payments: 100, Fee: 36, At: noon})
	r.plant(settlementtest.Seed{Name: "b", Payments: 30, Provider: "paypal", At: noon.Add(time.Hour)})
	r.plant(settlementtest.Seed{Name: "c", Payments: 5, Currency: "KWD", At: noon})
	r.plant(settlementtest.Seed{Name: "d", Merchant: other, Payments: 50, At: noon})
	r.nightly()
	r.allSettled()
	r.want("SUCCEEDED 1 185/185/0", `SELECT status || ' ' || attempt || ' ' || expected_payments || '/' || settled_payments || '/' || skipped_payments
		FROM batch_job_executions`)
	// 1000 + 1001 + … of 100, and of 30; less 36 for each of the first.
	const captured, fees = 100*1000 + 99*100/2 + 30*1000 + 29*30/2, 3600
	r.want(fmt.Sprintf("COMPLETED 2026-11-23 %d 0 %d 0 %d 230 130", captured, fees, captured-fees), `
		SELECT concat_ws(' ', status, business_date, captured_minor, refunded_minor, fee_minor, dispute_minor, net_minor, line_count, payment_count)
		FROM settlements WHERE merchant_id = $1 AND currency = 'JPY'`, r.shop)
	r.want("2026-11-23 15:00:00+00", `SELECT DISTINCT cutoff_at AT TIME ZONE 'UTC' || '+00' FROM settlements`)
	r.want("CAPTURED 2", `SELECT DISTINCT previous_status || ' ' || version FROM transactions`)

	balances, err := ledger.Balances(t.Context(), r.Pool, ledger.Filter{MerchantID: r.shop})
	r.must(err)
	paid := map[string]int64{}
	for _, b := range balances {
		if b.Account == ledger.Payouts {
			paid[b.Provider+" "+b.Currency.Code()] = -b.AmountMinor
		}
	}
	if want := (map[string]int64{"stripe JPY": 104950 - 3600, "paypal JPY": 30435, "stripe KWD": 5010}); fmt.Sprint(paid) != fmt.Sprint(want) {
		t.Errorf("paid out %v, want %v", paid, want)
	}

	// Each task did a chunk's worth and made the next one, once.
	seen := map[Task]bool{}
	for _, c := range r.since(0) {
		if seen[c.Task] {
			t.Errorf("%+v came twice", c.Task)
		}
		seen[c.Task] = true
	}
	if n := len(seen); n < 185/40 || n > 30 {
		t.Errorf("%d tasks", n)
	}
	for _, body := range r.texts(`SELECT convert_from(payload, 'UTF8') FROM events`) {
		eventtest.Check(t, []byte(body))
	}
}

// The membership: what was posted before the cut-off, however long before; not what was
// posted at it or later; and not what was committed after it was frozen, though posted before.
func TestWhatBelongsToABusinessDay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cutoff := night.Add(-2 * time.Hour)
	r.plant(settlementtest.Seed{Name: "old", Payments: 1, At: noon.AddDate(0, 0, -40)})
	r.plant(settlementtest.Seed{Name: "last", Payments: 1, At: cutoff.Add(-time.Millisecond)})
	r.plant(settlementtest.Seed{Name: "next", Payments: 1, At: cutoff})
	r.plant(settlementtest.Seed{Name: "at three", Payments: 1, At: night.Add(time.Hour)}) // 03:00, before 06:00 runs
	late, err := r.Pool.Begin(t.Context())
	r.must(err)
	defer func() { _ = late.Rollback(t.Context()) }()
	posted := r.post(late, ledger.Refund, r.first(), refund(1), cutoff.Add(-time.Hour))

	r.nightly()
	settled := func(date string) string {
		return strings.Join(r.texts(`SELECT split_part(t.provider_transaction_id, '_', 2) || ' ' || l.kind FROM settlement_lines l
			JOIN transactions t ON t.id = l.transaction_id JOIN settlements s ON s.id = l.settlement_id
			WHERE s.business_date = $1::text::date ORDER BY l.number`, date), ", ")
	}
	if got := settled("2026-11-23"); got != "old capture, last capture" {
		t.Errorf("the first day has %s", got)
	}
	r.must(late.Commit(t.Context()))
	r.until(night.Add(4 * time.Hour))
	r.scheduler()
	if got := settled("2026-11-23"); got != "old capture, last capture" {
		t.Errorf("after 06:00 the first day has %s", got)
	}
	r.want("1", `SELECT count(*) FROM unsettled_entries WHERE posting_id = $1`, posted)
	r.nightly()
	if got := settled("2026-11-24"); got != "old refund, next capture, at three capture" {
		t.Errorf("the next day has %s", got)
	}
	r.want("0", `SELECT count(*) FROM unsettled_entries`)
}

func TestMerchantsDaysEndWhereTheyAre(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	newYork, evening := r.merchant(), r.merchant()
	r.exec(`UPDATE merchants SET timezone = 'America/New_York' WHERE id = $1`, newYork)
	r.exec(`UPDATE merchants SET settlement_cutoff = '18:00' WHERE id = $1`, evening)
	// By the hour, from noon of the 23rd in Tokyo, 03:00 UTC, until midnight, 15:00 UTC.
	for h := range 12 {
		for _, m := range []id.ID{r.shop, newYork, evening} {
			r.plant(settlementtest.Seed{Name: fmt.Sprint(m, h), Merchant: m, Payments: 1, At: noon.Add(time.Duration(h) * time.Hour)})
		}
	}
	r.nightly()
	for _, c := range []struct {
		merchant id.ID
		want     string
	}{
		{r.shop, "2026-11-23 2026-11-23 15:00:00 12 Asia/Tokyo"},
		{newYork, "2026-11-22 2026-11-23 05:00:00 2 America/New_York"}, // midnight there
		{evening, "2026-11-23 2026-11-23 09:00:00 6 Asia/Tokyo"},
	} {
		r.want(c.want, `SELECT concat_ws(' ', business_date, cutoff_at AT TIME ZONE 'UTC', payment_count, timezone) FROM settlements WHERE merchant_id = $1`, c.merchant)
	}
	r.nightly()
	r.want("2026-11-22 2, 2026-11-23 10", `SELECT string_agg(business_date || ' ' || payment_count, ', ' ORDER BY business_date)
		FROM settlements WHERE merchant_id = $1`, newYork)
	r.want("0", `SELECT count(*) FROM unsettled_entries`)
}

func TestRunningADateTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 20, Fee: 5, At: noon})
	r.nightly()
	state := func() string {
		return r.text(`SELECT string_agg(x, E'\n') FROM (
			SELECT s::text AS x FROM settlements s UNION ALL SELECT l::text FROM settlement_lines l UNION ALL SELECT t::text FROM transactions t
			UNION ALL SELECT b::text FROM batch_job_executions b UNION ALL SELECT p::text FROM ledger_postings p
			UNION ALL SELECT o::text FROM outbox o UNION ALL SELECT a::text FROM transaction_audit_log a ORDER BY 1) y`)
	}
	before := state()
	task := Task{Date: "2026-11-24"}
	for _, again := range append([]Task{{}, task, task}, tasksOf(r.since(0))...) {
		r.must(r.Do(t.Context(), again))
		r.advance(time.Minute)
	}
	r.until(night.Add(4 * time.Hour))
	r.scheduler() // 06:00 does nothing after a good run
	if after := state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	r.allSettled()
}

func tasksOf(calls []call) (tasks []Task) {
	for _, c := range calls {
		tasks = append(tasks, c.Task)
	}
	return tasks
}

// What comes after a payment was settled is settled with the day on which it comes.
func TestWhatComesLaterGoesIntoLaterSettlements(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 2, At: noon})
	payment := r.first()
	r.nightly()
	r.want("SETTLED", `SELECT DISTINCT status FROM transactions`)
	at := r.Now()
	r.post(r.Pool, ledger.Refund, payment, refund(400), at)
	r.post(r.Pool, ledger.FeeReturned, payment, ledger.Move(ledger.Fees, ledger.Payable, 15), at)
	r.post(r.Pool, ledger.DisputeOpened, payment, append(ledger.Move(ledger.Disputes, ledger.Receivable, 600), ledger.Move(ledger.Payable, ledger.DisputeReserve, 600)...), at)
	r.post(r.Pool, ledger.Fee, payment, ledger.Move(ledger.Payable, ledger.Fees, 1500), at)
	r.nightly()
	r.want("2026-11-24 0 400 1485 600 -2485 1", `SELECT concat_ws(' ', business_date, captured_minor, refunded_minor, fee_minor, dispute_minor, net_minor,
		payment_count) FROM settlements ORDER BY id DESC LIMIT 1`)
	r.want("2 SETTLED", `SELECT DISTINCT version || ' ' || status FROM transactions`) // no new version of what was settled
	at = r.Now()
	r.post(r.Pool, ledger.DisputeWon, payment, append(ledger.Move(ledger.Receivable, ledger.Disputes, 600), ledger.Move(ledger.DisputeReserve, ledger.Payable, 600)...), at)
	r.post(r.Pool, ledger.RefundFailed, payment, ledger.Move(ledger.Receivable, ledger.Payable, 400), at)
	r.post(r.Pool, ledger.Adjustment, payment, ledger.Move(ledger.Variance, ledger.Payable, 7), at)
	r.nightly()
	r.want("2026-11-25 -400 -600 7 1007", `SELECT concat_ws(' ', business_date, refunded_minor, dispute_minor, adjustment_minor, net_minor)
		FROM settlements ORDER BY id DESC LIMIT 1`)
	r.want("0", `SELECT sum(amount_minor) FROM ledger_entries WHERE account = 'payable'`)
	r.want("0", `SELECT count(*) FROM unsettled_entries`)
	r.fold()
}

// A payment is SETTLED with the last of its captures; one that was refunded stays REFUNDED.
func TestWhichPaymentsAreMoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 3, At: noon})
	ids := r.texts(`SELECT id::text FROM transactions ORDER BY created_at`)
	half, back := ids[0], ids[1]
	r.force(`UPDATE transactions SET capture_excess_minor = 50 WHERE id = $1`, half) // of a second capture
	r.force(`UPDATE transactions SET status = 'REFUNDED', previous_status = 'CAPTURED', refunded_minor = captured_minor WHERE id = $1`, back)
	r.force(`UPDATE transaction_audit_log l SET delta = to_jsonb(t) FROM transactions t WHERE t.id = l.transaction_id`)
	payment, err := id.Parse(half)
	r.must(err)
	r.post(r.Pool, ledger.Capture, payment, ledger.Move(ledger.Receivable, ledger.Payable, 50), night.Add(-time.Hour)) // posted after the cut-off
	r.nightly()
	statuses := `SELECT string_agg(status || version, ' ' ORDER BY created_at) FROM transactions`
	r.want("CAPTURED1 REFUNDED1 SETTLED2", statuses)
	r.nightly()
	r.want("SETTLED2 REFUNDED1 SETTLED2", statuses)
	r.fold()
}

func TestTheSameEntriesMakeTheSameManifest(t *testing.T) {
	t.Parallel()
	var manifests, digests []string
	for range 2 {
		r := newRig(t)
		r.shop = id.ID{0x01, 15: 0x77} // the same in both
		r.exec(`INSERT INTO merchants (id, name, status, created_at, updated_at) VALUES ($1, 'Shop', 'ACTIVE', $2, $2)`, r.shop, noon)
		r.Chunk = 7 + 90*len(manifests) // however it came about
		r.plant(settlementtest.Seed{Name: "a", Payments: 50, Fee: 30, At: noon})
		r.plant(settlementtest.Seed{Name: "b", Payments: 50, Provider: "bank", At: noon})
		r.nightly()
		settled, err := id.Parse(r.text(`SELECT id FROM settlements`))
		r.must(err)
		manifests = append(manifests, r.manifest(settled))
		digests = append(digests, r.text(`SELECT encode(manifest_sha256, 'hex') FROM settlements`))
	}
	if manifests[0] != manifests[1] || digests[0] != digests[1] {
		t.Errorf("they differ:\n%s\n%s", manifests[0], manifests[1])
	}
	if sum := sha256.Sum256([]byte(manifests[0])); hex.EncodeToString(sum[:]) != digests[0] {
		t.Errorf("%s is not the hash of the manifest", digests[0])
	}
	rows, err := csv.NewReader(strings.NewReader(manifests[0])).ReadAll()
	if err != nil || len(rows) != 151 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if !slices.Equal(rows[0], manifestHead) || !slices.Equal(rows[1][1:6], []string{"stripe", "capture", "JPY", "1000", "2026-11-23T03:00:00.000000Z"}) {
		t.Errorf("it begins with %q, %q", rows[0], rows[1])
	}
	if !strings.HasPrefix(rows[1][0], "pay_") || !strings.HasSuffix(rows[1][6], "-2") || !strings.HasSuffix(manifests[0], "\r\n") {
		t.Errorf("%q", rows[1])
	}
}

func TestWhatIsCompletedIsNeverChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 2, At: noon})
	r.nightly()
	for _, sql := range []string{
		`UPDATE settlements SET captured_minor = captured_minor + 1, net_minor = net_minor + 1`,
		`DELETE FROM settlements`,
		`DELETE FROM settlement_lines WHERE number = 1`,
		`UPDATE settlement_lines SET amount_minor = 1`,
		`TRUNCATE settlement_lines`,
		`INSERT INTO settlement_lines (settlement_id, number, posting_id, line, provider, kind, amount_minor, posted_at)
			SELECT settlement_id, 99, gen_random_uuid(), 1, 'stripe', 'capture', 1, posted_at FROM settlement_lines LIMIT 1`,
	} {
		if _, err := r.Pool.Exec(t.Context(), sql); !postgres.HasCode(err, "42501") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	r.allSettled()
}
