package guard

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fake is an adapter that answers as a test wants.
type fake struct {
	name, account string
	execute       func(context.Context) provider.Result
	find          func(context.Context) provider.Finding
	entries       func(context.Context) provider.EntryPage
	calls         atomic.Int64
	under, most   atomic.Int64 // way at a time
}

func (f *fake) Name() string                            { return f.name }
func (f *fake) Account() string                         { return f.account }
func (*fake) Capabilities() provider.Capabilities       { return fakeCapabilities() }
func (*fake) ParseEvent([]byte) (provider.Event, error) { return provider.Event{}, nil }

func (f *fake) count() (leave func()) {
	f.calls.Add(1)
	n := f.under.Add(1)
	for most := f.most.Load(); n > most && !f.most.CompareAndSwap(most, n); most = f.most.Load() {
	}
	return func() { f.under.Add(-1) }
}

func (f *fake) Execute(ctx context.Context, _ provider.Call) provider.Result {
	defer f.count()()
	return f.execute(ctx)
}

func (f *fake) Find(ctx context.Context, _ provider.Query) provider.Finding {
	defer f.count()()
	return f.find(ctx)
}

func (f *fake) Entries(ctx context.Context, _ provider.EntryQuery) provider.EntryPage {
	defer f.count()()
	return f.entries(ctx)
}

func fakeCapabilities() provider.Capabilities {
	windows := map[provider.Step]time.Duration{}
	for _, step := range steps {
		windows[step] = 24 * time.Hour
	}
	return provider.Capabilities{KeyWindow: windows}
}

var steps = []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund}

// approves is an adapter of which every call succeeds.
func approves() *fake {
	return &fake{
		name: "fake", account: "test",
		execute: func(context.Context) provider.Result {
			return provider.Result{Outcome: provider.Approved, Evidence: provider.Evidence{Status: 200}}
		},
		find: func(context.Context) provider.Finding {
			return provider.Finding{Complete: true, Evidence: provider.Evidence{Status: 200}}
		},
		entries: func(context.Context) provider.EntryPage {
			return provider.EntryPage{OK: true, Evidence: provider.Evidence{Status: 200}}
		},
	}
}

// hangs is an adapter that says nothing until its time is up.
func hangs() *fake {
	f := approves()
	f.execute = func(ctx context.Context) provider.Result {
		<-ctx.Done()
		return provider.Result{Outcome: provider.Unknown, Evidence: provider.Evidence{Error: context.Cause(ctx).Error()}}
	}
	f.find = func(ctx context.Context) provider.Finding {
		<-ctx.Done()
		return provider.Finding{Evidence: provider.Evidence{Error: context.Cause(ctx).Error()}}
	}
	f.entries = func(ctx context.Context) provider.EntryPage {
		<-ctx.Done()
		return provider.EntryPage{Evidence: provider.Evidence{Error: context.Cause(ctx).Error()}}
	}
	return f
}

func attempt(step provider.Step, account string) provider.Attempt {
	return provider.NewAttempt(id.ID{1}, 1, provider.Request{
		Step: step, Account: account, MerchantID: id.ID{2}, PaymentID: id.ID{3}, Reference: "pi_1",
		Amount: money.New(5000, money.MustParseCurrency("JPY")),
	}, noon)
}

func first(t testing.TB, step provider.Step) provider.Call { return firstOf(t, attempt(step, "test")) }

func firstOf(t testing.TB, a provider.Attempt) provider.Call {
	t.Helper()
	call, err := provider.FirstCall(a)
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func replay(t testing.TB, step provider.Step) provider.Call {
	return replayOf(t, attempt(step, "test"))
}

func replayOf(t testing.TB, a provider.Attempt) provider.Call {
	t.Helper()
	call, ok := provider.Replay(a, fakeCapabilities(), noon)
	if !ok {
		t.Fatal("the key window is closed")
	}
	return call
}

func query() provider.Query {
	return provider.Query{Account: "test", PaymentID: id.ID{3}, Reference: "pi_1", Since: noon}
}

// frozen is a clock that stands still until it is moved.
type frozen struct {
	mu sync.Mutex
	at time.Time
}

func newFrozen() *frozen { return &frozen{at: noon} }

func (c *frozen) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *frozen) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
