package outbox_test

import (
	"fmt"
	"testing"
)

// fill writes an outage's backlog: so many events of each payment, of about the size
// that one with its payment has.
func (w *world) fill(perPayment int) {
	w.t.Helper()
	for _, sql := range []string{
		fmt.Sprintf(`
		INSERT INTO events (id, merchant_id, subject_id, transaction_id, type, sequence, payload, request_id, created_at)
		SELECT gen_random_uuid(), p.merchant_id, p.id, p.id, 'payment.captured', p.last + n, repeat('x', 1500)::bytea, 'req_1', p.created_at
		FROM (SELECT t.*, (SELECT coalesce(max(sequence), 0) FROM events e WHERE e.transaction_id = t.id) AS last
		      FROM transactions t) p, generate_series(1, %d) n`, perPayment),
		`
		INSERT INTO outbox (id, key, sequence, tries, due_at, created_at)
		SELECT id, subject_id, sequence, 0, created_at, created_at FROM events e
		WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = e.id)`,
	} {
		if _, err := w.db.Exec(w.t.Context(), sql); err != nil {
			w.t.Fatal(err)
		}
	}
}

// BenchmarkDrain measures how fast one relay catches up after an outage, against a
// real PostgreSQL and a Pub/Sub in this process. The promise is 1,000 rows/s.
func BenchmarkDrain(b *testing.B) {
	const rows = 20_000
	for name, payments := range map[string]int{"FewPayments": 50, "ManyPayments": 4000} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			for range payments {
				w.payment()
			}
			w.fill(rows / payments)
			drained := 0
			for b.Loop() {
				if w.backlog().Rows == 0 {
					b.StopTimer()
					w.fill(rows / payments)
					b.StartTimer()
				}
				n, err := w.relay().Drain(b.Context(), rows)
				if err != nil || n != rows {
					b.Fatalf("Drain = %d, %v; want %d", n, err, rows)
				}
				drained += n
			}
			b.ReportMetric(float64(drained)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
