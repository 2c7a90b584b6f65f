package providersim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// notStripe is what a caller sees when the answer was no answer of Stripe's.
func notStripe(t *testing.T, err error) {
	t.Helper()
	var e *stripe.Error
	if err == nil || errors.As(err, &e) {
		t.Errorf("got %v, want an error that is not Stripe's", err)
	}
}

func status(want int) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		var e *stripe.Error
		if !errors.As(err, &e) || e.HTTPStatusCode != want {
			t.Errorf("got %v, want status %d", err, want)
		}
	}
}

func none(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("got %v", err)
	}
}

// outcome is what a fault does to a payment: what the caller sees, whether the
// money moved, what the same request gets afterwards, and whether the money has
// moved once it did.
type outcome struct {
	sees   func(*testing.T, error)
	acted  bool
	retry  func(*testing.T, error)
	actsBy bool
	late   time.Duration // when it acts by itself
}

var outcomes = map[string]outcome{
	"delay_before; for=1ms":  {sees: none, acted: true, retry: none, actsBy: true},
	"delay_after; for=1ms":   {sees: none, acted: true, retry: none, actsBy: true},
	"drop_before":            {sees: notStripe, retry: none, actsBy: true},
	"drop_after":             {sees: notStripe, acted: true, retry: none, actsBy: true},
	"500_before":             {sees: status(500), retry: status(500)},
	"500_after":              {sees: status(500), acted: true, retry: status(500), actsBy: true},
	"429":                    {sees: status(429), retry: none, actsBy: true},
	"409":                    {sees: status(409), retry: none, actsBy: true},
	"html_before":            {sees: notStripe, retry: none, actsBy: true},
	"html_after":             {sees: notStripe, acted: true, retry: none, actsBy: true},
	"html_after; status=503": {sees: notStripe, acted: true, retry: none, actsBy: true},
	"bad_json":               {sees: notStripe, acted: true, retry: none, actsBy: true},
	"wrong_amount":           {sees: none, acted: true, retry: none, actsBy: true},
	"late_500; for=30m":      {sees: status(500), retry: status(500), late: 30 * time.Minute},
	"late_drop; for=30m":     {sees: notStripe, retry: status(409), late: 30 * time.Minute},
	"hang_before":            {sees: notStripe, retry: none, actsBy: true},
	"hang_after":             {sees: notStripe, acted: true, retry: none, actsBy: true},
	"late_hang; for=30m":     {sees: notStripe, retry: status(409), late: 30 * time.Minute},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for fault, want := range outcomes {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			kind, _, _ := strings.Cut(fault, ";")
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			request := func() *stripe.PaymentIntentParams {
				return payment(5000, "pm_card_visa", manual, keyed("k"))
			}
			first := request()
			faulty(fault)(first)
			first.Context = ctx
			answer := make(chan error, 1)
			go func() {
				_, err := b.intents.New(first)
				answer <- err
			}()
			if strings.Contains(kind, "hang") {
				until(t, "the request has come as far as it will", func() bool {
					return b.Counters()["fault."+kind] == 1 && (!want.acted || len(b.Effects()) == 1)
				})
				b.quiesce() // which does not wait for the hanging one
				leave()
			}
			want.sees(t, <-answer)
			wantEqual(t, "acted", len(b.Effects()) == 1, want.acted)

			_, err := b.intents.New(request())
			want.retry(t, err)
			wantEqual(t, "acted after the retry", len(b.Effects()) == 1, want.actsBy)

			if want.late != 0 {
				b.advance(want.late)
				wantEqual(t, "acted late", len(b.Effects()), 1)
				_, err = b.intents.New(request())
				if kind == "late_500" {
					status(500)(t, err)
				} else {
					none(t, err)
				}
			}
			if len(b.Effects()) > 1 {
				t.Errorf("acted twice: %v", b.Effects())
			}
		})
	}
}

func TestEveryFaultIsTestedAndDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{}
	for fault := range outcomes {
		kind, _, _ := strings.Cut(fault, ";")
		tested[kind] = true
	}
	for _, each := range providersim.FaultKinds() {
		kind := string(each)
		if !strings.Contains(string(doc), "//\t"+kind+" ") {
			t.Errorf("doc.go says nothing of the fault %s", kind)
		}
		if !strings.HasPrefix(kind, "webhook_") && !tested[kind] {
			t.Errorf("no test has the fault %s", kind)
		}
	}
	for token := range providersim.StripeTestCards() {
		other := strings.Replace(token, "pm_card_charge", "pm_card_visa_charge", 1)
		bare := strings.Replace(token, "pm_card_visa_charge", "pm_card_charge", 1)
		if !strings.Contains(string(doc), other) && !strings.Contains(string(doc), bare) {
			t.Errorf("doc.go says nothing of the card %s", token)
		}
	}
}

func TestWrongAmountIsOnlyOnTheWire(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa", faulty("wrong_amount")))
	wantEqual(t, "amount", pi.Amount, 5001)
	wantEqual(t, "received", pi.AmountReceived, 5001)
	pi, err := b.intents.Get(pi.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "amount in truth", pi.Amount, 5000)
}

// A drop that sends nothing is mended by Go's own transport, which is why drops
// send a few bytes first: the caller would see nothing of it.
func TestSilentDropIsRepeatedByTheTransport(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.create(payment(1, "pm_card_visa")) // leaves a connection to be used again
	if err := b.Inject(providersim.Rule{
		Operation: providersim.Authorize,
		Fault:     providersim.Fault{Kind: providersim.DropAfter, Silent: true},
	}); err != nil {
		t.Fatal(err)
	}
	pi := b.create(payment(5000, "pm_card_visa", keyed("k")))
	wantEqual(t, "replay", replayed(pi), true)
	wantEqual(t, "requests", b.Counters()["authorize.requests"], 3)
}

func TestReplaysMeetOnlyFaultsOfTheNetwork(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.create(payment(5000, "pm_card_visa", keyed("k")))
	for _, fault := range []string{"500_before", "500_after", "late_500", "late_drop", "late_hang", "delay_before; for=1h"} {
		pi := b.create(payment(5000, "pm_card_visa", keyed("k"), faulty(fault)))
		wantEqual(t, fault+": replay", replayed(pi), true)
		kind, _, _ := strings.Cut(fault, ";")
		wantEqual(t, fault+": counted", b.Counters()["fault."+kind], 0)
	}
	_, err := b.intents.New(payment(5000, "pm_card_visa", keyed("k"), faulty("drop_after")))
	notStripe(t, err)
	b.advance(time.Hour)
	if diff := cmp.Diff([]string{"authorize", "capture"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestLateSuccessMeetsTheStateOfItsTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa", manual))
	capture := &stripe.PaymentIntentCaptureParams{}
	capture.SetIdempotencyKey("capture")
	if err := b.Inject(providersim.Rule{
		Operation: providersim.Capture,
		Fault:     providersim.Fault{Kind: providersim.LateDrop, For: time.Hour},
	}); err != nil {
		t.Fatal(err)
	}
	_, err := b.intents.Capture(pi.ID, capture)
	notStripe(t, err)
	if _, err = b.intents.Cancel(pi.ID, nil); err != nil {
		t.Fatal(err)
	}
	b.advance(2 * time.Hour)
	_, err = b.intents.Capture(pi.ID, capture)
	wantError(t, err, 400, stripe.ErrorCodePaymentIntentUnexpectedState)
	if diff := cmp.Diff([]string{"authorize", "void"}, b.effects()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestInjectedRulesComeFirstAndOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.SetPlan(providersim.Plan{Rules: []providersim.Rule{
		{Operation: providersim.Capture, Fault: providersim.Fault{Kind: providersim.RateLimited}},
	}}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []providersim.FaultKind{providersim.Conflict, providersim.Error500Before} {
		if err := b.Inject(providersim.Rule{Operation: providersim.Capture, Fault: providersim.Fault{Kind: kind}}); err != nil {
			t.Fatal(err)
		}
	}
	pi := b.create(payment(5000, "pm_card_visa", manual))
	for _, want := range []int{409, 500, 429, 429} {
		_, err := b.intents.Capture(pi.ID, nil)
		status(want)(t, err)
	}
	wantEqual(t, "rules in force", len(b.Plan().Rules), 3)
}

func TestRulesBySkipTimesAndMetadata(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.SetPlan(providersim.Plan{Rules: []providersim.Rule{{
		Operation: providersim.Capture, Skip: 1, Times: 1, Metadata: map[string]string{"order": "18"},
		Fault: providersim.Fault{Kind: providersim.RateLimited},
	}}}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false} {
		for _, order := range []string{"17", "18"} {
			pi := b.create(payment(5000, "pm_card_visa", manual, func(p *stripe.PaymentIntentParams) { p.Metadata["order"] = order }))
			_, err := b.intents.Capture(pi.ID, nil)
			wantEqual(t, fmt.Sprintf("capture %d of order %s was hit", i, order), err != nil, want && order == "18")
		}
	}
}

func TestSeededPlanRepeatsItself(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (hits string) {
		b := newBench(t)
		if err := b.SetPlan(providersim.Plan{Seed: seed, Rules: []providersim.Rule{
			{Operation: "*", Probability: 0.2, Fault: providersim.Fault{Kind: providersim.RateLimited}},
			{Operation: providersim.Authorize, Probability: 0.2, Fault: providersim.Fault{Kind: providersim.Error500Before}},
		}}); err != nil {
			t.Fatal(err)
		}
		for range 120 {
			_, err := b.intents.New(payment(10, "pm_card_visa"))
			var e *stripe.Error
			switch {
			case err == nil:
				hits += "."
			case errors.As(err, &e):
				hits += fmt.Sprint(e.HTTPStatusCode / 100)
			}
		}
		return hits
	}
	first, again, other := run(7), run(7), run(8)
	wantEqual(t, "the same seed", again, first)
	if other == first {
		t.Errorf("another seed gave the same faults")
	}
	for digit, want := range map[string][2]int{"4": {12, 38}, "5": {8, 32}} { // 24 and 19 expected
		if n := strings.Count(first, digit); n < want[0] || n > want[1] {
			t.Errorf("%d answers of %s00, want %d to %d", n, digit, want[0], want[1])
		}
	}
}

func TestFaultText(t *testing.T) {
	t.Parallel()
	f, err := providersim.ParseFault(" late_drop ; for=90s; silent")
	if err != nil {
		t.Fatal(err)
	}
	want := providersim.Fault{Kind: providersim.LateDrop, For: 90 * time.Second, Silent: true}
	wantEqual(t, "fault", f, want)
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "text", string(text), `"late_drop; for=1m30s; silent"`)
	for _, bad := range []string{"", "nonsense", "drop_after; for=soon", "drop_after; weight=3", "html_after; status=99", "delay_after; for=-1s", "drop_after; silent=no", "webhook_duplicate; copies=-1"} {
		if f, err := providersim.ParseFault(bad); err == nil {
			t.Errorf("%q was taken for %v", bad, f)
		}
	}
	b := newBench(t)
	for _, header := range []string{"nonsense", "webhook_lose"} {
		_, err := b.intents.New(payment(10, "pm_card_visa", faulty(header)))
		wantError(t, err, 400, "")
	}
}

func FuzzParseFault(f *testing.F) {
	for fault := range outcomes {
		f.Add(fault)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := providersim.ParseFault(text)
		if err != nil {
			return
		}
		out, err := fault.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		again, err := providersim.ParseFault(string(out))
		if err != nil || again != fault {
			t.Fatalf("%q became %v, then %q, then %v (%v)", text, fault, out, again, err)
		}
	})
}

func TestPlansThatMakeNoSense(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, r := range map[string]providersim.Rule{
		"unknown fault":                 {Fault: providersim.Fault{Kind: "explode"}},
		"no fault":                      {},
		"probability":                   {Probability: 1.5, Fault: providersim.Fault{Kind: providersim.DropAfter}},
		"skip":                          {Skip: -1, Fault: providersim.Fault{Kind: providersim.DropAfter}},
		"webhook fault on requests":     {Operation: providersim.Capture, Fault: providersim.Fault{Kind: providersim.WebhookLose}},
		"request fault on webhooks":     {Operation: providersim.Webhook, Fault: providersim.Fault{Kind: providersim.DropAfter}},
		"event of a fault of a request": {Event: "charge.*", Fault: providersim.Fault{Kind: providersim.DropAfter}},
	} {
		if b.SetPlan(providersim.Plan{Rules: []providersim.Rule{r}}) == nil || b.Inject(r) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	wantEqual(t, "rules", len(b.Plan().Rules), 0)
}
