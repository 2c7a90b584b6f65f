package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Settings bound a run and say what becomes of what it finds.
type Settings struct {
	Rate     int           `env:"RECONCILE_RATE" envDefault:"5" desc:"calls to each provider in a second" who:"terraform"`
	Payments int           `env:"RECONCILE_PAYMENTS" envDefault:"2000" desc:"payments asked for in a run, at each provider" who:"terraform"`
	Time     time.Duration `env:"RECONCILE_TIME" envDefault:"8m" desc:"how long a run may take" who:"terraform"`
	Fees     string        `env:"RECONCILE_FEE_DIFFERENCES" envDefault:"open" desc:"open: a human closes them; close: they are booked, and closed" who:"terraform"`
	Owner    string        `env:"RECONCILE_OWNER" envDefault:"operations" desc:"whose differences are until somebody is assigned" who:"terraform"`
}

// What Settings.Fees may be.
const (
	FeesOpen  = "open"
	FeesClose = "close"
)

// CheckConfig says what is wrong with the settings.
func (s *Settings) CheckConfig() (mistakes []config.Mistake) {
	wrong := func(variable, format string, args ...any) {
		mistakes = append(mistakes, config.Mistake{Variable: variable, Problem: fmt.Sprintf(format, args...), Who: "terraform"})
	}
	if s.Rate < 1 || s.Rate > 100 {
		wrong("RECONCILE_RATE", "is %d: want 1 to 100 calls a second", s.Rate)
	}
	if s.Payments < 1 {
		wrong("RECONCILE_PAYMENTS", "is %d: want at least 1", s.Payments)
	}
	if s.Time < time.Second || s.Time > 25*time.Minute {
		wrong("RECONCILE_TIME", "is %s: want 1s to 25m", s.Time)
	}
	if s.Fees != FeesOpen && s.Fees != FeesClose {
		wrong("RECONCILE_FEE_DIFFERENCES", "is %q: want %s or %s", s.Fees, FeesOpen, FeesClose)
	}
	if s.Owner == "" {
		wrong("RECONCILE_OWNER", "is empty: every difference needs an owner")
	}
	return mistakes
}

// Default are the settings without any configuration.
func Default() Settings {
	s, err := config.Load[Settings](config.Map(nil))
	if err != nil {
		panic("reconcile: its own defaults are wrong: " + err.Error())
	}
	return s
}

// Service reconciles. Fields are set where it is wired and not changed after.
type Service struct {
	Pool     *pgxpool.Pool
	Payments *payment.Service // with the providers that are reconciled
	Now      func() time.Time
	NewID    func() id.ID
	Settings Settings
	Log      *slog.Logger
	Metrics  *telemetry.Metrics

	// Wait waits between two calls to a provider, or until the context ends.
	Wait func(context.Context, time.Duration) error
}

// Report is what a run did at one provider.
type Report struct {
	Provider string
	Checked  map[payment.Comparison]int // payments, by what came of it
	Entries  int                        // read, known ones among them
	Judged   int                        // objects and entries that were matched
	Opened   map[Kind]int               // differences, those opened again among them
	Closed   int                        // differences that turned out right
	Calls    int                        // to the provider
	Stopped  string                     // why it went no further; "" when it was done
}

// Run reconciles every provider, side by side: one's trouble does not keep another from
// being reconciled. What a provider does not answer is left to the next run and is no
// error; errors are trouble of our own.
func (s *Service) Run(ctx context.Context) ([]Report, error) {
	names := make([]string, 0, len(s.Payments.Providers))
	for name := range s.Payments.Providers {
		names = append(names, name)
	}
	slices.Sort(names)
	reports, failed := make([]Report, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { reports[i], failed[i] = s.reconcile(ctx, s.Payments.Providers[name]) })
	}
	all.Wait()
	for _, r := range reports {
		s.Log.InfoContext(ctx, "reconciled", "provider", r.Provider, "checked", r.Checked, "entries", r.Entries, "judged", r.Judged,
			"opened", r.Opened, "closed", r.Closed, "calls", r.Calls, "stopped", r.Stopped)
	}
	return reports, errors.Join(failed...)
}

// run is the reconciliation of one provider's account.
type run struct {
	*Service
	adapter       provider.Adapter
	name, account string
	began         time.Time
	token         id.ID // of its lease
	cursor        cursor
	readUp        bool // the report was read to its end, whatever time that is as of
	pace          pace
	report        Report
	trouble       error // the first payment's that could not be held against the provider
}

func (s *Service) reconcile(ctx context.Context, adapter provider.Adapter) (Report, error) {
	r := &run{
		Service: s, adapter: adapter, name: adapter.Name(), account: adapter.Account(), began: s.Now(), token: s.NewID(),
		report: Report{Provider: adapter.Name(), Checked: map[payment.Comparison]int{}, Opened: map[Kind]int{}},
	}
	r.pace = pace{every: time.Second / time.Duration(s.Settings.Rate), now: s.Now, wait: s.Wait}
	held, err := r.take(ctx)
	if err != nil {
		return r.report, err
	}
	if !held {
		r.stop("another run is at it")
		return r.report, nil
	}
	if until := r.cursor.NotBefore; until != nil && r.began.Before(*until) {
		r.stop("the provider asked to be left alone until " + until.UTC().Format(time.RFC3339))
	}
	err = r.all(ctx)
	// What was taken is given back, also when the caller has gone.
	return r.report, errors.Join(err, r.giveBack(context.WithoutCancel(ctx)))
}

// all does the parts in order. A part that fails keeps none of the later ones from being
// done, but for what needs it.
func (r *run) all(ctx context.Context) error {
	var failed []error
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"check payments", r.checkOpen},
		{"read the report", r.fetch},
		{"match", r.match},
		{"book payouts", r.payouts},
		{"question payments", r.questionAll},
	} {
		err := part.do(ctx)
		if errors.Is(err, errLeaseLost) {
			return err
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %s: %w", r.name, part.name, err))
		}
	}
	if r.trouble != nil {
		failed = append(failed, fmt.Errorf("%s: %w", r.name, r.trouble))
	}
	return errors.Join(failed...)
}

func (r *run) stop(why string) {
	if r.report.Stopped == "" {
		r.report.Stopped = why
	}
}

// mayCall waits for the provider's next turn. It is false when no more calls are to be
// made in this run.
func (r *run) mayCall(ctx context.Context) bool {
	if r.late() {
		r.stop("its time is over")
	}
	if gate, guarded := r.adapter.(provider.Gate); guarded && r.report.Stopped == "" {
		if ready, why := gate.Ready(ctx); !ready {
			r.stop(why)
		}
	}
	if r.report.Stopped != "" {
		return false
	}
	if err := r.pace.next(ctx); err != nil {
		r.stop("it was interrupted")
	} else if r.late() {
		r.stop("its time is over")
	}
	return r.report.Stopped == ""
}

// called counts a call that was made.
func (r *run) called(ctx context.Context) {
	r.report.Calls++
	r.Metrics.ReconciliationCall(ctx, r.name)
}

// late reports whether the run has had its time.
func (r *run) late() bool { return r.Now().Sub(r.began) >= r.Settings.Time }

// pace spaces calls out.
type pace struct {
	every time.Duration
	now   func() time.Time
	wait  func(context.Context, time.Duration) error
	last  time.Time // when the last call began
}

func (p *pace) next(ctx context.Context) error {
	if !p.last.IsZero() {
		if left := p.every - p.now().Sub(p.last); left > 0 {
			if err := p.wait(ctx, left); err != nil {
				return err
			}
		}
	}
	p.last = p.now()
	return ctx.Err()
}
