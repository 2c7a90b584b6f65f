package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/local/controlplane"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// providers are those whose circuits there can be.
var providers = []string{"stripe", "paypal", "bank"}

// circuitRow is the circuit of a provider as all instances see it within seconds.
type circuitRow struct {
	Provider   string        `json:"provider" col:"provider"`
	State      breaker.State `json:"state" col:"state"`
	Forced     breaker.Mode  `json:"forced,omitempty" col:"forced"`
	By         string        `json:"by,omitempty" col:"by"`
	Since      time.Time     `json:"since,omitzero" col:"since"`
	Until      time.Time     `json:"until,omitzero" col:"until"`
	Probes     int           `json:"probes" col:"probes"`
	Why        string        `json:"why,omitempty" col:"why"`
	Generation int64         `json:"generation"`
}

func circuitRowOf(provider string, c breaker.Circuit, now time.Time) circuitRow {
	row := circuitRow{Provider: provider, State: c.At(now), Generation: c.Generation}
	switch {
	case c.Forced != nil:
		row.Forced, row.By, row.Since, row.Why = c.Forced.Mode, c.Forced.By, c.Forced.At, c.Forced.Why
	case row.State != breaker.Closed:
		row.By, row.Since, row.Until, row.Why, row.Probes = c.OpenedBy, c.OpenedAt, c.OpenUntil, c.Why, len(c.Probes)
	case c.LastReset != nil:
		row.By, row.Since, row.Why = c.LastReset.By, c.LastReset.At, c.LastReset.Why
	}
	return row
}

// circuits opens the control plane.
func (s *session) circuits(ctx context.Context) (control.Store, error) {
	if url, _ := s.settings("CONTROL_URL"); url != "" {
		return controlplane.NewClient(url), nil
	}
	c, err := config.Load[control.Config](s.settings)
	if err != nil {
		return nil, err
	}
	if c.Project == "" {
		return nil, fmt.Errorf("where is the control plane? %s", s.hint("CONTROL_PROJECT (or --control-project)"))
	}
	store, err := control.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = store.Close() })
	return store, nil
}

// controlTimeout bounds a command: Firestore's client would try for ever.
const controlTimeout = 10 * time.Second

func circuitsList(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		ctx, cancel := context.WithTimeout(ctx, controlTimeout)
		defer cancel()
		store, err := s.circuits(ctx)
		if err != nil {
			return nil, err
		}
		var rows []circuitRow
		now := s.now()
		for _, p := range providers {
			c, err := breaker.Show(ctx, store, p)
			if err != nil {
				return nil, err
			}
			rows = append(rows, circuitRowOf(p, c, now))
		}
		return list[circuitRow]{rows: rows}, nil
	}
}

func circuitsForceOpen(f *flag.FlagSet) action {
	return operate(f, func(ctx context.Context, store control.Store, provider, by, why string, now time.Time) error {
		return breaker.Force(ctx, store, provider, breaker.ForcedOpen, by, why, now)
	})
}

func circuitsForceClosed(f *flag.FlagSet) action {
	return operate(f, func(ctx context.Context, store control.Store, provider, by, why string, now time.Time) error {
		return breaker.Force(ctx, store, provider, breaker.ForcedClosed, by, why, now)
	})
}

func circuitsReset(f *flag.FlagSet) action { return operate(f, breaker.Reset) }

// operate is what the commands that change a circuit have in common.
func operate(f *flag.FlagSet, do func(ctx context.Context, store control.Store, provider, by, why string, now time.Time) error) action {
	by, why := f.String("by", "", ""), f.String("why", "", "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		provider, who := args[0], *by
		if who == "" {
			who = s.user
		}
		switch {
		case !slices.Contains(providers, provider):
			return nil, usageError(fmt.Sprintf("%q is no provider; there are %s", provider, strings.Join(providers, ", ")))
		case strings.TrimSpace(*why) == "":
			return nil, usageError("say why with --why TEXT; it is shown to all who ask")
		case strings.TrimSpace(who) == "":
			return nil, usageError("say who you are with --by NAME: USER is not set")
		}
		ctx, cancel := context.WithTimeout(ctx, controlTimeout)
		defer cancel()
		store, err := s.circuits(ctx)
		if err != nil {
			return nil, err
		}
		now := s.now()
		if err := do(ctx, store, provider, who, *why, now); err != nil {
			return nil, err
		}
		c, err := breaker.Show(ctx, store, provider)
		return circuitChanged{circuitRowOf(provider, c, now)}, err
	}
}

// circuitChanged is what an operator did.
type circuitChanged struct{ circuitRow }

func (c circuitChanged) text(w io.Writer) error {
	if err := fields(w, c.circuitRow); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "All instances follow within 2 seconds.")
	return err
}
