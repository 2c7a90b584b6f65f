package webhooks

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/instance"
	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestMain(m *testing.M) {
	instance.Become(ServeCommits)
	os.Exit(m.Run())
}

// show logs a report, and fails the test if a bound was broken.
func show(t *testing.T, r measure.Report) {
	t.Helper()
	var text bytes.Buffer
	r.Print(&text)
	t.Logf("%s", &text)
	if !r.OK() {
		t.Error("a bound was broken")
	}
}

// All that is measured happens. How fast is no matter here. One after the other, since each has the machine busy.
func TestRehearsals(t *testing.T) {
	t.Parallel()
	t.Run("webhooks-crash", rehearseCrash)
	t.Run("webhooks-isolation", rehearseIsolation)
	t.Run("outbox-drain", rehearseDrain)
	t.Run("webhooks", rehearseRate)
}

// Processes are killed while events are on their way, and none is lost. What a killed process leaves behind is found by
// the sweeps of the minutes after, which the clock is moved on to.
func rehearseCrash(t *testing.T) {
	r, err := crashPlan{Processes: 2, Patience: 15 * time.Minute, Seed: 1}.quick().run(t.Context(), pgtest.New(t), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	show(t, r)
}

// Deliveries go on while one endpoint hangs and one resets connections.
func rehearseIsolation(t *testing.T) {
	p := isolationPlan{Processes: 1}.quick()
	one, err := p.run(t.Context(), pgtest.New(t), "1 beside", true)
	if err != nil {
		t.Fatal(err)
	}
	r := &IsolationReport{Rate: p.Rate, Processes: p.Processes, Runs: []isolationRun{one}}
	r.judge(false)
	show(t, r)
}

// Pub/Sub is away for an hour and comes back.
func rehearseDrain(t *testing.T) {
	r, err := quickDrain().run(t.Context(), pgtest.New(t), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	show(t, r)
}

// A rate is measured from commit to receipt, step by step.
func rehearseRate(t *testing.T) {
	r, err := ratePlan{From: 10, Processes: 1}.quick().measure(t.Context(), pgtest.New(t), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	r.Print(&text)
	t.Logf("%s", &text)
	first := r.Steps[0]
	if first.Committed == 0 || first.Attempt.N < first.Receipt.N || first.Receipt.N < first.Committed-first.Missing {
		t.Errorf("%+v", first)
	}
	if first.Attempt.P50 <= 0 || first.Receipt.P50 < first.Attempt.P50 {
		t.Errorf("events were received before they were sent: %+v", first)
	}
	if v := r.Verdicts[len(r.Verdicts)-1]; v.What != "signatures" || !v.OK {
		t.Errorf("%+v", v)
	}
}

func broken(v measure.Verdicts) string {
	var names []string
	for _, one := range v {
		if !one.OK {
			names = append(names, one.What)
		}
	}
	return strings.Join(names, ", ")
}

func TestACrashThatCostsSomethingIsSeen(t *testing.T) {
	t.Parallel()
	p := crashPlan{Events: 1000, Kills: 2, MaxRepeats: maxRepeats}
	for want, spoil := range map[string]func(*CrashReport){
		"":             func(*CrashReport) {},
		"events":       func(r *CrashReport) { r.Events = 999 },
		"kill -9":      func(r *CrashReport) { r.Kills = 1 },
		"delivered":    func(r *CrashReport) { r.Lost = 1 },
		"authentic":    func(r *CrashReport) { r.Wrong = 1 },
		"sequences":    func(r *CrashReport) { r.GapsReceived = 1 },
		"nothing left": func(r *CrashReport) { r.Undelivered = 1 },
		"duplicates":   func(r *CrashReport) { r.Repeats = 10 },
	} {
		r := &CrashReport{Events: 1000, Kills: 2, Received: 1000, Repeats: 9}
		spoil(r)
		if r.judge(p); broken(r.Verdicts) != want {
			t.Errorf("broken %q, seen %q", want, broken(r.Verdicts))
		}
	}
}

func TestLaterFirstAttemptsAreSeen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		alone, beside float64
		ok            bool
	}{{10, 30, true}, {10, 30.1, false}, {200, 260, true}, {200, 260.1, false}} {
		healthy := func(p95 float64) step {
			return step{Committed: 1, Attempt: measure.Times{N: 1, P95: p95}}
		}
		ill := isolationRun{
			Name: "1 beside", Healthy: healthy(c.beside), Hangs: map[string]int{"timeout": 1}, Resets: map[string]int{"connection": 1},
		}
		r := &IsolationReport{Runs: []isolationRun{{Name: "1 alone", Healthy: healthy(c.alone)}, ill}}
		r.judge(true)
		if got := broken(r.Verdicts); (got == "") != c.ok || !c.ok && got != "isolation" {
			t.Errorf("%+v: broken %q", c, got)
		}
	}
}

func TestARateThatFallsBehindIsSeen(t *testing.T) {
	t.Parallel()
	good := step{Rate: 100, Deliveries: 96, Receipt: measure.Times{P95: 999}}
	if !good.sustained() {
		t.Error("a rate was kept up with, and is said not to be")
	}
	for name, spoil := range map[string]func(*step){
		"slow": func(s *step) { s.Receipt.P95 = 1001 }, "behind": func(s *step) { s.Deliveries = 94 }, "missing": func(s *step) { s.Missing = 1 },
	} {
		s := good
		spoil(&s)
		if s.sustained() {
			t.Errorf("%s: is said to be sustained", name)
		}
	}
}

func TestDisorderIsSeen(t *testing.T) {
	t.Parallel()
	v := &watch{last: map[string]int64{}}
	for _, sequence := range []int64{1, 2, 1, 2, 4, 3} {
		v.note("a", sequence)
	}
	v.note("b", 1)
	if arrived, repeats, disorder := v.count(); arrived != 4 || repeats != 2 || disorder != 1 {
		t.Errorf("%d arrived, %d repeats, %d out of order", arrived, repeats, disorder)
	}
	r := &DrainReport{Rows: 5, Sweeps: []drained{{Rows: 5, Seconds: 0.004}}, Arrived: 4, Disorder: 1}
	if r.judge(drainPlan{Rows: 5, Timed: true}); broken(r.Verdicts) != "order" {
		t.Errorf("broken %q", broken(r.Verdicts))
	}
	r = &DrainReport{Rows: 5, Sweeps: []drained{{Rows: 5, Seconds: 0.006}}, Arrived: 5}
	if r.judge(drainPlan{Rows: 5, Timed: true}); broken(r.Verdicts) != "rate" {
		t.Errorf("broken %q", broken(r.Verdicts))
	}
}

func TestShopsNoteWhatTheyWereSent(t *testing.T) {
	t.Parallel()
	s := newShops()
	for _, w := range []shop.Webhook{
		{ID: "1", PaymentID: "a", Sequence: 1},
		{ID: "2", PaymentID: "a", Sequence: 2},
		{ID: "2", PaymentID: "a", Sequence: 2},
		{ID: "4", PaymentID: "b", Sequence: 2}, // the first is missing
		{ID: "5", Err: http.ErrNoCookie},
	} {
		if s.write(w) != (w.Err == nil) {
			t.Errorf("%+v", w)
		}
	}
	if events, repeats, wrong := s.count(); events != 3 || repeats != 1 || wrong != 1 || s.gaps() != 1 {
		t.Errorf("%d events, %d repeats, %d wrong, %d gaps", events, repeats, wrong, s.gaps())
	}
}

// An endpoint that is ill answers nothing: one waits until its caller leaves, one breaks the connection off.
func TestEndpointsFallIll(t *testing.T) {
	t.Parallel()
	e, err := newShops().open(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	send := func(patience time.Duration) error {
		client := &http.Client{Timeout: patience}
		resp, err := client.Post(e.URL, "application/json", strings.NewReader("{}"))
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := send(time.Minute); err != nil {
		t.Errorf("well: %v", err)
	}
	e.become(hangs)
	if err := send(100 * time.Millisecond); !os.IsTimeout(err) {
		t.Errorf("hanging: %v", err)
	}
	e.become(resets)
	if err := send(time.Minute); err == nil || os.IsTimeout(err) {
		t.Errorf("resetting: %v", err)
	}
	if _, _, wrong := e.all.count(); wrong != 1 {
		t.Errorf("%d requests were taken in, and were not signed; want the first", wrong)
	}
}

// Events of the placeholder's size are made, and each is of its own payment.
func TestEventsAreAsLargeAsTheyAre(t *testing.T) {
	t.Parallel()
	var c committer
	if err := c.readExample(); err != nil {
		t.Fatal(err)
	}
	if len(c.data) < 300 || !bytes.Contains(c.data, c.placeholder) {
		t.Errorf("an event's data: %s", c.data)
	}
	if _, err := id.Payment.Parse(string(c.placeholder)); err != nil {
		t.Error(err)
	}
}

func TestCommandsAreChecked(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--from 0", "--processes 0", "now", "--fast"} {
		if _, err := RateCommand(strings.Fields(args)); err == nil {
			t.Errorf("webhooks %s: taken", args)
		}
	}
	for _, args := range []string{"--rate -1", "--pairs 0", "now"} {
		if _, err := IsolationCommand(strings.Fields(args)); err == nil {
			t.Errorf("webhooks-isolation %s: taken", args)
		}
	}
	for _, args := range []string{"--events 0", "--kills 0", "--rate 0", "now"} {
		if _, err := CrashCommand(strings.Fields(args)); err == nil {
			t.Errorf("webhooks-crash %s: taken", args)
		}
	}
	for _, args := range []string{"--rows 1", "now"} {
		if _, err := DrainCommand(strings.Fields(args)); err == nil {
			t.Errorf("outbox-drain %s: taken", args)
		}
	}
}
