package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/wire"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Options are what a guard is wired with. Limits and Now are required.
type Options struct {
	Limits  Limits
	Breaker *breaker.Breaker   // nil: every call is let through
	Metrics *telemetry.Metrics // nil: not measured
	Now     func() time.Time
}

// Guard is an adapter with its limits. It is safe for concurrent use.
type Guard struct {
	provider.Adapter
	o       Options
	places  chan struct{}
	readers chan struct{} // of reports
}

var _ provider.Gate = (*Guard)(nil)

// New puts a guard before an adapter.
func New(adapter provider.Adapter, o Options) *Guard {
	return &Guard{
		Adapter: adapter, o: o, places: make(chan struct{}, o.Limits.Concurrency), readers: make(chan struct{}, reportReaders),
	}
}

// Execute makes the call if it may be made now.
func (g *Guard) Execute(ctx context.Context, call provider.Call) provider.Result {
	request := call.Attempt().Request
	var result provider.Result
	timedOut, refused := g.through(ctx, request.Account, string(request.Step), func(ctx context.Context) ending {
		result = g.Adapter.Execute(ctx, call)
		return ending{
			outcome: string(result.Outcome), decided: decides(result.Outcome), status: result.Evidence.Status, timedOut: result.TimedOut,
		}
	})
	if refused == nil {
		result.TimedOut = timedOut
		return result
	}
	result = provider.Result{
		Outcome: provider.NotSent, Reference: request.Reference, RetryAfter: refused.retryAfter,
		Evidence: provider.Evidence{Error: "not sent: " + refused.why},
	}
	if !call.First() {
		result.Outcome = provider.Unknown // this time nothing left; before, something may have
	}
	return result
}

// Find makes the look-up if it may be made now. One that is not made is incomplete.
func (g *Guard) Find(ctx context.Context, q provider.Query) provider.Finding {
	var finding provider.Finding
	_, refused := g.through(ctx, q.Account, lookUp, func(ctx context.Context) ending {
		finding = g.Adapter.Find(ctx, q)
		outcome := "incomplete"
		if finding.Complete {
			outcome = "complete"
		}
		return ending{outcome: outcome, decided: finding.Complete, status: finding.Evidence.Status}
	})
	if refused != nil {
		finding.Evidence.Error = "not asked: " + refused.why
	}
	return finding
}

// Ready reports whether a call would be let through now.
func (g *Guard) Ready(ctx context.Context) (ready bool, why string) {
	if !g.inside(ctx) && len(g.places) == cap(g.places) {
		return false, g.full().why
	}
	if shut := g.shut(ctx); shut != nil {
		return false, shut.why
	}
	return true, ""
}

// shut is why the breaker would let no call through now; nil if it would.
func (g *Guard) shut(ctx context.Context) *refusal {
	if g.o.Breaker == nil {
		return nil
	}
	return open(g.o.Breaker.Shut(ctx))
}

func open(shut *breaker.Refusal) *refusal {
	if shut == nil {
		return nil
	}
	return &refusal{"the circuit is open: " + shut.Why, shut.RetryAfter}
}

// refusal is why a call was not made.
type refusal struct {
	why        string
	retryAfter time.Duration
}

// ending is what came of a call.
type ending struct {
	outcome  string
	decided  bool // the provider did what it was asked, or said why not
	status   int  // of the last reply; 0 if none came
	timedOut bool
}

// foreign refuses what is of another account than the adapter's.
func (g *Guard) foreign(account string) *refusal {
	if own := g.Account(); account != own {
		return &refusal{why: fmt.Sprintf("it is of the account %q, and the credentials here are of %q", account, own)}
	}
	return nil
}

// through makes a call when every limit allows it, within the operation's time.
func (g *Guard) through(ctx context.Context, account, operation string, call func(context.Context) ending) (timedOut bool, refused *refusal) {
	if foreign := g.foreign(account); foreign != nil {
		return false, foreign
	}
	ctx, leave, ok := g.take(ctx)
	if !ok {
		if shut := g.shut(ctx); shut != nil {
			return false, shut
		}
		g.o.Metrics.BulkheadFull(ctx, g.Name())
		return false, g.full()
	}
	defer leave()
	var permit breaker.Permit
	if g.o.Breaker != nil {
		var shut *breaker.Refusal
		if permit, shut = g.o.Breaker.Ask(ctx); shut != nil {
			return false, open(shut)
		}
	}
	most := g.o.Limits.of(operation)
	timeUp := fmt.Errorf("%s: no answer within %v: %w", operation, most, context.DeadlineExceeded)
	inTime, cancel := context.WithTimeoutCause(ctx, most, timeUp)
	defer cancel()
	health := g.watch(ctx, permit)
	var seen atomic.Bool
	began := g.o.Now()
	e := call(wire.WatchTimeouts(inTime, &seen))
	took := g.o.Now().Sub(began)

	late := errors.Is(context.Cause(inTime), timeUp)
	e.timedOut = e.timedOut || !e.decided && (late || seen.Load())
	gone := ctx.Err() != nil && !late
	health.done(ctx, verdictOf(e, gone), took)
	g.o.Metrics.ProviderCall(ctx, g.Name(), operation, e.outcome, took)
	if e.timedOut && !gone {
		g.o.Metrics.ProviderTimeout(ctx, g.Name(), operation)
	}
	return e.timedOut, nil
}

func decides(o provider.Outcome) bool { return o != provider.NotSent && o != provider.Unknown }

// verdictOf is what the ending of a call says about the provider's health: declines and
// our own mistakes say that it works. gone means that our caller gave it up.
func verdictOf(e ending, gone bool) breaker.Verdict {
	switch {
	case e.status == 0 && e.decided:
		return breaker.Ignored // it was decided without asking
	case e.decided:
		return breaker.Succeeded
	case gone:
		return breaker.Ignored
	case e.status >= http.StatusBadRequest && e.status < http.StatusInternalServerError && !e.timedOut:
		// It answers; that it does not do what we want is our mistake, or our haste (429).
		return breaker.Ignored
	}
	return breaker.Failed
}
