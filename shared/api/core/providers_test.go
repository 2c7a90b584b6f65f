package core

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/option"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/guard"
)

func credentials() map[string]string {
	return map[string]string{
		"PROVIDERS":         "stripe, paypal, bank",
		"STRIPE_SECRET_KEY": "sk_test_1",
		"PAYPAL_CLIENT_ID":  "app", "PAYPAL_CLIENT_SECRET": "hush",
		"GOCARDLESS_ACCESS_TOKEN": "sandbox_1", "GOCARDLESS_API_BASE": "https://api-sandbox.gocardless.com",
	}
}

func here() api.Env { return api.Env{Now: time.Now, NewID: id.Source{Now: time.Now}.New} }

func read(vars map[string]string) (Providers, error) {
	c, err := config.Load[struct{ Providers Providers }](config.Map(vars))
	return c.Providers, err
}

func TestTheEnabledProvidersAreOpened(t *testing.T) {
	t.Parallel()
	for enabled, want := range map[string][]string{
		"":                     {"stripe"},
		"paypal":               {"paypal"},
		"bank,stripe":          {"bank", "stripe"},
		"stripe, paypal, bank": {"bank", "paypal", "stripe"},
	} {
		vars := credentials()
		vars["PROVIDERS"] = enabled
		vars["STRIPE_ACCOUNT"] = "shop-eu"
		p, err := read(vars)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := p.open(here(), nil)
		if err != nil || !slices.Equal(slices.Sorted(maps.Keys(opened)), want) {
			t.Errorf("%q: opened %v, %v", enabled, opened, err)
		}
		for name, adapter := range opened {
			account := map[string]string{"stripe": "shop-eu", "paypal": "live", "bank": "sandbox"}[name]
			if adapter.Name() != name || adapter.Account() != account {
				t.Errorf("%s is %s of %s", name, adapter.Name(), adapter.Account())
			}
		}
	}
}

func TestTheDefaultLimits(t *testing.T) {
	t.Parallel()
	p, err := read(credentials())
	if err != nil {
		t.Fatal(err)
	}
	s := time.Second
	want := map[string]guard.Timeouts{ // connect / read, as each provider answers
		"stripe": {Connect: 2 * s, Authorize: 5 * s, Capture: 10 * s, Void: 10 * s, Refund: 10 * s, LookUp: 5 * s},
		"paypal": {Connect: 3 * s, Authorize: 10 * s, Capture: 15 * s, Void: 15 * s, Refund: 15 * s, LookUp: 10 * s},
		"bank":   {Connect: 5 * s, Authorize: 15 * s, Capture: 18 * s, Void: 18 * s, Refund: 18 * s, LookUp: 15 * s},
	}
	if len(p.enabled) != len(want) {
		t.Fatalf("enabled %d", len(p.enabled))
	}
	for _, e := range p.enabled {
		if e.limits.Timeouts != want[e.name] || e.limits.Concurrency != 12 {
			t.Errorf("%s: %+v", e.name, e.limits)
		}
	}
}

// Whoever deploys is told all that is missing, by name, and nothing of what is not used.
func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  map[string]string
		says []string // one mistake each
	}{
		"stripe alone":        {map[string]string{"PROVIDERS": "stripe"}, []string{"STRIPE_SECRET_KEY is not set"}},
		"paypal alone":        {map[string]string{"PROVIDERS": "paypal"}, []string{"PAYPAL_CLIENT_ID is not set", "PAYPAL_CLIENT_SECRET is not set"}},
		"bank alone":          {map[string]string{"PROVIDERS": "bank"}, []string{"GOCARDLESS_ACCESS_TOKEN is not set"}},
		"two":                 {map[string]string{"PROVIDERS": "stripe,bank"}, []string{"STRIPE_SECRET_KEY", "GOCARDLESS_ACCESS_TOKEN"}},
		"not enabled":         {map[string]string{"PROVIDERS": "bank", "GOCARDLESS_ACCESS_TOKEN": "t", "STRIPE_CAPTURE_TIMEOUT": "soon"}, nil},
		"unknown":             {map[string]string{"PROVIDERS": "stripe,adyen", "STRIPE_SECRET_KEY": "k"}, []string{`PROVIDERS names "adyen"`}},
		"twice":               {map[string]string{"PROVIDERS": "stripe,stripe", "STRIPE_SECRET_KEY": "k"}, []string{"PROVIDERS names stripe twice"}},
		"none":                {map[string]string{"PROVIDERS": ","}, []string{"PROVIDERS names none"}},
		"a limit":             {map[string]string{"STRIPE_SECRET_KEY": "k", "STRIPE_CONCURRENCY": "0"}, []string{"STRIPE_CONCURRENCY is 0: it must be from 1 to 100"}},
		"a limit and the key": {map[string]string{"STRIPE_VOID_TIMEOUT": "5"}, []string{"STRIPE_SECRET_KEY", "STRIPE_VOID_TIMEOUT"}},
	} {
		_, err := read(c.set)
		mistakes := config.Mistakes(err)
		if len(mistakes) != len(c.says) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, m := range mistakes {
			if !strings.Contains(m.String(), c.says[i]) || !strings.Contains(m.String(), "set by") {
				t.Errorf("%s: %s, want %s", name, m, c.says[i])
			}
		}
	}
}

func TestAWrongAddressStopsTheStart(t *testing.T) {
	t.Parallel()
	vars := credentials()
	vars["GOCARDLESS_API_BASE"] = "http://api.gocardless.com"
	if _, err := read(vars); err == nil || !strings.Contains(err.Error(), "GOCARDLESS_API_BASE must be https") {
		t.Errorf("read: %v", err)
	}
}

// Two instances, which share nothing but the store, agree on what an operator forced.
func TestCircuitsAreShared(t *testing.T) {
	t.Parallel()
	store := control.NewMemory()
	env := here()
	env.Control = store
	shared, err := controlPlane(t.Context(), env, control.Config{})
	if err != nil || shared != control.Store(store) {
		t.Fatalf("the control plane is %v, %v", shared, err)
	}
	p, err := read(credentials())
	if err != nil {
		t.Fatal(err)
	}
	if err := breaker.Force(t.Context(), store, "paypal", breaker.ForcedOpen, "op@example.com", "incident 17", time.Now()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		opened, err := p.open(env, shared)
		if err != nil {
			t.Fatal(err)
		}
		for name, adapter := range opened {
			gate, ok := adapter.(provider.Gate)
			if !ok {
				t.Fatalf("%s has no guard", name)
			}
			if ready, why := gate.Ready(t.Context()); ready == (name == "paypal") {
				t.Errorf("%s: ready %t, %q", name, ready, why)
			}
		}
	}
}

func TestTheControlPlaneIsOptional(t *testing.T) {
	t.Parallel()
	if store, err := controlPlane(t.Context(), here(), control.Config{}); store != nil || err != nil {
		t.Errorf("%v, %v", store, err)
	}
	store, err := controlPlane(t.Context(), api.Env{Firestore: []option.ClientOption{option.WithoutAuthentication()}}, control.Config{Project: "demo"})
	if firestore, ok := store.(*control.Firestore); err != nil || !ok || firestore.Close() != nil {
		t.Errorf("%v, %v", store, err)
	}
}
