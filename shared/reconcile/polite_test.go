package reconcile

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/guard"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func TestCallsAreSpacedOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delete(r.Payments.Providers, "paypal")
	delete(r.Payments.Providers, "bank")
	r.Settings.Rate = 4
	var waited time.Duration
	r.Wait = func(ctx context.Context, d time.Duration) error {
		waited += d
		return ctx.Err()
	}
	for range 9 {
		r.card(5000, "manual")
	}
	r.advance(20 * time.Minute)
	report := r.reconcileOnce()["stripe"]
	if least := time.Duration(report.Calls-1) * 250 * time.Millisecond; report.Calls < 10 || waited < least {
		t.Errorf("%d calls with %s between them, want %s", report.Calls, waited, least)
	}
}

func TestARunThatIsInterruptedStops(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 3 {
		r.card(5000, "manual")
	}
	r.advance(20 * time.Minute)
	r.Wait = func(context.Context, time.Duration) error { return context.Canceled }
	if report := r.reconcileOnce()["stripe"]; report.Calls != 1 || report.Stopped != "it was interrupted" {
		t.Errorf("report %+v", report)
	}
}

func TestARunEndsInItsTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delete(r.Payments.Providers, "paypal")
	delete(r.Payments.Providers, "bank")
	r.Settings.Time = time.Minute
	for range 9 {
		r.card(5000, "manual")
	}
	r.advance(20 * time.Minute)
	r.Wait = func(ctx context.Context, _ time.Duration) error { return r.clock.Advance(ctx, 25*time.Second) }
	report := r.reconcileOnce()["stripe"]
	if report.Calls != 3 || report.Stopped != "its time is over" {
		t.Errorf("report %+v", report)
	}
}

func TestAProviderThatAsksToBeLeftAloneIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 3 {
		r.card(5000, "manual")
	}
	r.advance(20 * time.Minute)
	r.inject(providersim.Retrieve, providersim.RateLimited)
	report := r.reconcileOnce()["stripe"]
	if report.Calls != 1 || report.Stopped != "the provider asked for fewer calls" {
		t.Errorf("asked for payments: %+v", report)
	}
	r.advance(time.Hour)
	r.inject(providersim.Report, providersim.RateLimited)
	report = r.reconcileOnce()["stripe"]
	if !strings.Contains(report.Stopped, "can't be read") {
		t.Errorf("asked for the report: %+v", report)
	}
	report = r.reconcileOnce()["stripe"] // within the 30 s of its Retry-After
	if report.Calls != 0 || !strings.Contains(report.Stopped, "left alone until") {
		t.Errorf("before its time: %+v", report)
	}
	r.advance(time.Minute)
	if report = r.reconcileOnce()["stripe"]; report.Stopped != "" || report.Calls == 0 {
		t.Errorf("after it: %+v", report)
	}
}

func (r *rig) inject(op providersim.Operation, kind providersim.FaultKind) {
	r.t.Helper()
	check(r.t, r.stripe.Inject(providersim.Rule{Operation: op, Fault: providersim.Fault{Kind: kind}}))
}

func TestNobodyIsCalledWhileTheCircuitIsOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.card(5000, "manual")
	r.advance(20 * time.Minute)
	store := control.NewMemory()
	check(t, breaker.Force(t.Context(), store, "stripe", breaker.ForcedOpen, "op@example.com", "their incident 17", r.Now()))
	adapter := r.Payments.Providers["stripe"]
	r.Payments.Providers["stripe"] = guard.New(adapter, guard.Options{
		Limits: guard.Limits{Concurrency: 2, Timeouts: guard.Timeouts{Connect: time.Second, LookUp: time.Second}}, Now: r.Now,
		Breaker: breaker.New(breaker.Options{Provider: "stripe", Store: store, Now: r.Now, NewID: r.NewID}),
	})
	reports := r.reconcileOnce()
	if got := reports["stripe"]; got.Calls != 0 || !strings.Contains(got.Stopped, "their incident 17") || len(got.Checked) != 0 {
		t.Errorf("with an open circuit: %+v", got)
	}
	if got := reports["paypal"]; got.Calls == 0 || got.Stopped != "" {
		t.Errorf("another provider: %+v", got)
	}
}

// A failure of ours at one provider keeps none of the others from being reconciled.
func TestOneProvidersTroubleIsItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.card(5000, "manual")
	r.advance(8 * 24 * time.Hour)
	r.Payments.Providers["broken"] = broken{r.Payments.Providers["paypal"]}
	_, err := r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v", err)
	}
	r.want(p, payment.Canceled)
}

// broken has an account by a name that the database refuses.
type broken struct{ provider.Adapter }

func (broken) Name() string    { return "broken" }
func (broken) Account() string { return "\x00" }

func TestSettings(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Settings){
		"RATE": func(s *Settings) { s.Rate = 0 }, "PAYMENTS": func(s *Settings) { s.Payments = 0 }, "TIME": func(s *Settings) { s.Time = time.Hour },
		"FEE_DIFFERENCES": func(s *Settings) { s.Fees = "ignore" }, "OWNER": func(s *Settings) { s.Owner = "" },
	} {
		s := Default()
		if wrong := s.CheckConfig(); wrong != nil {
			t.Fatal(wrong)
		}
		change(&s)
		if wrong := s.CheckConfig(); len(wrong) != 1 || wrong[0].Variable != "RECONCILE_"+name {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}

// More open payments than there is time for keep the report from being read in no run.
func TestTheReportHasItsShareOfTheTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delete(r.Payments.Providers, "paypal")
	delete(r.Payments.Providers, "bank")
	r.Settings.Rate, r.Settings.Time = 1, 10*time.Second
	r.Wait = func(ctx context.Context, d time.Duration) error { return r.clock.Advance(ctx, d) }
	for range 12 {
		r.card(5000, "manual")
	}
	r.card(5000, "automatic")
	r.advance(20 * time.Minute)
	report := r.reconcileOnce()["stripe"]
	if n := report.Checked[payment.Agrees]; n == 0 || n > 6 || report.Entries != 1 || report.Judged == 0 {
		t.Errorf("report %+v", report)
	}
	if report = r.reconcileOnce()["stripe"]; report.Checked[payment.Agrees] == 0 {
		t.Errorf("the next: %+v", report)
	}
}
