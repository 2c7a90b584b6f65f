package breaker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/control/controltest"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// workerVariable makes this test's program a worker: an instance in a process of its own.
const workerVariable = "TOLLGATE_BREAKER_WORKER"

func TestMain(m *testing.M) {
	if settings := os.Getenv(workerVariable); settings != "" {
		if err := work(settings); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type settings struct{ Firestore, Clock, Provider string }

// An order tells a worker to make calls, one after the other or all at once, or to read the document, however long
// that takes: a machine that is busy with other tests makes requests go on with what they know.
type order struct {
	Calls  int
	AtOnce bool
	Read   bool
}

// What a worker says, a line each: when it is ready, what became of each call that it was to make, and when one has
// ended.
const (
	isReady   = "ready"
	isStale   = "stale" // the machine is too busy for a read to end in time
	isSlow    = "slow"  // asking took as long as it takes to wait for the store, almost
	isAllowed = "allowed"
	isRefused = "refused"
	isDone    = "done"
)

func work(text string) error {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	ctx := context.Background()
	e := controltest.Emulator{Addr: s.Firestore}
	store, err := control.Open(ctx, control.Config{Project: "fleet"}, e.Options()...)
	if err != nil {
		return err
	}
	if _, err := breaker.Show(ctx, store, "stripe"); err != nil { // the first request takes longer than Ask would wait
		return err
	}
	now := clock.Remote(s.Clock)
	w := worker{provider: s.Provider, store: store, now: now, breaker: instance(store, now)}
	w.breaker.SetPatience(5 * time.Second)
	w.say(isReady)
	for in := json.NewDecoder(os.Stdin); ; {
		var o order
		if err := in.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		w.do(ctx, o)
	}
}

type worker struct {
	provider string
	store    control.Store
	now      func() time.Time
	breaker  *breaker.Breaker

	mu sync.Mutex // of the output
}

func (w *worker) say(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = fmt.Println(what) // the parent notices when nothing comes
}

func (w *worker) do(ctx context.Context, o order) {
	if o.Read {
		for range 3 { // the breaker's own read, which began earlier, has ended by then
			w.breaker.Shut(ctx)
			_, _ = w.store.Get(ctx, "circuits/stripe")
		}
		if w.now().Sub(w.breaker.Heard()) < 2*time.Second {
			w.say(isReady)
		} else {
			w.say(isStale)
		}
	}
	for range o.Calls {
		if o.AtOnce {
			go w.call(ctx)
		} else {
			w.call(ctx)
		}
	}
}

func (w *worker) call(ctx context.Context) {
	began := time.Now()
	p, refused := w.breaker.Ask(ctx)
	if time.Since(began) > 150*time.Millisecond {
		w.say(isSlow)
	}
	if refused != nil {
		w.say(isRefused)
		return
	}
	w.say(isAllowed)
	verdict := breaker.Failed
	if resp, err := http.Get(w.provider); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			verdict = breaker.Succeeded
		}
	}
	p.Done(ctx, verdict, time.Second)
	w.say(isDone)
}

// Four processes, one circuit: as a deployment has it, but for the machine.
func TestProcessesShareACircuit(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	if n := f.each(f.workers, 5); n != 20 {
		t.Fatalf("%d calls of 20 were allowed by a closed circuit", n)
	}
	f.trip(f.workers)
	f.becomes(breaker.Open, 1)
	has := f.storm(f.workers)
	f.becomes(breaker.HalfOpen, 2)
	f.answer(f.workers, has)
	f.becomes(breaker.Closed, 3)
	f.passed(2*time.Second, f.workers)
	if n := f.each(f.workers, 20); n != 80 {
		t.Errorf("%d calls of 80 were allowed after it closed", n)
	}

	// A worker dies with all it has. The others get its places when the leases have ended.
	f.trip(f.workers)
	doomed, rest := f.workers[:1], f.workers[1:]
	f.storm(doomed)
	doomed[0].kill()
	if n := f.each(rest, 3); n != 0 {
		t.Errorf("%d calls were allowed beside the five of the dead", n)
	}
	f.passed(30*time.Second, rest)
	has = f.storm(rest)
	f.answer(rest, has)
	f.becomes(breaker.Closed, 6)
	f.passed(2*time.Second, rest)

	// Firestore dies. Each goes on by itself.
	f.emulator.Kill()
	f.pass(2 * time.Second)
	if n := f.each(rest, 50); n != 150 {
		t.Errorf("%d calls of 150 were allowed without Firestore", n)
	}
	for _, w := range rest {
		w.slow = 0
	}
	f.each(rest, 50)
	for _, w := range rest {
		if w.slow > 25 {
			t.Errorf("%d calls of 50 waited for Firestore", w.slow)
		}
	}
	f.pass(20 * time.Second)
	f.shop.set(true, false)
	if n := f.each(rest, 30); n != 30 {
		t.Errorf("%d calls of 90 were allowed by workers that each judge for themselves, want 10 each", n)
	}
	f.pass(time.Minute)
	f.shop.set(false, false)
	if n := f.each(rest, 50); n != 150 {
		t.Errorf("%d calls of 150 were allowed when it was well again", n)
	}
}
