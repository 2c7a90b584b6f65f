package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
)

func (r *rig) authenticate(key string) error {
	_, err := (&merchant.Store{DB: r.pool, Now: r.clock.Now}).Authenticate(r.t.Context(), key)
	return err
}

func TestAMerchantIsMadeWithAKeyAndAnEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	text := r.ops("merchants", "create", "--name", "Tea shop", "--webhook-url", r.endpoint.url)
	for _, form := range []string{
		`(?m)^merchant +mer_[0-9a-z]{26}$`, `(?m)^name +Tea shop$`, `(?m)^api key +sk_[0-9a-z]{26}_[\w-]{43}$`,
		`(?m)^webhook url +` + regexp.QuoteMeta(r.endpoint.url) + `$`, `(?m)^signing secret +whsec_\S+$`, `not shown again`,
	} {
		if !regexp.MustCompile(form).MatchString(text) {
			t.Errorf("no %s in\n%s", form, text)
		}
	}
	r.advance(time.Second)
	m := r.merchant("--webhook-url", r.endpoint.url)
	r.advance(time.Second)
	if err := r.authenticate(m.Key); err != nil {
		t.Errorf("the key that was shown: %v", err)
	}
	if m.URL != r.endpoint.url || !strings.HasPrefix(m.Secret, "whsec_") || !strings.HasPrefix(m.Endpoint, "we_") {
		t.Errorf("made %+v", m)
	}
	plain := r.merchant()
	if plain.Secret != "" || plain.Endpoint != "" {
		t.Errorf("without an endpoint: %+v", plain)
	}
	listed := asked[[]map[string]any](r, "merchants", "list")
	if len(listed) != 3 || listed[0]["id"] != plain.Merchant || listed[1]["id"] != m.Merchant {
		t.Fatalf("listed %v", listed)
	}
	// The time is the stack's, not the machine's.
	if row := listed[1]; row["active_api_keys"] != 1.0 || row["enabled_webhook_endpoints"] != 1.0 || row["created_at"] != "2027-03-01T09:00:01Z" {
		t.Errorf("listed %v", row)
	}
	if table := r.ops("merchants", "list"); !strings.HasPrefix(table, "MERCHANT ") || !strings.Contains(table, "Tea shop") ||
		strings.Contains(table, "whsec_") || strings.Contains(table, "sk_") {
		t.Errorf("the table:\n%s", table)
	}
}

func TestAMerchantThatCannotBeMadeWholeIsNotMade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.refused(exitUsage, "--name NAME", "merchants", "create")
	r.refused(exitFailed, "name must have 1 to 200 characters", "merchants", "create", "--name", strings.Repeat("x", 201))
	r.refused(exitFailed, "url ", "merchants", "create", "--name", "Tea shop", "--webhook-url", "ftp://example.com")
	if out := r.ops("merchants", "list"); !strings.Contains(out, "no merchants") {
		t.Errorf("after the refusals:\n%s", out)
	}
	if out := r.ops("merchants", "list", "--json"); out != "[]\n" {
		t.Errorf("after the refusals: %q", out)
	}
}

func TestKeysAreIssuedListedAndRevoked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	second := asked[made](r, "keys", "create", m.Merchant, "--label", "till 2")
	if err := r.authenticate(second.Key); err != nil {
		t.Fatal(err)
	}
	if out := r.ops("keys", "list", m.Merchant); !strings.Contains(out, "till 2") || !strings.Contains(out, second.KeyID) ||
		strings.Contains(out, second.Key) {
		t.Errorf("listed:\n%s", out)
	}
	r.ops("keys", "revoke", m.KeyID)
	r.ops("keys", "revoke", second.Key) // all that is known of a leaked key
	for _, key := range []string{m.Key, second.Key} {
		if err := r.authenticate(key); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("revoked: %v", err)
		}
	}
	r.refused(exitFailed, "no such key", "keys", "revoke", m.KeyID)
	r.refused(exitFailed, "no such merchant", "keys", "create", id.Merchant.External(r.payments.NewID()))
	r.refused(exitUsage, "mer_…", "keys", "create", "shop")
}

func TestAMerchantPrefersProviders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	r.ops("merchants", "prefer", m.Merchant, "--providers", "paypal,stripe")
	if shown := r.ops("merchants", "list"); !strings.Contains(shown, "paypal,stripe") {
		t.Errorf("not shown: %s", shown)
	}
	r.ops("merchants", "prefer", m.Merchant)
	if shown := r.ops("merchants", "list"); strings.Contains(shown, "paypal") {
		t.Errorf("still shown: %s", shown)
	}
}

func TestASuspendedMerchantIsRefusedUntilActivated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	r.ops("merchants", "suspend", m.Merchant)
	if err := r.authenticate(m.Key); !fault.Is(err, fault.MerchantSuspended) {
		t.Errorf("suspended: %v", err)
	}
	r.ops("merchants", "activate", m.Merchant)
	if err := r.authenticate(m.Key); err != nil {
		t.Errorf("activated: %v", err)
	}
}
