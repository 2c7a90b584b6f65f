package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/local/pubsubpush"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// deaf keeps the simulator's webhooks from arriving, so that it is the resolver that must find out.
func deaf(w *world) { w.Stripe.SetWebhook("") }

// The provider did it, its reply was lost, and it never tells us by itself either: a task finds out.
func TestAnUnknownOutcomeIsResolvedByItsTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	deaf(w)
	w.inject(providersim.Authorize, providersim.DropAfter)
	p := w.post(http.StatusAccepted, "/v1/payments", pay("pm_card_visa", nil))
	if p.Status != "PENDING" || p.Pending != "authorize" || p.http.Header.Get("Retry-After") == "" {
		t.Errorf("while nobody knows: %v", p)
	}
	w.advance(30 * time.Second) // less than the sweep's minute
	w.wantEvents(p, "payment.authorized")

	w.inject(providersim.Capture, providersim.DropAfter)
	if c := w.post(http.StatusAccepted, "/v1/payments/"+p.ID+"/capture", body{}); c.Pending != "capture" {
		t.Errorf("while nobody knows: %v", c)
	}
	w.advance(20 * time.Second)
	w.wantEvents(p, "payment.authorized", "payment.captured")
	if got := w.read(p); got.Status != "CAPTURED" || got.Pending != "" {
		t.Error(got)
	}
	w.wantEffects(p, map[string]int{"authorize": 1, "capture": 1})
	if n := w.count(`SELECT count(*) FROM transaction_saga WHERE rule = 'replay' AND evidence_id IS NOT NULL`); n != 2 {
		t.Errorf("%d operations were proven by replay, want 2", n)
	}
}

// The same while Cloud Tasks is away, so that no task could be made: the sweep makes it.
func TestAnUnknownOutcomeIsResolvedByTheSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{})
	deaf(w)
	w.inject(providersim.Authorize, providersim.Error500After)
	w.Tasks.Stop()
	p := w.post(http.StatusAccepted, "/v1/payments", pay("pm_card_visa", nil))
	w.advance(5 * time.Minute)
	if got := w.read(p); got.Status != "PENDING" {
		t.Fatalf("before anybody could ask: %v", got)
	}
	w.Tasks.Start()
	w.advance(3 * time.Minute)
	w.wantEvents(p, "payment.authorized")
	w.wantEffects(p, map[string]int{"authorize": 1})
}

func (w *world) inject(op providersim.Operation, kind providersim.FaultKind) {
	w.t.Helper()
	if err := w.Stripe.Inject(providersim.Rule{Operation: op, Fault: providersim.Fault{Kind: kind}}); err != nil {
		w.t.Fatal(err)
	}
}

// What the providers tell comes late, twice and out of order, and so does all that Google carries.
func TestLateRepeatedAndReorderedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{
		Jobs:        sweepAlone,
		PubSubChaos: pubsubpush.Chaos{Seed: 3, DuplicateOneIn: 3, ReorderOneIn: 3},
		TasksChaos:  cloudtasks.Chaos{Seed: 3, TwiceOneIn: 3, OutOfOrder: true},
	})
	anything := providersim.Rule{Probability: 0.2, Fault: providersim.Fault{Kind: providersim.DropAfter}}
	w.plan(w.Stripe, anything)
	drop := func(op providersim.Operation) providersim.Rule {
		return providersim.Rule{Operation: op, Times: 2, Fault: providersim.Fault{Kind: providersim.DropAfter}}
	}
	w.plan(w.PayPal, drop(providersim.Authorize), drop(providersim.Confirm), drop(providersim.Capture), drop(providersim.Refund))
	w.plan(w.Bank, anything)
	var payments []messy
	for i := range 18 {
		kind := messyKinds[i%len(messyKinds)]
		p := w.parse(w.Post(t.Context(), "/v1/payments", fmt.Sprintf("messy-create-key-%d", i), kind.create))
		payments = append(payments, messy{p, kind})
	}
	w.advance(30 * time.Minute) // so that the pages are known that payers are sent to
	for _, p := range payments {
		if p.outcome != "" {
			w.payer(w.read(p.answer), p.outcome)
		}
	}
	w.advance(2 * time.Hour)
	for _, p := range payments {
		if p.byHand {
			w.parse(w.Post(t.Context(), "/v1/payments/"+p.ID+"/capture", "messy-capture-"+p.ID, body{"amount": 3000}))
		}
	}
	w.advance(30 * time.Minute)
	for _, p := range payments {
		w.parse(w.Post(t.Context(), "/v1/payments/"+p.ID+"/refund", "messy-refund-"+p.ID, body{"amount": 1000}))
	}
	w.advance(5 * time.Hour)
	for _, p := range payments {
		if got := w.read(p.answer); got.Status != "CAPTURED" || got.Captured != p.captured || got.Refunded != 1000 || got.Pending != "" {
			t.Error(got)
		}
		w.wantEffects(p.answer, map[string]int{"authorize": 1, "capture": 1, "refund": 1})
		w.wantEvents(p.answer, p.events...)
	}
	if n := w.count(`SELECT count(*) FROM webhook_events WHERE state NOT IN ('applied', 'ignored')`); n != 0 {
		t.Errorf("%d of the providers' events were not dealt with", n)
	}
	for name, happened := range map[string]map[string]int64{"Stripe": w.Stripe.Counters(), "PayPal": w.PayPal.Counters(), "the bank": w.Bank.Counters()} {
		for _, kind := range []string{"fault.webhook_duplicate", "fault.webhook_delay", "fault.webhook_reorder", "fault.drop_after"} {
			if happened[kind] == 0 {
				t.Errorf("the plan never came to %s at %s", kind, name)
			}
		}
	}
}

// plan has a provider's webhooks be late, repeated and out of order, and more.
func (w *world) plan(provider interface{ SetPlan(providersim.Plan) error }, more ...providersim.Rule) {
	w.t.Helper()
	rule := func(kind providersim.FaultKind, p float64, wait time.Duration) providersim.Rule {
		return providersim.Rule{Probability: p, Fault: providersim.Fault{Kind: kind, For: wait}}
	}
	err := provider.SetPlan(providersim.Plan{Seed: 11, Rules: append(more,
		rule(providersim.WebhookDuplicate, 0.5, 0), rule(providersim.WebhookDelay, 0.3, 40*time.Minute),
		rule(providersim.WebhookReorder, 0.3, time.Hour))})
	if err != nil {
		w.t.Fatal(err)
	}
}

// messy is a payment amid trouble.
type messy struct {
	answer
	messyKind
}

type messyKind struct {
	create   body
	outcome  string // of the payer's visit
	byHand   bool   // captured by the merchant
	captured int64
	events   []string
}

var messyKinds = []messyKind{
	{
		pay("pm_card_visa", nil), "", true, 3000,
		[]string{"payment.authorized", "payment.captured", "refund.created", "refund.succeeded"},
	},
	{
		withPayPal(nil), providersim.PayPalApproves, true, 3000,
		[]string{"payment.requires_action", "payment.authorized", "payment.captured", "refund.created", "refund.succeeded"},
	},
	{
		transfer(12000), "authorise", false, 12000,
		[]string{"payment.requires_action", "payment.captured", "refund.created", "refund.succeeded"},
	},
}

// While Pub/Sub is away the API answers, and nothing is lost; when it is back the sweep catches up. There is no sweep
// meanwhile: it would try for as long as it may, in real time.
func TestPubSubIsAwayAndTheOutboxDrains(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stack.Options{SweepSchedule: rarely})
	w.PubSub.Stop()
	payments := make([]answer, 6)
	var busy sync.WaitGroup
	for i := range payments {
		busy.Go(func() {
			p := w.parse(w.Post(t.Context(), "/v1/payments", shop.NewKey(), pay("pm_card_visa", nil)))
			w.parse(w.Post(t.Context(), "/v1/payments/"+p.ID+"/capture", shop.NewKey(), body{}))
			payments[i] = p
		})
	}
	busy.Wait()
	w.advance(5 * time.Minute)
	if n := len(w.shop.Received()); n != 0 {
		t.Fatalf("%d webhooks came past Pub/Sub", n)
	}
	for _, p := range payments {
		if got := w.read(p); got.Status != "CAPTURED" {
			t.Error(got)
		}
	}
	if n := w.count(`SELECT count(*) FROM outbox WHERE published_at IS NULL`); n != 2*len(payments) {
		t.Errorf("%d events wait to be published, want %d", n, 2*len(payments))
	}
	w.PubSub.Start()
	w.advance(6 * time.Minute)
	for _, p := range payments {
		w.wantEvents(p, "payment.authorized", "payment.captured")
	}
	if n := w.count(`SELECT count(*) FROM outbox WHERE published_at IS NULL`); n != 0 {
		t.Errorf("%d events were not published", n)
	}
	if n := w.count(`SELECT count(*) FROM webhook_events WHERE state NOT IN ('applied', 'ignored')`); n != 0 {
		t.Errorf("%d of the provider's events were not dealt with", n)
	}
}
