package providersim_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// TestStormOfFaults is the run that the simulator is for: many payments at once,
// one in five requests going wrong in some way, and callers that repeat a request
// under its key until they know. Each payment must have happened exactly once.
func TestStormOfFaults(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.SetPlan(providersim.Plan{Seed: 42, Rules: []providersim.Rule{
		{Operation: providersim.Authorize, Probability: 0.1, Fault: providersim.Fault{Kind: providersim.DropAfter}},
		{Operation: providersim.Authorize, Probability: 0.05, Fault: providersim.Fault{Kind: providersim.DropBefore}},
		{Operation: providersim.Authorize, Probability: 0.05, Fault: providersim.Fault{Kind: providersim.BadJSON}},
		{Operation: providersim.Authorize, Probability: 0.05, Fault: providersim.Fault{Kind: providersim.RateLimited}},
		{Probability: 0.1, Fault: providersim.Fault{Kind: providersim.WebhookDuplicate}},
		{Probability: 0.1, Fault: providersim.Fault{Kind: providersim.WebhookReorder}},
	}}); err != nil {
		t.Fatal(err)
	}
	const payments, callers = 400, 20
	work := make(chan string)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for order := range work {
				for {
					p := payment(500, "pm_card_visa", keyed("auth-"+order))
					p.Metadata["order"] = order
					if _, err := b.intents.New(p); err == nil {
						break
					}
				}
			}
		})
	}
	for i := range payments {
		work <- fmt.Sprint("storm-", i)
	}
	close(work)
	wg.Wait()
	for i := range payments {
		effects := b.EffectsFor("order", fmt.Sprint("storm-", i))
		if len(effects) != 2 || effects[0].Kind != "authorize" || effects[1].Kind != "capture" {
			t.Errorf("payment %d: %v", i, effects)
		}
	}
	b.advance(time.Hour)
	arrived := map[string]bool{}
	b.receiver.names(t)
	for _, e := range b.receiver.events {
		arrived[e.ID] = true
	}
	wantEqual(t, "events that arrived", len(arrived), 3*payments)
	counters := b.Counters()
	for _, name := range []string{"fault.drop_after", "fault.drop_before", "fault.bad_json", "fault.429", "fault.webhook_duplicate", "fault.webhook_reorder"} {
		if counters[name] == 0 {
			t.Errorf("%s never struck", name)
		}
	}
}
