package webhook

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

func TestEndpointIsKeptAndItsSecretIsNot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made, secret := r.subscribe("https://shop.example/hook", "payment.captured")
	r.advance(time.Second)
	plain, other := r.subscribe("https://shop.example/all")
	if !strings.HasPrefix(secret.Reveal(), "whsec_") || secret == other {
		t.Error("the secrets are malformed, or the same")
	}
	list, err := r.endpoints.List(t.Context(), r.merchant)
	if diff := cmp.Diff([]Endpoint{made, plain}, list, utc); err != nil || diff != "" {
		t.Errorf("List: %v (-made +listed):\n%s", err, diff)
	}
	got, err := r.endpoints.Get(t.Context(), r.merchant, made.ID)
	if diff := cmp.Diff(made, got, utc); err != nil || diff != "" {
		t.Errorf("Get: %v (-made +got):\n%s", err, diff)
	}
	stranger := outboxtest.Merchant(t, r.Pool, r.NewID, r.Now())
	if list, err := r.endpoints.List(t.Context(), stranger); err != nil || len(list) != 0 {
		t.Errorf("another merchant lists %v, %v", list, err)
	}
	if _, err := r.endpoints.Get(t.Context(), stranger, made.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another merchant gets it: %v; want not_found", err)
	}
	if _, _, err := r.endpoints.Create(t.Context(), r.NewID(), NewEndpoint{URL: "https://shop.example"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an endpoint of nobody: %v; want not_found", err)
	}
	var sealed []byte
	if err := r.Pool.QueryRow(t.Context(), `SELECT sealed FROM webhook_endpoint_secrets WHERE endpoint_id = $1`, made.ID).Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	opened, err := r.Sealer.Open(t.Context(), made.ID, sealed)
	if err != nil || sender.Spell(opened) != secret {
		t.Errorf("the stored secret opens as another one: %v", err)
	}
}

func TestEndpointsThatCannotBe(t *testing.T) {
	t.Parallel()
	endpoints := &Endpoints{} // refused before anything is touched
	const good = "https://shop.example/hook"
	for name, c := range map[string]struct {
		endpoint NewEndpoint
		field    string
	}{
		"no URL":              {NewEndpoint{}, "url"},
		"http":                {NewEndpoint{URL: "http://shop.example"}, "url"},
		"loopback":            {NewEndpoint{URL: "https://127.0.0.1/"}, "url"},
		"a number for a host": {NewEndpoint{URL: "https://2130706433/"}, "url"},
		"a password":          {NewEndpoint{URL: "https://a:b@shop.example/"}, "url"},
		"not UTF-8":           {NewEndpoint{URL: good + "?\xff"}, "url"},
		"a long description":  {NewEndpoint{URL: good, Description: strings.Repeat("é", maxDescription+1)}, "description"},
		"a NUL":               {NewEndpoint{URL: good, Description: "a\x00b"}, "description"},
		"an odd type":         {NewEndpoint{URL: good, EventTypes: []string{"payment.captured", "payment captured"}}, "event_types"},
		"an empty type":       {NewEndpoint{URL: good, EventTypes: []string{""}}, "event_types"},
		"many types":          {NewEndpoint{URL: good, EventTypes: make([]string, maxEventTypes+1)}, "event_types"},
	} {
		_, _, err := endpoints.Create(t.Context(), [16]byte{1}, c.endpoint)
		f := fault.As(err)
		if !fault.Is(err, fault.InvalidRequest) || len(f.Fields) != 1 || f.Fields[0].Name != c.field {
			t.Errorf("%s: %v; want %s refused", name, err, c.field)
		}
	}
}
