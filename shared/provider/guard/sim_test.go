package guard_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/guard"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/providertest"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/telemetry"
)

var subjects = []providertest.Subject{providertest.Stripe(), providertest.PayPal(), providertest.Bank()}

// ward is a guard with everything about it that can be seen from outside. Its circuit
// opens with the first failure.
type ward struct {
	*guard.Guard
	t      testing.TB
	reader *metric.ManualReader
}

const ample = 20 * time.Second // a busy machine is no timeout

func watch(t testing.TB, adapter provider.Adapter, timeouts guard.Timeouts) *ward {
	t.Helper()
	w := &ward{t: t, reader: metric.NewManualReader()}
	metrics, err := telemetry.NewMetrics(metric.NewMeterProvider(metric.WithReader(w.reader)))
	if err != nil {
		t.Fatal(err)
	}
	settings := breaker.Default()
	settings.MinCalls, settings.Slow = 1, time.Hour
	w.Guard = guard.New(adapter, guard.Options{
		Limits: guard.Limits{Timeouts: timeouts, Concurrency: 2}, Metrics: metrics, Now: time.Now,
		Breaker: breaker.New(breaker.Options{
			Provider: adapter.Name(), Now: time.Now, NewID: id.Source{Now: time.Now}.New, Metrics: metrics, Settings: settings,
		}),
	})
	return w
}

// counted are the points of a counter or histogram, by their labels' values.
func (w *ward) counted(name string) map[string]uint64 {
	w.t.Helper()
	var all metricdata.ResourceMetrics
	if err := w.reader.Collect(w.t.Context(), &all); err != nil {
		w.t.Fatal(err)
	}
	points := map[string]uint64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					points[valuesOf(p.Attributes)] = uint64(p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					points[valuesOf(p.Attributes)] = p.Count
				}
			}
		}
	}
	return points
}

// valuesOf are provider, operation and outcome, as far as there are such labels.
func valuesOf(labels attribute.Set) string {
	var all []string
	for _, name := range []attribute.Key{"provider", "operation", "outcome"} {
		if v, ok := labels.Value(name); ok {
			all = append(all, v.AsString())
		}
	}
	return strings.Join(all, " ")
}

func every(d time.Duration) guard.Timeouts {
	return guard.Timeouts{Connect: time.Millisecond, Authorize: d, Capture: d, Void: d, Refund: d, LookUp: d}
}

// asked is one thing asked of a provider: a first call, or a look-up.
type asked struct {
	operation string
	call      provider.Call
	query     provider.Query
	spot      providertest.Spot
}

// all prepares one of each that the provider can be asked.
func all(b *providertest.Bench, s providertest.Subject) (questions []asked) {
	for _, step := range []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund, ""} {
		at := slices.IndexFunc(s.Spots, func(spot providertest.Spot) bool {
			return spot.Step == step && !spot.Sale && !spot.Answered && spot.Age == 0 && !spot.Stale && !spot.Unnamed && spot.Skip == 0
		})
		if at < 0 {
			continue
		}
		q := asked{operation: string(step), spot: s.Spots[at]}
		r, reference := b.Payment(providertest.Plain, false), ""
		switch step {
		case provider.Authorize:
		case provider.Void:
			if b.Adapter.Capabilities().ManualCapture {
				r, reference = b.Paid(providertest.Plain, false)
			} else {
				reference = b.Start(r).Reference
			}
		default:
			r, reference = b.Paid(providertest.Plain, step == provider.Refund)
		}
		if step == "" {
			q.operation = "lookup"
			q.query = provider.Query{Account: r.Account, PaymentID: r.PaymentID, Reference: reference, Since: b.Now()}
		} else {
			if step != provider.Authorize {
				r = b.Follow(r, reference, step, r.Amount.Minor)
			}
			q.call, _ = provider.FirstCall(b.Attempt(r))
		}
		questions = append(questions, q)
	}
	return questions
}

// ask returns the outcome, complete or incomplete for a look-up.
func (w *ward) ask(q asked) (outcome string, timedOut bool) {
	if q.operation == "lookup" {
		if w.Find(w.t.Context(), q.query).Complete {
			return "complete", false
		}
		return "incomplete", w.counted("provider_api_timeout_total")[w.Name()+" lookup"] > 0
	}
	result := w.Execute(w.t.Context(), q.call)
	return string(result.Outcome), result.TimedOut
}

// Every operation of every provider, through every way in which a call can go wrong for
// the guard: what comes of it, whether it counts as timed out, and whether it opens the
// circuit.
func TestTroubleOfEveryKindAtEveryProvider(t *testing.T) {
	t.Parallel()
	for _, trouble := range []struct {
		fault    string
		timeout  time.Duration
		decided  bool
		timedOut bool
		opens    bool
	}{
		{"", ample, true, false, false},
		{"hang_before", 300 * time.Millisecond, false, true, true},
		{"hang_after", 300 * time.Millisecond, false, true, true},
		{"drop_before", ample, false, false, true},
		{"drop_after", ample, false, false, true},
		{"html_before; status=503", ample, false, false, true},
		{"html_after", ample, false, false, true},
		{"bad_json", ample, false, false, true},
		{"500_before", ample, false, false, true},
		{"429", ample, false, false, false},
	} {
		for _, s := range subjects {
			t.Run(s.Name+" "+trouble.fault, func(t *testing.T) {
				t.Parallel()
				b := providertest.New(t, s)
				for _, q := range all(b, s) {
					if trouble.fault != "" {
						b.Inject(q.spot.Operation, 0, trouble.fault)
					}
					w := watch(t, b.Adapter, every(trouble.timeout))
					outcome, timedOut := w.ask(q)
					decided := outcome != string(provider.Unknown) && outcome != string(provider.NotSent) && outcome != "incomplete"
					if decided != trouble.decided || timedOut != trouble.timedOut {
						t.Errorf("%s: %s, timed out %t", q.operation, outcome, timedOut)
					}
					if ready, why := w.Ready(t.Context()); ready == trouble.opens {
						t.Errorf("%s: %s; ready %t, %q", q.operation, outcome, ready, why)
					}
					if err := b.SetPlan(providersim.Plan{}); err != nil { // what it did not befall
						t.Fatal(err)
					}
					w.hasCounted(q, outcome, trouble.timedOut, trouble.opens)
				}
			})
		}
	}
}

func (w *ward) hasCounted(q asked, outcome string, timedOut, failed bool) {
	w.t.Helper()
	call := fmt.Sprintf("%s %s %s", w.Name(), q.operation, outcome)
	for name, want := range map[string]map[string]uint64{
		"provider_call_duration_seconds": {call: 1},
		"provider_api_timeout_total":     only(timedOut, w.Name()+" "+q.operation),
		"circuit_breaker_failures_total": only(failed, w.Name()),
		"provider_bulkhead_full_total":   {},
	} {
		if got := w.counted(name); fmt.Sprint(got) != fmt.Sprint(want) {
			w.t.Errorf("%s: %s is %v, want %v", q.operation, name, got, want)
		}
	}
}

func only(there bool, point string) map[string]uint64 {
	if !there {
		return map[string]uint64{}
	}
	return map[string]uint64{point: 1}
}

// A provider that can't be reached was sent nothing.
func TestWhatIsNotThereIsNotSent(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // its port now refuses connections
	for _, open := range []func() (provider.Adapter, error){
		func() (provider.Adapter, error) {
			return stripe.New(stripe.Config{SecretKey: "sk_test_1", APIBase: server.URL}, stripe.Options{Now: time.Now})
		},
		func() (provider.Adapter, error) {
			return paypal.New(paypal.Config{ClientID: "app", ClientSecret: "hush", APIBase: server.URL}, paypal.Options{Now: time.Now})
		},
		func() (provider.Adapter, error) {
			return bank.New(bank.Config{AccessToken: "sandbox_1", APIBase: server.URL}, bank.Options{Now: time.Now})
		},
	} {
		adapter, err := open()
		if err != nil {
			t.Fatal(err)
		}
		s := subjects[slices.IndexFunc(subjects, func(s providertest.Subject) bool { return s.Name == adapter.Name() })]
		r := providertest.New(t, s).Payment(providertest.Plain, false)
		r.Account = adapter.Account()
		a := provider.NewAttempt(id.ID{1}, 1, r, time.Now())
		call, err := provider.FirstCall(a)
		if err != nil {
			t.Fatal(err)
		}
		w := watch(t, adapter, every(ample))
		if got := w.Execute(t.Context(), call); got.Outcome != provider.NotSent || got.TimedOut || got.RetryAfter != 0 {
			t.Errorf("%s: %+v", s.Name, got)
		}
		if ready, _ := w.Ready(t.Context()); ready {
			t.Errorf("%s: the circuit is closed", s.Name)
		}
		again, ok := provider.Replay(a, adapter.Capabilities(), time.Now())
		if got := watch(t, adapter, every(ample)).Execute(t.Context(), again); !ok || got.Outcome != provider.Unknown {
			t.Errorf("%s, replayed: %+v", s.Name, got)
		}
	}
}

// A connect time-out of a look-up, which reports no more than that it is incomplete, is
// counted too.
func TestALookUpThatCanNotConnectTimesOut(t *testing.T) {
	t.Parallel()
	never := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	adapter, err := stripe.New(stripe.Config{SecretKey: "sk_test_1", APIBase: "http://127.0.0.1:1"}, stripe.Options{
		Now: time.Now, Dial: never, ConnectTimeout: 20 * time.Millisecond, ReadTimeout: ample,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, adapter, every(ample))
	got := w.Find(t.Context(), provider.Query{Account: "test", PaymentID: id.ID{1}, Reference: "pi_1"})
	if n := w.counted("provider_api_timeout_total")["stripe lookup"]; got.Complete || n != 1 {
		t.Errorf("%d time-outs; %+v", n, got)
	}
}

func TestAFullBulkheadIsCounted(t *testing.T) {
	t.Parallel()
	b := providertest.New(t, providertest.Stripe())
	w := watch(t, b.Adapter, every(ample))
	for range 2 {
		if _, leave, ok := w.Enter(t.Context()); ok {
			defer leave()
		}
	}
	call, err := provider.FirstCall(b.Attempt(b.Payment(providertest.Plain, false)))
	if err != nil {
		t.Fatal(err)
	}
	if got := w.Execute(t.Context(), call); got.Outcome != provider.NotSent {
		t.Errorf("executed: %+v", got)
	}
	if got := w.counted("provider_bulkhead_full_total"); got["stripe"] != 1 {
		t.Errorf("counted %v", got)
	}
	if got := w.counted("provider_call_duration_seconds"); len(got) != 0 || len(b.Sent()) != 0 {
		t.Errorf("calls that were not made are measured: %v; sent %v", got, b.Sent())
	}
}

// A caller with less time than the operation may take gives up, which is not the
// provider's doing.
func TestImpatientCallersAreNotCounted(t *testing.T) {
	t.Parallel()
	b := providertest.New(t, providertest.Stripe())
	b.Inject(providersim.Authorize, 0, "hang_before")
	call, err := provider.FirstCall(b.Attempt(b.Payment(providertest.Plain, false)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	w := watch(t, b.Adapter, every(ample))
	if got := w.Execute(ctx, call); got.Outcome == provider.Approved || !got.TimedOut {
		t.Errorf("executed: %+v", got)
	}
	if ready, why := w.Ready(t.Context()); !ready {
		t.Errorf("the circuit: %s", why)
	}
	if got := w.counted("provider_api_timeout_total"); len(got) != 0 {
		t.Errorf("counted %v", got)
	}
}
