package settlement

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/settlement/settlementtest"
)

const runState = `SELECT concat_ws(' ', status, attempt, expected_payments, settled_payments, skipped_payments) FROM batch_job_executions
	ORDER BY run_date DESC LIMIT 1`

// A payment that can't be settled is left out and written down, the others are settled, and
// the next night takes it up.
func TestAPoisonedPaymentIsSkipped(t *testing.T) {
	t.Parallel()
	for what, poison := range map[string]struct {
		kind     string
		do, cure func(r *rig, payment string)
	}{
		"a row that the database refuses to change": {
			"23514",
			func(r *rig, payment string) { r.trigger("23514", `NEW.id = '`+payment+`'`) },
			func(r *rig, _ string) { r.trigger("", "") },
		},
		"a row that breaks a rule at the end of the transaction": {
			"P0001",
			func(r *rig, payment string) {
				r.exec(`CREATE FUNCTION test_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'late'; END $$`)
				r.exec(`CREATE CONSTRAINT TRIGGER test_late AFTER UPDATE ON transactions DEFERRABLE INITIALLY DEFERRED
					FOR EACH ROW WHEN (NEW.id = '` + payment + `') EXECUTE FUNCTION test_late()`)
			},
			func(r *rig, _ string) { r.exec(`DROP TRIGGER test_late ON transactions`) },
		},
		"a row that can't be read": {
			"unreadable",
			func(r *rig, payment string) {
				r.force(`UPDATE transactions SET currency = 'ZZZ' WHERE id = $1`, payment)
			},
			func(r *rig, payment string) {
				r.force(`UPDATE transactions SET currency = 'JPY' WHERE id = $1`, payment)
			},
		},
		"a row that is not there": {
			"not_found",
			func(r *rig, payment string) {
				r.exec(`CREATE TABLE hidden AS SELECT * FROM transactions WHERE id = '` + payment + `'`)
				r.force(`DELETE FROM transactions WHERE id = $1`, payment)
			},
			func(r *rig, _ string) { r.force(`INSERT INTO transactions SELECT * FROM hidden`) },
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Chunk = 50
			r.plant(settlementtest.Seed{Name: "a", Payments: 120, Fee: 5, At: noon})
			bad := r.text(`SELECT id FROM transactions WHERE captured_minor = 1077`)
			poison.do(r, bad)
			r.nightly()
			r.want("SUCCEEDED 1 120 119 1", runState)
			r.want("119", `SELECT count(*) FROM transactions WHERE status = 'SETTLED'`)
			r.want(bad+" "+poison.kind+" 0", `SELECT concat_ws(' ', transaction_id, error_type, retry_count) FROM batch_execution_errors`)
			r.want("capture -1077, fee 5", `SELECT string_agg(kind || ' ' || amount_minor, ', ' ORDER BY kind) FROM unsettled_entries WHERE transaction_id = $1`, bad)
			r.want("COMPLETED 119 238 1 2 1072", `SELECT concat_ws(' ', status, payment_count, line_count, skipped_payments, skipped_lines, skipped_net_minor) FROM settlements`)
			r.want("settlement_skipped warning t", `SELECT concat_ws(' ', kind, severity, resolved_at IS NULL) FROM operator_alerts`)
			r.nightly() // it is left out again
			r.want("SUCCEEDED 1 1 0 1", runState)
			r.want("0 1", `SELECT string_agg(retry_count::text, ' ' ORDER BY id) FROM batch_execution_errors`)
			r.want("1", `SELECT count(*) FROM events WHERE type = 'settlement.completed'`) // not of nothing
			poison.cure(r, bad)
			r.nightly()
			r.want("SUCCEEDED 1 1 1 0", runState)
			r.want("0", `SELECT count(*) FROM operator_alerts WHERE resolved_at IS NULL`)
			r.want("0", `SELECT sum(amount_minor) FROM ledger_entries WHERE account = 'payable'`)
			r.want("120", `SELECT count(*) FROM transactions WHERE status = 'SETTLED'`)
			r.fold()
		})
	}
}

// What fails for too many payments is not theirs: nobody is left out for it.
func TestAPoisonedChunkIsNotSkipped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: maxSkipped + 1, At: noon})
	r.trigger("23514", "true")
	r.nightly()
	r.until(night.Add(time.Hour))
	r.want("FAILED 1 26 0 0", runState)
	r.want("0", `SELECT count(*) FROM batch_execution_errors`)
	r.trigger("", "")
	r.until(night.Add(4 * time.Hour))
	r.scheduler()
	r.allSettled()
}

// A chunk that always fails is tried three times more, five minutes apart, while others go
// on. Then a person is called. 06:00 takes over, and does nothing after a good run.
func TestAChunkThatAlwaysFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Chunk = 10
	other := r.merchant()
	r.plant(settlementtest.Seed{Name: "a", Payments: 35, At: noon})
	r.plant(settlementtest.Seed{Name: "b", Merchant: other, Payments: 25, At: noon})
	r.trigger("55000", `NEW.merchant_id = '`+r.shop.String()+`' AND NEW.captured_minor = 1025`) // in the third chunk
	r.nightly()
	r.want("PROCESSING 20 0", `SELECT concat_ws(' ', status, settled_payments, skipped_payments) FROM settlements WHERE merchant_id = $1`, r.shop)
	r.want("COMPLETED", `SELECT status FROM settlements WHERE merchant_id = $1`, other) // nobody else waits
	state := `SELECT status || ' ' || (checkpoint -> 'aside' -> 0 ->> 'tries') FROM batch_job_executions`
	for try, minute := range []int{0, 5, 10, 15} {
		if try > 0 {
			r.until(night.Add(time.Duration(minute)*time.Minute - time.Second))
			r.want(fmt.Sprintf("RUNNING %d", try), state)
		}
		r.until(night.Add(time.Duration(minute) * time.Minute))
		want := fmt.Sprintf("RUNNING %d", try+1)
		if try == retries {
			want = fmt.Sprintf("FAILED %d", try+1)
		}
		r.want(want, state)
	}
	r.until(night.Add(3 * time.Hour))
	r.want("FAILED 1", `SELECT status || ' ' || attempt FROM batch_job_executions`)
	r.want("settlement_failed critical 2026-11-24 1", `SELECT concat_ws(' ', kind, severity, subject, times) FROM operator_alerts WHERE resolved_at IS NULL`)
	if !strings.Contains(r.log.String(), `"level":"ERROR"`) {
		t.Error("nothing calls for a person in the log")
	}
	for _, sql := range r.texts(`SELECT jsonb_array_elements_text(detail -> 'queries') FROM operator_alerts`) {
		r.exec(sql) // what a person is told to ask can be asked
	}
	r.want("settlement", `SELECT jsonb_object_keys(detail -> 'at') FROM operator_alerts`)

	r.trigger("", "")
	r.until(night.Add(4 * time.Hour))
	r.scheduler()
	r.allSettled()
	r.want("SUCCEEDED 2", `SELECT status || ' ' || attempt FROM batch_job_executions`)
	r.want("0", `SELECT count(*) FROM operator_alerts WHERE resolved_at IS NULL`)
}

// What can't be frozen is tried again as well, and keeps nobody from being settled.
func TestAMerchantThatCantBeFrozen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.merchant()
	r.plant(settlementtest.Seed{Name: "a", Payments: 5, At: noon})
	r.plant(settlementtest.Seed{Name: "b", Merchant: other, Payments: 5, At: noon})
	r.exec(`UPDATE merchants SET timezone = 'Mars/Olympus' WHERE id = $1`, r.shop)
	r.nightly()
	r.want("COMPLETED", `SELECT string_agg(status, ' ') FROM settlements`)
	r.until(night.Add(10 * time.Minute))
	r.exec(`UPDATE merchants SET timezone = 'Asia/Tokyo' WHERE id = $1`, r.shop)
	r.until(night.Add(15 * time.Minute)) // the last try
	r.allSettled()
	r.want("SUCCEEDED 1 10 10 0", runState)
}

// 06:00 leaves a run alone that somebody is at, and takes over one that nobody carries on.
func TestTheLease(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Chunk = 10
	r.plant(settlementtest.Seed{Name: "a", Payments: 40, At: noon})
	r.until(night)
	r.must(r.Do(t.Context(), Task{})) // 02:00: its first task is made …
	r.tasks.Stop()                    // … and Cloud Tasks goes away
	var first Task
	r.must(json.Unmarshal(r.tasks.Pending(place + "/queues/" + outbox.SettlementQueue)[0].GetHttpRequest().Body, &first))
	if err := r.Do(t.Context(), first); err == nil {
		t.Fatal("its next task was made")
	}
	takeOver := func(want bool) {
		t.Helper()
		r.tasks.Start()
		taken, err := r.TakeOver(t.Context(), Latest(r.Now()))
		r.tasks.Stop()
		if taken != want || err != nil {
			t.Fatalf("taken over %t, %v; want %t", taken, err, want)
		}
	}
	takeOver(false)
	r.until(night.Add(patience - time.Second))
	takeOver(false)
	r.until(night.Add(patience))
	takeOver(true)
	before := r.text(`SELECT b::text FROM batch_job_executions b`)
	r.must(r.Do(t.Context(), first)) // whoever held it before is kept out
	if after := r.text(`SELECT b::text FROM batch_job_executions b`); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
	r.tasks.Start()
	r.advance(0)
	r.allSettled()
	r.want("SUCCEEDED 2 40 40 0", runState)
}

// An unfinished date comes before later ones, and they follow without being asked.
func TestAnEarlierDateComesFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 5, At: noon})
	r.trigger("55000", "true")
	r.nightly()
	r.until(night.Add(8 * time.Hour))
	r.want("FAILED 1 5 0 0", runState)
	r.plant(settlementtest.Seed{Name: "b", Payments: 7, At: noon.AddDate(0, 0, 1)})
	r.trigger("", "")
	r.nightly()
	r.allSettled()
	r.want("2026-11-24 2 5, 2026-11-25 1 7", `SELECT string_agg(concat_ws(' ', run_date, attempt, settled_payments), ', ' ORDER BY started_at)
		FROM batch_job_executions`)
	r.want("2026-11-23 5, 2026-11-24 7", `SELECT string_agg(business_date || ' ' || payment_count, ', ' ORDER BY business_date) FROM settlements`)
	r.want("true", `SELECT a.finished_at <= b.started_at FROM batch_job_executions a, batch_job_executions b WHERE a.run_date < b.run_date`)
}

// One that fails for good does not keep later ones from being settled.
func TestABrokenDateDoesNotStopTheNext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 5, At: noon})
	r.trigger("55000", "NEW.captured_minor = 1003")
	r.nightly()
	r.until(night.Add(8 * time.Hour))
	r.plant(settlementtest.Seed{Name: "b", Payments: 2, At: noon.AddDate(0, 0, 1)})
	r.nightly()
	r.until(night.Add(26 * time.Hour))
	r.want("FAILED 2 0, SUCCEEDED 1 2", `SELECT string_agg(concat_ws(' ', status, attempt, settled_payments), ', ' ORDER BY run_date) FROM batch_job_executions`)
}

// A run whose task was lost gets another from the sweep.
func TestALostTaskIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Chunk = 2
	r.plant(settlementtest.Seed{Name: "a", Payments: 9, At: noon})
	r.until(night)
	r.must(r.Do(t.Context(), Task{}))
	for _, lost := range r.tasks.Pending(place + "/queues/" + outbox.SettlementQueue) {
		_, err := r.tasks.DeleteTask(t.Context(), &cloudtaskspb.DeleteTaskRequest{Name: lost.Name})
		r.must(err)
	}
	r.advance(lostAfter - time.Second)
	if n, err := r.Overdue(t.Context(), 10); n != 0 || err != nil {
		t.Fatalf("%d tasks, %v, before it was lost", n, err)
	}
	r.advance(time.Second)
	for range 2 { // the second time it is there already
		if n, err := r.Overdue(t.Context(), 10); n != 1 || err != nil {
			t.Fatalf("%d tasks, %v", n, err)
		}
	}
	r.advance(time.Second)
	r.allSettled()
	if n, err := r.Overdue(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("%d tasks, %v, when all is done", n, err)
	}
}

// What was settled must be what the ledger says was.
func TestTheCheckFindsWhatDoesNotAddUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 3, At: noon})
	r.exec(`CREATE FUNCTION test_tamper() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.status = 'COMPLETED' THEN NEW.posting_ids := '{}'; END IF; RETURN NEW; END $$`)
	r.exec(`CREATE TRIGGER test_tamper BEFORE UPDATE ON settlements FOR EACH ROW EXECUTE FUNCTION test_tamper()`)
	r.nightly()
	r.want("FAILED 1 3 3 0", runState)
	r.want("settlement_mismatch critical JPY: 3003 was settled, and the ledger has 0",
		`SELECT concat_ws(' ', kind, severity, detail -> 'errors' ->> 0) FROM operator_alerts`)
}

// Lines that are not the ledger's are not settled.
func TestLinesThatTheLedgerDoesNotHave(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 3, At: noon})
	r.force(`UPDATE unsettled_entries SET amount_minor = amount_minor - 1 WHERE amount_minor = -1001`)
	r.nightly()
	r.until(night.Add(time.Hour))
	r.want("FAILED 1 3 3 0", runState)
	r.want("PROCESSING", `SELECT status FROM settlements`)
	r.want("0", `SELECT count(*) FROM ledger_postings WHERE kind = 'settlement'`)
}

// A deadlock or a period that has ended meanwhile is no failure.
func TestWhatPassesIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 3, At: noon})
	r.exec(`CREATE SEQUENCE test_times`)
	r.exec(`CREATE FUNCTION test_twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF nextval('test_times') <= 2 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$`)
	r.exec(`CREATE TRIGGER test_twice BEFORE UPDATE ON transactions FOR EACH ROW EXECUTE FUNCTION test_twice()`)
	r.nightly()
	r.allSettled()
	r.want("SUCCEEDED 1 3 3 0", runState)
	if strings.Contains(r.log.String(), "tried again") {
		t.Error("it was put off")
	}
}

// Trouble that belongs to nobody in particular ends the run after its tries, too.
func TestTroubleOfTheRunItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 3, At: noon})
	r.exec(`ALTER TABLE unsettled_entries RENAME TO elsewhere`)
	r.nightly()
	r.until(night.Add(15*time.Minute - time.Second))
	r.want("RUNNING 3", `SELECT status || ' ' || try FROM batch_job_executions`)
	r.until(night.Add(15 * time.Minute))
	r.want("FAILED 1 0 0 0", runState)
	r.want("settlement_failed 1", `SELECT kind || ' ' || count(*) FROM operator_alerts GROUP BY kind`)
	r.exec(`ALTER TABLE elsewhere RENAME TO unsettled_entries`)
	r.until(night.Add(4 * time.Hour))
	r.scheduler()
	r.allSettled()
}

func TestBeforeItBegins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 1, At: noon})
	tomorrow := Latest(r.Now()).AddDate(0, 0, 1)
	if taken, err := r.TakeOver(t.Context(), tomorrow); taken || err == nil {
		t.Errorf("a date that is not due was begun: %v", err)
	}
	r.Circuits = func(context.Context) ([]string, error) { return []string{"paypal"}, nil }
	r.nightly()
	r.want(`["the circuit of paypal is open"]`, `SELECT warnings FROM batch_job_executions`)
	r.allSettled() // it calls no provider

	r.Circuits = func(context.Context) ([]string, error) { return nil, fmt.Errorf("away") }
	r.nightly()
	r.want(`["the providers' state is not known"]`, `SELECT warnings FROM batch_job_executions ORDER BY run_date DESC LIMIT 1`)

	r.exec(`ALTER DATABASE ` + r.text(`SELECT quote_ident(current_database())`) + ` SET default_transaction_read_only = on`)
	r.Pool.Reset()
	if err := r.Do(t.Context(), Task{}); err != nil {
		t.Errorf("after a good run there is nothing to check: %v", err)
	}
	r.until(night.AddDate(0, 0, 2))
	if err := r.Do(t.Context(), Task{}); err == nil || !strings.Contains(err.Error(), "no writes") {
		t.Errorf("it begins in a database that takes no writes: %v", err)
	}
}

func TestNothingIsLeftToPay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 1, Amount: 100, At: noon})
	r.post(r.Pool, ledger.Refund, r.first(), refund(100), noon) // at stripe: nothing is left to pay
	r.nightly()
	r.want("0 0", `SELECT concat_ws(' ', net_minor, cardinality(posting_ids)) FROM settlements`)
	r.want("SUCCEEDED 1 1 1 0", runState)
	var none id.ID
	if err := r.Do(t.Context(), Task{RunID: r.NewID(), Lease: none}); err != nil {
		t.Errorf("a task of no run: %v", err)
	}
}

// A payment with captures in two settlements is settled by the later of their chunks, also
// when the earlier settlement's payments are done and it can't be completed for a while.
func TestAnEarlierSettlementIsCompletedAfterALaterOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 1, At: noon})
	payment := r.first()
	r.force(`UPDATE transactions SET capture_excess_minor = 50`) // of a second capture, after the cut-off
	r.force(`UPDATE transaction_audit_log l SET delta = to_jsonb(t) FROM transactions t WHERE t.id = l.transaction_id`)
	r.post(r.Pool, ledger.Capture, payment, ledger.Move(ledger.Receivable, ledger.Payable, 50), night.Add(-time.Hour))
	r.exec(`CREATE FUNCTION test_stuck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stuck' USING ERRCODE = '55000'; END $$`)
	r.exec(`CREATE TRIGGER test_stuck BEFORE UPDATE ON settlements FOR EACH ROW
		WHEN (NEW.status = 'COMPLETED' AND NEW.business_date = '2026-11-23') EXECUTE FUNCTION test_stuck()`)
	r.nightly()
	r.until(night.Add(time.Hour))
	r.nightly()
	r.until(night.AddDate(0, 0, 1).Add(time.Hour))
	r.want("2026-11-23 PROCESSING, 2026-11-24 COMPLETED", `SELECT string_agg(business_date || ' ' || status, ', ' ORDER BY business_date) FROM settlements`)
	r.exec(`DROP TRIGGER test_stuck ON settlements`)
	r.nightly()
	r.want("COMPLETED COMPLETED", `SELECT string_agg(status, ' ') FROM settlements`)
	r.want("SETTLED 2", `SELECT status || ' ' || version FROM transactions`)
	r.fold()
}

// The sweep makes no second task for a step that is going on.
func TestALongStepIsNotOverdue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plant(settlementtest.Seed{Name: "a", Payments: 1, At: noon})
	r.until(night)
	r.must(r.Do(t.Context(), Task{}))
	r.tasks.Stop() // its task is under way
	r.until(night.Add(lostAfter))
	overdue := func(want int) {
		t.Helper()
		r.tasks.Start()
		made, err := r.Overdue(t.Context(), 10)
		r.tasks.Stop()
		if made != want || err != nil {
			t.Errorf("made %d tasks, %v; want %d", made, err, want)
		}
	}
	step, err := r.Pool.Begin(t.Context())
	r.must(err)
	_, err = step.Exec(t.Context(), `SELECT 1 FROM batch_job_executions FOR NO KEY UPDATE`)
	r.must(err)
	overdue(0)
	r.must(step.Rollback(t.Context()))
	overdue(1)
}
