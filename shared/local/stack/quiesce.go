package stack

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Settle does what is due now, and what that makes due now, until all is quiet: no request is being answered, nothing
// is on its way, nothing is due.
func (s *Stack) Settle(ctx context.Context) error { return s.Clock.Settle(ctx) }

// Advance moves the clock by d, and lets all settle at every instant on the way at which something is due.
func (s *Stack) Advance(ctx context.Context, d time.Duration) error { return s.Clock.Advance(ctx, d) }

// registerParticipants puts the watch over what is under way first: the clock asks in order, and whether the others
// have something due is only certain once nothing is under way that may give it to them.
func (s *Stack) registerParticipants() {
	var host watched = remoteActivity{"http://" + s.hosts.AdminAddress}
	if s.host != nil {
		host = &s.host.activity
	}
	s.Clock.Register(&quiescence{host: host, simulators: s.simulators, now: s.Clock.Now})
	for _, sim := range s.simulators {
		s.Clock.Register(simulated{sim})
	}
	s.Clock.Register(s.Tasks, s.PubSub, s.jobs)
}

// run lets the clock do by itself what falls due.
func (s *Stack) run() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		_ = s.Clock.Run(ctx) // it ends with Stop: none of the participants gives up
		close(ended)
	}()
	s.defers(func() {
		stop()
		<-ended
	})
}

// watched is a host, here or elsewhere.
type watched interface {
	read() Activity
	wait(context.Context) error
}

// quiescence is a clock.Participant that is due as long as something is under way that belongs to no other: requests
// that a host answers, or works on after its answer, and webhooks that a simulator is sending.
type quiescence struct {
	host       watched
	simulators []simulator
	now        func() time.Time
	waiting    atomic.Bool
}

// NextDue implements clock.Participant.
func (q *quiescence) NextDue() (time.Time, bool) {
	if q.waiting.Load() || q.quiet() {
		return time.Time{}, false
	}
	return q.now(), true
}

// quiet reports whether nothing is under way at a single instant: that of the last simulator's answer. The host is
// looked at on both sides of them, since host and simulators keep each other busy; a simulator does not keep another so.
func (q *quiescence) quiet() bool {
	before := q.host.read()
	if before.InFlight > 0 {
		return false
	}
	for _, sim := range q.simulators {
		if sim.Quiesce(ended) != nil {
			return false
		}
	}
	return q.host.read() == before
}

// RunDue implements clock.Participant.
func (q *quiescence) RunDue(ctx context.Context) error {
	if !q.waiting.CompareAndSwap(false, true) {
		return nil
	}
	defer q.waiting.Store(false)
	var all errgroup.Group
	all.Go(func() error { return q.host.wait(ctx) })
	for _, sim := range q.simulators {
		all.Go(func() error { return sim.Quiesce(ctx) })
	}
	return all.Wait()
}

// ended is a context that is over, for asking whether there is anything to wait for.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// simulated makes a simulator a clock.Participant.
type simulated struct{ simulator }

func (s simulated) RunDue(ctx context.Context) error {
	s.simulator.RunDue(ctx)
	return ctx.Err()
}

// remoteActivity watches a host in another process. One that does not answer is dead, and busy with nothing.
type remoteActivity struct{ admin string }

func (r remoteActivity) read() Activity {
	resp, err := http.Get(r.admin + "/activity")
	if err != nil {
		return Activity{}
	}
	defer func() { _ = resp.Body.Close() }()
	var a Activity
	if json.NewDecoder(resp.Body).Decode(&a) != nil {
		return Activity{}
	}
	return a
}

func (r remoteActivity) wait(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.admin+"/quiesce", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ctx.Err()
	}
	return resp.Body.Close()
}
