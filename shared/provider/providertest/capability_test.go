package providertest_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/provider"
)

const day = 24 * time.Hour

// How long a key is known and what needs none are what replays rest on: a window that is
// too long charges twice. So they stand here once more, beside their sources.
func TestWhatReplaysRestOn(t *testing.T) {
	t.Parallel()
	windows := map[string]map[provider.Step]time.Duration{
		// https://docs.stripe.com/api/idempotent_requests: "at least 24 hours"
		"stripe": {provider.Authorize: day, provider.Capture: day, provider.Void: day, provider.Refund: day},
		// github.com/paypal/paypal-rest-api-specifications: 6 hours for orders, 45 days for payments
		"paypal": {provider.Authorize: day / 4, provider.Capture: 45 * day, provider.Void: 45 * day, provider.Refund: 45 * day},
		// GoCardless states none.
		"bank": {provider.Authorize: day, provider.Void: day, provider.Refund: day},
	}
	guarded := map[string]map[provider.Step]bool{
		"stripe": {provider.Capture: true, provider.Void: true},
		"paypal": {provider.Capture: true, provider.Void: true},
		"bank":   {provider.Void: true},
	}
	for _, s := range subjects() {
		caps := capabilities(t, s)
		if diff := cmp.Diff(windows[s.Name], caps.KeyWindow); diff != "" {
			t.Errorf("%s, key windows: %s", s.Name, diff)
		}
		if diff := cmp.Diff(guarded[s.Name], caps.Guarded); diff != "" {
			t.Errorf("%s, guarded by the object's state: %s", s.Name, diff)
		}
	}
}
