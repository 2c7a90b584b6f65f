package guard

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

func reportOf(account string) provider.EntryQuery {
	return provider.EntryQuery{Account: account, Since: noon.Add(-time.Hour), Until: noon}
}

func TestAReportIsOfTheOwnAccount(t *testing.T) {
	t.Parallel()
	f := approves()
	g := New(f, Options{Limits: someLimits(), Now: newFrozen().now})
	if got := g.Entries(t.Context(), reportOf("test")); !got.OK || got.Evidence.Status != 200 {
		t.Errorf("the own account: %+v", got)
	}
	if got := g.Entries(t.Context(), reportOf("another")); got.OK || !strings.Contains(got.Evidence.Error, `account "another"`) {
		t.Errorf("another account: %+v", got)
	}
	if n := f.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// Whoever reads reports takes no place of a payment, and no more than two at a time do.
func TestReportsHavePlacesOfTheirOwn(t *testing.T) {
	t.Parallel()
	limits := someLimits()
	limits.Concurrency = 1
	f := approves()
	began, end := make(chan struct{}), make(chan struct{})
	f.entries = func(context.Context) provider.EntryPage {
		began <- struct{}{}
		<-end
		return provider.EntryPage{OK: true}
	}
	g := New(f, Options{Limits: limits, Now: newFrozen().now})
	var wg sync.WaitGroup
	for range reportReaders {
		wg.Go(func() {
			if got := g.Entries(t.Context(), reportOf("test")); !got.OK {
				t.Errorf("a reader: %+v", got)
			}
		})
		<-began
	}
	if got := g.Entries(t.Context(), reportOf("test")); got.OK || got.RetryAfter != busyRetry || !strings.Contains(got.Evidence.Error, "2 reports of fake") {
		t.Errorf("one more: %+v", got)
	}
	if got := g.Execute(t.Context(), first(t, provider.Capture)); got.Outcome != provider.Approved {
		t.Errorf("a payment meanwhile: %+v", got)
	}
	close(end)
	wg.Wait()
}

func TestAReportHasItsTime(t *testing.T) {
	t.Parallel()
	limits := someLimits()
	limits.Connect = time.Second
	synctest.Test(t, func(t *testing.T) {
		g := New(hangs(), Options{Limits: limits, Now: time.Now}) // the bubble's clock
		began := time.Now()
		got := g.Entries(t.Context(), reportOf("test"))
		if took := time.Since(began); took != time.Second+reportTime || got.OK || !strings.Contains(got.Evidence.Error, "report: no answer within 21s") {
			t.Errorf("%v: %+v", took, got)
		}
	})
}

// Reports that fail, however many, stop no payment; a circuit that is open stops reports.
func TestReportsAndTheCircuit(t *testing.T) {
	t.Parallel()
	clock, store, f := newFrozen(), control.NewMemory(), approves()
	f.entries = func(context.Context) provider.EntryPage {
		clock.advance(10 * time.Millisecond)
		return provider.EntryPage{Evidence: provider.Evidence{Status: 503}}
	}
	g := New(f, Options{Limits: someLimits(), Now: clock.now, Breaker: breaker.New(breaker.Options{
		Provider: "fake", Store: store, Now: clock.now, NewID: id.Source{Now: clock.now}.New,
	})})
	for range 200 {
		g.Entries(t.Context(), reportOf("test"))
	}
	if got := g.Execute(t.Context(), first(t, provider.Authorize)); got.Outcome != provider.Approved {
		t.Fatalf("a payment after reports that failed: %+v", got)
	}
	if err := breaker.Force(t.Context(), store, "fake", breaker.ForcedOpen, "op@example.com", "their incident 17", clock.now()); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute) // for the cached reading to be too old
	before := f.calls.Load()
	got := g.Entries(t.Context(), reportOf("test"))
	if got.OK || got.RetryAfter != time.Minute || !strings.Contains(got.Evidence.Error, "their incident 17") || f.calls.Load() != before {
		t.Errorf("with an open circuit: %+v", got)
	}
}
