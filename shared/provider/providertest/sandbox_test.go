package providertest_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providertest"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// The same suite before the providers' own sandboxes, as far as it needs no payer and no
// faults. These are the only tests that may be skipped: nobody has all the keys.

// keys reads what a sandbox needs from the environment, or skips the test.
func keys(t *testing.T, names ...string) []string {
	t.Helper()
	var values []string
	for _, name := range names {
		values = append(values, os.Getenv(name))
		if os.Getenv(name) == "" {
			t.Skipf("SKIPPED: set %s to run the suite against the provider's own sandbox", strings.Join(names, " and "))
		}
	}
	return values
}

const sandboxTimeout = 30 * time.Second

func before(t *testing.T, s providertest.Subject, a provider.Adapter, err error) *providertest.Bench {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := a.(interface{ Close() }); ok {
		t.Cleanup(c.Close)
	}
	return providertest.Sandbox(t, s, a, time.Now)
}

// Stripe's needs nobody: payments live whole lives there.
func TestStripeSandbox(t *testing.T) {
	t.Parallel()
	key := keys(t, "STRIPE_SANDBOX_SECRET_KEY")[0]
	if !strings.HasPrefix(key, "sk_test_") && !strings.HasPrefix(key, "rk_test_") {
		t.Fatal("STRIPE_SANDBOX_SECRET_KEY is not the key of a sandbox: it must begin with sk_test_ or rk_test_")
	}
	for _, life := range providertest.Lives() {
		if !life.Sandbox {
			continue
		}
		t.Run(life.Name, func(t *testing.T) {
			a, err := stripe.New(stripe.Config{SecretKey: telemetry.Secret(key), APIBase: "https://api.stripe.com"}, stripe.Options{
				Now: time.Now, ConnectTimeout: sandboxTimeout, ReadTimeout: sandboxTimeout,
			})
			life.Live(before(t, providertest.Stripe(), a, err))
		})
	}
}

func TestPayPalSandbox(t *testing.T) {
	t.Parallel()
	k := keys(t, "PAYPAL_SANDBOX_CLIENT_ID", "PAYPAL_SANDBOX_CLIENT_SECRET")
	a, err := paypal.New(paypal.Config{
		ClientID: k[0], ClientSecret: telemetry.Secret(k[1]), APIBase: "https://api-m.sandbox.paypal.com",
	}, paypal.Options{Now: time.Now, ConnectTimeout: sandboxTimeout, ReadTimeout: sandboxTimeout})
	before(t, providertest.PayPal(), a, err).Page(false)
}

func TestGoCardlessSandbox(t *testing.T) {
	t.Parallel()
	token := keys(t, "GOCARDLESS_SANDBOX_ACCESS_TOKEN")[0]
	a, err := bank.New(bank.Config{AccessToken: telemetry.Secret(token), APIBase: "https://api-sandbox.gocardless.com"}, bank.Options{
		Now: time.Now, ConnectTimeout: sandboxTimeout, ReadTimeout: sandboxTimeout,
	})
	before(t, providertest.Bank(), a, err).Page(true)
}
