package breaker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/control/controltest"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// shop is the provider that all workers call. It can be ill, and it can keep its callers waiting.
type shop struct {
	mu    sync.Mutex
	ill   bool
	calls int
	gate  chan struct{} // nil: nobody waits
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.calls++
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ill {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// set returns how many calls there were since it was last called.
func (s *shop) set(ill, keepWaiting bool) (calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != nil {
		close(s.gate)
		s.gate = nil
	}
	if keepWaiting {
		s.gate = make(chan struct{})
	}
	calls, s.calls, s.ill = s.calls, 0, ill
	return calls
}

// fleet is four workers that share a clock, a provider and an emulator of Firestore.
type fleet struct {
	t        *testing.T
	clock    *clock.Clock
	shop     *shop
	emulator *controltest.Emulator
	store    control.Store
	workers  []*process
}

type process struct {
	t     *testing.T
	kill  func()
	in    *json.Encoder
	lines *bufio.Scanner
	slow  int // calls, of those that were asked
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, clock: clock.NewFrozen(epoch), shop: &shop{}, emulator: controltest.Start(t)}
	f.store = f.emulator.Open(t, "fleet")
	clockServer := httptest.NewServer(f.clock.Handler())
	t.Cleanup(clockServer.Close)
	provider := httptest.NewServer(f.shop)
	t.Cleanup(provider.Close)
	t.Cleanup(func() { f.shop.set(false, false) })
	text, err := json.Marshal(settings{f.emulator.Addr, clockServer.URL, provider.URL})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		f.workers = append(f.workers, startWorker(t, string(text)))
	}
	for _, w := range f.workers {
		w.heard(isReady)
	}
	return f
}

func startWorker(t *testing.T, settings string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // or a worker that says nothing stops all tests
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"="+settings)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	return &process{t: t, kill: kill, in: json.NewEncoder(in), lines: bufio.NewScanner(out)}
}

func (p *process) order(o order) {
	p.t.Helper()
	if err := p.in.Encode(o); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) next() string {
	p.t.Helper()
	if !p.lines.Scan() {
		p.t.Fatalf("a worker is gone: %v", p.lines.Err())
	}
	return p.lines.Text()
}

func (p *process) heard(what string) {
	p.t.Helper()
	if got := p.next(); got != what {
		p.t.Fatalf("a worker says %q, want %q", got, what)
	}
}

// asked waits until the worker has asked for n calls, and tells how many were allowed.
func (p *process) asked(n int) (allowed int) {
	p.t.Helper()
	for n > 0 {
		switch p.next() {
		case isAllowed:
			allowed++
			n--
		case isRefused:
			n--
		case isSlow:
			p.slow++
		}
	}
	return allowed
}

func (f *fleet) pass(d time.Duration) {
	f.t.Helper()
	if err := f.clock.Advance(f.t.Context(), d); err != nil {
		f.t.Fatal(err)
	}
}

// passed lets time pass, and all workers learn what they must know by then.
func (f *fleet) passed(d time.Duration, workers []*process) {
	f.t.Helper()
	f.pass(d)
	for stale := true; stale; {
		stale = false
		for _, w := range workers {
			w.order(order{Read: true})
		}
		for _, w := range workers {
			stale = w.next() == isStale || stale
		}
		if stale {
			f.pass(time.Second) // when they try again
		}
	}
}

// each has every worker make calls one after the other, and tells how many were allowed.
func (f *fleet) each(workers []*process, n int) (allowed int) {
	f.t.Helper()
	for _, w := range workers {
		w.order(order{Calls: n})
	}
	for _, w := range workers {
		mine := w.asked(n - 1)
		last := w.asked(1)
		if last > 0 {
			w.heard(isDone)
		}
		allowed += mine + last
	}
	return allowed
}

// trip has the first worker open the circuit, and checks that all know of it two seconds later. A minute after the
// trip it returns.
func (f *fleet) trip(workers []*process) {
	f.t.Helper()
	f.shop.set(true, false)
	f.pass(20 * time.Second) // what went well before counts no more
	f.each(workers[:1], 12)
	for show(f.t, f.store).State != breaker.Open { // it tries again when the machine is too busy
		f.passed(time.Second, workers[:1])
		if n := f.each(workers[:1], 1); n != 0 {
			f.t.Fatal("ten calls failed, and the next is allowed")
		}
	}
	f.passed(2*time.Second, workers)
	if n := f.each(workers, 3); n != 0 {
		f.t.Errorf("%d calls were allowed two seconds after the trip", n)
	}
	f.passed(58*time.Second, workers)
}

// storm has all workers ask for calls at once, again and again, until the provider has as many as the circuit allows,
// and once more. The provider keeps them waiting. It returns how many each worker has.
func (f *fleet) storm(workers []*process) []int {
	f.t.Helper()
	const calls = 6
	has, all := make([]int, len(workers)), 0
	f.shop.set(false, true)
	for rounds, full := 0, false; !full; rounds++ {
		full = all >= 5
		for _, w := range workers {
			w.order(order{Calls: calls, AtOnce: true})
		}
		all = 0
		for i, w := range workers {
			has[i] += w.asked(calls)
			all += has[i]
		}
		if rounds == 20 {
			f.t.Fatalf("%d probes after %d rounds, want 5", all, rounds)
		}
		f.passed(time.Second, workers)
	}
	if all != 5 {
		f.t.Errorf("%v probes, want 5", has)
	}
	return has
}

// answer lets the provider answer the calls it keeps.
func (f *fleet) answer(workers []*process, has []int) {
	f.t.Helper()
	if n := f.shop.set(false, false); n > 5 {
		f.t.Errorf("the provider had %d calls, want at most 5", n)
	}
	for i, w := range workers {
		for range has[i] {
			w.heard(isDone)
		}
	}
}

// becomes waits for what the workers are about to write: on a busy machine Done does not wait that long.
func (f *fleet) becomes(s breaker.State, generation int64) {
	f.t.Helper()
	late := time.Now().Add(20 * time.Second)
	c := show(f.t, f.store)
	for (c.State != s || c.Generation != generation) && time.Now().Before(late) {
		c = show(f.t, f.store)
	}
	is(f.t, c, s, generation)
}
