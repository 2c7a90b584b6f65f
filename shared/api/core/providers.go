package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/guard"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// kind is one provider that there is an adapter for.
type kind struct {
	name   string
	prefix string       // of its limits' variables
	limits guard.Limits // unless the variables say otherwise
	// read reads what only this provider needs, and says how its adapter is made of it.
	read func(lookup) (maker, []config.Mistake)
}

type (
	lookup = func(string) (string, bool)
	maker  = func(api.Env, guard.Timeouts) (provider.Adapter, error)
)

// kinds lists every provider. Authorizing is on the payer's time; what comes after it
// may take longer.
var kinds = []kind{
	{stripe.Name, "STRIPE_", limits(2, 5, 10, 5), reader(stripe.New)},
	{paypal.Name, "PAYPAL_", limits(3, 10, 15, 10), reader(paypal.New)},
	{bank.Name, "BANK_", limits(5, 15, 18, 15), reader(bank.New)},
}

// limits are given in seconds.
func limits(connect, authorize, others, lookUp time.Duration) guard.Limits {
	return guard.Limits{Concurrency: guard.DefaultConcurrency, Timeouts: guard.Timeouts{
		Connect: connect * time.Second, Authorize: authorize * time.Second, LookUp: lookUp * time.Second,
		Capture: others * time.Second, Void: others * time.Second, Refund: others * time.Second,
	}}
}

// reader is how a kind's configuration is read, after the adapter's New.
func reader[C any, A provider.Adapter](open func(C, wire.Options) (A, error)) func(lookup) (maker, []config.Mistake) {
	return func(lookup lookup) (maker, []config.Mistake) {
		c, err := config.Load[C](lookup)
		return func(env api.Env, t guard.Timeouts) (provider.Adapter, error) {
			return open(c, wire.Options{Now: env.Now, Log: env.Log, ConnectTimeout: t.Connect, ReadTimeout: t.Longest()})
		}, config.Mistakes(err)
	}
}

// Enabled names the providers that payments may go to. What the others need is not
// asked for, and need not be there.
type Enabled struct {
	Names []string
}

// ReadConfig reads PROVIDERS.
func (e *Enabled) ReadConfig(lookup func(string) (string, bool)) []config.Mistake {
	c, err := config.Load[struct {
		Names []string `env:"PROVIDERS" envDefault:"stripe"`
	}](lookup)
	if err != nil {
		return config.Mistakes(err)
	}
	var known []string
	for _, k := range kinds {
		known = append(known, k.name)
	}
	wrong := func(format string, args ...any) []config.Mistake {
		return []config.Mistake{{
			Variable: "PROVIDERS", Problem: fmt.Sprintf(format, args...),
			Description: "the providers that payments may go to, of " + strings.Join(known, ", "), Who: "terraform",
		}}
	}
	if len(c.Names) == 0 {
		return wrong("names none")
	}
	for i, name := range c.Names {
		switch {
		case !slices.Contains(known, name):
			return wrong("names %.40q, which there is not", name)
		case slices.Contains(c.Names[:i], name):
			return wrong("names %s twice", name)
		}
	}
	e.Names = c.Names
	return nil
}

// Has reports whether a provider is enabled.
func (e Enabled) Has(name string) bool { return slices.Contains(e.Names, name) }

// Providers are the enabled providers, each with what it needs.
type Providers struct {
	enabled []enabledKind
}

type enabledKind struct {
	kind
	make maker
}

// ReadConfig reads PROVIDERS and then the variables of those that it names.
func (p *Providers) ReadConfig(lookup func(string) (string, bool)) (mistakes []config.Mistake) {
	var enabled Enabled
	mistakes = enabled.ReadConfig(lookup)
	for _, k := range kinds {
		if !enabled.Has(k.name) {
			continue
		}
		e := enabledKind{kind: k}
		var wrong []config.Mistake
		e.make, wrong = k.read(lookup)
		mistakes = append(append(mistakes, wrong...), e.limits.Read(lookup, k.prefix)...)
		p.enabled = append(p.enabled, e)
	}
	return mistakes
}

// open makes the enabled adapters, each behind its guard. The circuits are shared through
// the store; without one each instance has its own.
func (p Providers) open(env api.Env, store control.Store) (map[string]provider.Adapter, error) {
	opened := make(map[string]provider.Adapter, len(p.enabled))
	for _, e := range p.enabled {
		adapter, err := e.make(env, e.limits.Timeouts)
		if err != nil {
			return nil, err
		}
		circuit := breaker.New(breaker.Options{
			Provider: e.name, Store: store, Now: env.Now, NewID: env.NewID, Log: env.Log, Metrics: env.Metrics,
		})
		watchCircuit(env, e.name, circuit)
		opened[e.name] = guard.New(adapter, guard.Options{Limits: e.limits, Breaker: circuit, Metrics: env.Metrics, Now: env.Now})
	}
	return opened, nil
}
