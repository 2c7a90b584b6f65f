package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
)

// Reports have limits of their own, which need no configuration: nobody waits for one.
const (
	reportReaders = 2
	reportTime    = 20 * time.Second // of one page, connecting apart
)

// report is the operation of Entries, beside the steps.
const report = "report"

// Entries reads a page of the report if it may be read now; if not, nothing of it counts.
//
// An open circuit keeps it away, as it keeps everything. But how reading goes is not told
// to the breaker: providers serve reports by other machines than payments, and slowly. A
// report that fails must not stop the payments, nor one that works let them begin again.
func (g *Guard) Entries(ctx context.Context, q provider.EntryQuery) provider.EntryPage {
	if r := g.unreadable(ctx, q); r != nil {
		return provider.EntryPage{RetryAfter: r.retryAfter, Evidence: provider.Evidence{Error: "not asked: " + r.why}}
	}
	select {
	case g.readers <- struct{}{}:
		defer func() { <-g.readers }()
	default:
		return provider.EntryPage{RetryAfter: busyRetry, Evidence: provider.Evidence{
			Error: fmt.Sprintf("not asked: %d reports of %s are being read in this instance", cap(g.readers), g.Name()),
		}}
	}
	most := g.o.Limits.Connect + reportTime
	timeUp := fmt.Errorf("%s: no answer within %v: %w", report, most, context.DeadlineExceeded)
	inTime, cancel := context.WithTimeoutCause(ctx, most, timeUp)
	defer cancel()
	began := g.o.Now()
	page := g.Adapter.Entries(inTime, q)
	outcome := "incomplete"
	if page.OK {
		outcome = "complete"
	}
	g.o.Metrics.ProviderCall(ctx, g.Name(), report, outcome, g.o.Now().Sub(began))
	if !page.OK && errors.Is(context.Cause(inTime), timeUp) {
		g.o.Metrics.ProviderTimeout(ctx, g.Name(), report)
	}
	return page
}

// unreadable is why the report must not be read now; nil if it may be.
func (g *Guard) unreadable(ctx context.Context, q provider.EntryQuery) *refusal {
	if foreign := g.foreign(q.Account); foreign != nil {
		return foreign
	}
	return g.shut(ctx)
}
