package stack

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
)

// nowhere is a configuration of functions that has everything, and leads nowhere.
func nowhere(t *testing.T) HostConfig {
	t.Helper()
	c := HostConfig{
		Databases: map[string]string{}, Addresses: map[string]string{}, IssuerURL: "http://127.0.0.1:1",
		SealingKey: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", AuditSeals: "file://" + t.TempDir(),
		Calls: map[string]string{
			"PROVIDERS": "stripe,paypal,bank", "STRIPE_SECRET_KEY": "sk_test_x",
			"PAYPAL_CLIENT_ID": "app", "PAYPAL_CLIENT_SECRET": "x", "GOCARDLESS_ACCESS_TOKEN": "x",
		},
		Signatures: map[string]string{
			"PROVIDERS": "stripe,paypal,bank", "STRIPE_WEBHOOK_SECRETS": "whsec_x", "PAYPAL_WEBHOOK_ID": "WH-X", "GOCARDLESS_WEBHOOK_SECRETS": "x",
		},
	}
	for _, f := range functions {
		c.Databases[f.name], c.Addresses[f.name] = "postgres://nobody@127.0.0.1:1/none", "127.0.0.1:1"
	}
	return c
}

// mistakes builds a function, which does nothing yet, and returns what its configuration lacks.
func mistakes(t *testing.T, f function, vars map[string]string) []config.Mistake {
	t.Helper()
	env := api.Env{
		Lookup: config.Map(vars), Now: clock.NewFrozen(Epoch).Now, NewID: id.Source{Now: clock.NewFrozen(Epoch).Now}.New,
		Log: slog.New(slog.DiscardHandler), Google: insecureAt("127.0.0.1:1"), Tasks: insecureAt("127.0.0.1:1"), Lifecycle: &api.Lifecycle{},
	}
	_, err := f.build(t.Context(), env)
	env.Lifecycle.Close(context.Background(), env.Log)
	found := config.Mistakes(err)
	if err != nil && found == nil {
		t.Errorf("not a report of mistakes: %v", err)
	}
	return found
}

// Whoever deploys a function is told of all that is missing in one go.
func TestAllThatIsMissingIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	c := nowhere(t)
	for _, f := range functions {
		complete := f.variables(c)
		if wrong := mistakes(t, f, complete); wrong != nil {
			t.Errorf("%s with everything: %v", f.name, wrong)
		}
		given := map[string]string{}
		if providers, ok := complete["PROVIDERS"]; ok {
			given["PROVIDERS"] = providers
		}
		named := mistakes(t, f, given)
		if len(named) == 0 {
			t.Errorf("%s starts with nothing", f.name)
		}
		for _, m := range named {
			name := m.Variable
			if name == "WEBHOOK_KMS_KEY" {
				name = "WEBHOOK_SEALING_KEY" // which may stand in its place
			}
			value, ok := complete[name]
			if !ok {
				t.Errorf("%s is not given what it needs: %s", f.name, m)
			}
			given[name] = value
		}
		if more := mistakes(t, f, given); more != nil {
			t.Errorf("%s: only then it is said that %v", f.name, more)
		}
	}
}

// And of all that is wrong.
func TestAllThatIsWrongIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	c := nowhere(t)
	c.WebhookSchedule = "1m"
	maps.Copy(c.Calls, map[string]string{
		"STRIPE_CONCURRENCY": "12", "PAYPAL_API_BASE": "https://api-m.paypal.com", "BANK_REFUND_TIMEOUT": "18s",
	})
	c.Signatures["PAYPAL_WEBHOOK_VERIFY"] = "offline"
	wrong := map[string]string{ // by what it is that finds it: the type, a part alone, several parts together
		"DATABASE_URL": "mysql://x", "DATABASE_POOL_MAX": "0", "AUDIT_SEALS": "ftp://x", "WEBHOOK_SCHEDULE": "-1s",
		"WEBHOOK_SEALING_KEY": "short", "WEBHOOK_ALLOW_LOCAL": "perhaps", "STRIPE_SECRET_KEY": "a b", "STRIPE_CONCURRENCY": "0",
		"PAYPAL_API_BASE": "x", "BANK_REFUND_TIMEOUT": "1s", "GOCARDLESS_ACCESS_TOKEN": "a b", "PAYPAL_WEBHOOK_VERIFY": "never",
		"RECONCILE_RATE": "0",
	}
	for _, f := range functions {
		vars := f.variables(c)
		var made, named []string
		for name, value := range wrong {
			if _, has := vars[name]; has {
				vars[name] = value
				made = append(made, name)
			}
		}
		for _, m := range mistakes(t, f, vars) {
			named = append(named, m.Variable)
		}
		slices.Sort(made)
		slices.Sort(named)
		if diff := cmp.Diff(made, named); diff != "" {
			t.Errorf("%s: mistakes (-made +named):\n%s", f.name, diff)
		}
	}
}
