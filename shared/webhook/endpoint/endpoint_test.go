package endpoint

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

func TestStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for name, sql := range map[string]string{
		"lockMerchant": lockMerchant, "insertEndpoint": insertEndpoint, "selectEndpoint": selectEndpoint,
		"selectForUpdate": selectForUpdate, "selectEndpoints": selectEndpoints, "updateEndpoint": updateEndpoint,
		"deleteEndpoint": deleteEndpoint, "destroySecrets": destroySecrets, "abandonHeld": abandonHeld,
		"disableEndpoint": disableEndpoint, "enableEndpoint": enableEndpoint, "selectWaited": selectWaited,
		"selectScheme": selectScheme, "lockEndpoint": lockEndpoint, "endSecrets": endSecrets,
		"destroyExpired": destroyExpired, "insertSecret": insertSecret, "selectSigning": selectSigning,
	} {
		if _, err := tx.Prepare(t.Context(), name, sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndpointIsKeptAndItsSecretIsNot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain, secret := r.create(New{})
	r.advance(time.Second)
	full, public := r.create(New{
		URL: "https://shop.example/other?x=1", Description: "the shop's", EventTypes: []string{"payment.captured", "refund.*"},
		APIVersion: event.Version, Payload: event.Thin, Ordered: true, Signature: sender.SchemeV1a,
		Headers: map[string]string{"X-Shop": "hunter2", "Authorization": "Bearer hunter2"}, RateLimit: 5, MaxInFlight: 1,
	})
	want := Endpoint{
		ID: plain.ID, MerchantID: r.merchant, URL: good, Enabled: true, EventTypes: []string{}, APIVersion: event.Version,
		Payload: event.Full, Signature: sender.SchemeV1, RateLimit: 100, MaxInFlight: 20, HeaderNames: []string{},
		CreatedAt: r.Now().Add(-time.Second), UpdatedAt: r.Now().Add(-time.Second),
	}
	sealed := cmpopts.IgnoreFields(Endpoint{}, "Sealed")
	if diff := cmp.Diff(want, plain, utc, sealed); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if !slices.Equal(full.HeaderNames, []string{"Authorization", "X-Shop"}) || !full.Ordered || full.Payload != event.Thin ||
		full.RateLimit != 5 || full.MaxInFlight != 1 || full.Description != "the shop's" || len(full.EventTypes) != 2 {
		t.Errorf("made %+v", full)
	}
	if !strings.HasPrefix(secret.Reveal(), "whsec_") || !strings.HasPrefix(public.Reveal(), "whpk_") {
		t.Error("the keys are not spelled as their schemes have them")
	}
	list, err := r.List(t.Context(), r.merchant)
	if diff := cmp.Diff([]Endpoint{plain, full}, list, utc); err != nil || diff != "" {
		t.Errorf("List: %v (-made +listed):\n%s", err, diff)
	}
	if diff := cmp.Diff(full, r.get(full.ID), utc); diff != "" {
		t.Errorf("Get (-made +got):\n%s", diff)
	}
	for e, key := range map[*Endpoint]telemetry.Secret{&plain: secret, &full: public} {
		kept := r.secrets(e.ID)
		if len(kept) != 1 || (sender.Key{Scheme: e.Signature, Secret: []byte(kept[0])}).Spell() != key {
			t.Errorf("the stored key of %s opens as another one", e.Signature)
		}
	}
	for _, row := range r.rows() {
		if strings.Contains(row, "hunter2") || strings.Contains(row, "X-Shop") {
			t.Errorf("in clear: %s", row)
		}
	}
}

func TestHeadersOutOfReachDoNotHideAnEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{Headers: map[string]string{"X-Shop": "hunter2"}})
	r.Sealer = sealer(t, 8)
	got, err := r.Disable(t.Context(), r.merchant, e.ID, Merchant, "")
	if err != nil || got.Enabled || got.HeaderNames != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if log := r.log.String(); !strings.Contains(log, id.Endpoint.External(e.ID)) || strings.Contains(log, "hunter2") {
		t.Errorf("logged %s", log)
	}
}

func TestUpdateChangesWhatItNames(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before, _ := r.create(New{Description: "old", EventTypes: []string{"payment.*"}, Headers: map[string]string{"X-Shop": "17"}})
	r.advance(time.Minute)
	url, description, thin, version, yes, rate, flight := good+"/new", "", event.Thin, event.Version, true, 7, 3
	for name, c := range map[string]struct {
		change Change
		want   func(*Endpoint)
	}{
		"nothing":     {Change{}, func(*Endpoint) {}},
		"url":         {Change{URL: &url}, func(e *Endpoint) { e.URL = url }},
		"description": {Change{Description: &description}, func(e *Endpoint) { e.Description = "" }},
		"all events":  {Change{EventTypes: []string{}}, func(e *Endpoint) { e.EventTypes = []string{} }},
		"events":      {Change{EventTypes: []string{"refund.*"}}, func(e *Endpoint) { e.EventTypes = []string{"refund.*"} }},
		"version":     {Change{APIVersion: &version}, func(*Endpoint) {}},
		"payload":     {Change{Payload: &thin}, func(e *Endpoint) { e.Payload = thin }},
		"ordered":     {Change{Ordered: &yes}, func(e *Endpoint) { e.Ordered = true }},
		"headers":     {Change{Headers: map[string]string{"X-Other": "1"}}, func(e *Endpoint) { e.HeaderNames = []string{"X-Other"} }},
		"no headers":  {Change{Headers: map[string]string{}}, func(e *Endpoint) { e.HeaderNames, e.Sealed = []string{}, nil }},
		"limits":      {Change{RateLimit: &rate, MaxInFlight: &flight}, func(e *Endpoint) { e.RateLimit, e.MaxInFlight = 7, 3 }},
	} {
		r.exec(`UPDATE webhook_endpoints SET url = $2, description = 'old', event_types = '{payment.*}', payload = 'full',
			ordered = false, headers = $3, rate_limit = 100, max_in_flight = 20 WHERE id = $1`, before.ID, good, before.Sealed)
		want := before
		want.UpdatedAt = r.Now()
		c.want(&want)
		got, err := r.Update(t.Context(), r.merchant, before.ID, c.change)
		ignored := cmpopts.IgnoreFields(Endpoint{}, "Sealed")
		if diff := cmp.Diff(want, got, utc, ignored); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if diff := cmp.Diff(got, r.get(before.ID), utc); diff != "" {
			t.Errorf("%s (-answered +kept):\n%s", name, diff)
		}
	}
}

// The new URL need not wait for the old one's circuit, and is not asked about its past.
func TestAnotherURLIsAskedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{})
	hour := r.Now().Add(time.Hour)
	fail := func() {
		r.exec(`UPDATE webhook_endpoints SET failing_since = $2, failures = 12, open_until = $3, probe_at = $3 WHERE id = $1`, e.ID, r.Now(), hour)
	}
	state := func() (open *time.Time, probe time.Time) {
		check(t, r.pool.QueryRow(t.Context(), `SELECT open_until, probe_at FROM webhook_endpoints WHERE id = $1`, e.ID).Scan(&open, &probe))
		return open, probe
	}
	same, other := good, good+"/new"
	fail()
	if _, err := r.Update(t.Context(), r.merchant, e.ID, Change{URL: &same}); err != nil {
		t.Fatal(err)
	}
	if open, probe := state(); open == nil || !probe.Equal(hour) {
		t.Errorf("with the same URL: open until %v, probe at %v", open, probe)
	}
	if _, err := r.Update(t.Context(), r.merchant, e.ID, Change{URL: &other}); err != nil {
		t.Fatal(err)
	}
	if open, probe := state(); open != nil || !probe.Equal(r.Now()) {
		t.Errorf("with another URL: open until %v, probe at %v", open, probe)
	}
	if got := r.get(e.ID); got.FailingSince == nil || got.Failures != 12 {
		t.Errorf("what it missed is forgotten: %+v", got)
	}
}

func TestSettingsThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{})
	before := r.rows()
	for name, c := range map[string]struct {
		endpoint New
		field    string
	}{
		"http":                  {New{URL: "http://shop.example"}, "url"},
		"loopback":              {New{URL: "https://127.0.0.1/"}, "url"},
		"a number for a host":   {New{URL: "https://2130706433/"}, "url"},
		"a password":            {New{URL: "https://a:b@shop.example/"}, "url"},
		"another port":          {New{URL: "https://shop.example:8443/"}, "url"},
		"not UTF-8":             {New{URL: good + "?\xff"}, "url"},
		"a long URL":            {New{URL: good + strings.Repeat("a", 2048)}, "url"},
		"a long description":    {New{Description: strings.Repeat("é", MaxDescription+1)}, "description"},
		"a NUL":                 {New{Description: "a\x00b"}, "description"},
		"an odd type":           {New{EventTypes: []string{"payment.captured", "payment captured"}}, "event_types"},
		"a misspelt type":       {New{EventTypes: []string{"payment.capured"}}, "event_types"},
		"an empty type":         {New{EventTypes: []string{""}}, "event_types"},
		"everything":            {New{EventTypes: []string{"*"}}, "event_types"},
		"a type twice":          {New{EventTypes: []string{"refund.*", "refund.*"}}, "event_types"},
		"many types":            {New{EventTypes: make([]string, MaxEventTypes+1)}, "event_types"},
		"no version":            {New{APIVersion: "2020-01-01"}, "api_version"},
		"an odd form":           {New{Payload: "slim"}, "payload"},
		"an odd scheme":         {New{Signature: "v2"}, "signature"},
		"a header of ours":      {New{Headers: map[string]string{"Webhook-Id": "1"}}, "headers"},
		"a header of HTTP":      {New{Headers: map[string]string{"Content-Length": "1"}}, "headers"},
		"a header with a line":  {New{Headers: map[string]string{"X-A": "1\r\nX-B: 2"}}, "headers"},
		"a large header":        {New{Headers: map[string]string{"X-A": strings.Repeat("a", 5000)}}, "headers"},
		"a negative rate":       {New{RateLimit: -1}, "rate_limit"},
		"a large rate":          {New{RateLimit: MaxRateLimit + 1}, "rate_limit"},
		"a negative number":     {New{MaxInFlight: -1}, "max_in_flight"},
		"many at a time":        {New{MaxInFlight: MaxMaxInFlight + 1}, "max_in_flight"},
		"every header's secret": {New{Headers: map[string]string{"Host": "hunter2"}}, "headers"},
	} {
		n := c.endpoint
		if n.URL == "" {
			n.URL = good
		}
		_, _, err := r.Create(t.Context(), r.merchant, n)
		if !refused(err, fault.InvalidRequest, c.field) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("create, %s: %v; want %s refused", name, err, c.field)
		}
		if c.field == "signature" {
			continue // stays as it was made
		}
		change := Change{EventTypes: n.EventTypes, Headers: n.Headers, URL: &n.URL, Description: &n.Description}
		set(&change.APIVersion, n.APIVersion)
		set(&change.Payload, n.Payload)
		set(&change.RateLimit, n.RateLimit)
		set(&change.MaxInFlight, n.MaxInFlight)
		if _, err := r.Update(t.Context(), r.merchant, e.ID, change); !refused(err, fault.InvalidRequest, c.field) {
			t.Errorf("update, %s: %v; want %s refused", name, err, c.field)
		}
	}
	if _, _, err := r.Create(t.Context(), r.merchant, New{}); !refused(err, fault.InvalidRequest, "url") {
		t.Errorf("without a URL: %v", err)
	}
	_, _, err := r.Create(t.Context(), r.merchant, New{URL: "ftp://x", Payload: "slim", RateLimit: 9999})
	if f := fault.As(err); len(f.Fields) != 3 {
		t.Errorf("three mistakes: %v", err)
	}
	zero := 0
	if _, err := r.Update(t.Context(), r.merchant, e.ID, Change{RateLimit: &zero}); !refused(err, fault.InvalidRequest, "rate_limit") {
		t.Errorf("no rate: %v", err)
	}
	if diff := cmp.Diff(before, r.rows()); diff != "" {
		t.Errorf("what was refused changed something:\n%s", diff)
	}
}

func set[T comparable](setting **T, v T) {
	var zero T
	if v != zero {
		*setting = &v
	}
}

// Of creations at the same time as many succeed as there may be.
func TestAMerchantHasTwentyEndpointsAtMost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var wg sync.WaitGroup
	errs := make(chan error, Most+5)
	for range Most + 5 {
		wg.Go(func() {
			_, _, err := r.Create(context.Background(), r.merchant, New{URL: good})
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	made := 0
	for err := range errs {
		switch {
		case err == nil:
			made++
		case !fault.Is(err, fault.InvalidRequest) || !strings.Contains(err.Error(), "Delete one"):
			t.Errorf("refused with %v", err)
		}
	}
	list, err := r.List(t.Context(), r.merchant)
	if err != nil || made != Most || len(list) != Most {
		t.Fatalf("made %d, there are %d, %v; want %d", made, len(list), err, Most)
	}
	if _, _, err := r.Create(t.Context(), r.stranger, New{URL: good}); err != nil {
		t.Errorf("another merchant: %v", err)
	}
	check(t, r.Delete(t.Context(), r.merchant, list[3].ID))
	r.create(New{})
	if _, _, err := r.Create(t.Context(), r.NewID(), New{URL: good}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an endpoint of nobody: %v; want not_found", err)
	}
}

func TestDeleteDestroysSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{Headers: map[string]string{"X-Shop": "hunter2"}})
	other, _ := r.create(New{})
	held, pending := r.delivery(e.ID, webhook.Held, time.Minute), r.delivery(e.ID, webhook.Pending, time.Minute)
	elsewhere := r.delivery(other.ID, webhook.Held, time.Minute)
	check(t, r.Delete(t.Context(), r.merchant, e.ID))
	if err := r.Delete(t.Context(), r.merchant, e.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if kept := r.secrets(e.ID); len(kept) != 0 {
		t.Errorf("%d secrets are left", len(kept))
	}
	if kept := r.secrets(other.ID); len(kept) != 1 {
		t.Errorf("the other endpoint has %d secrets", len(kept))
	}
	var headers []byte
	var enabled bool
	check(t, r.pool.QueryRow(t.Context(), `SELECT headers, enabled FROM webhook_endpoints WHERE id = $1`, e.ID).Scan(&headers, &enabled))
	if headers != nil || enabled {
		t.Errorf("headers %x, enabled %t", headers, enabled)
	}
	list, err := r.List(t.Context(), r.merchant)
	if err != nil || len(list) != 1 || list[0].ID != other.ID {
		t.Errorf("listed %+v, %v", list, err)
	}
	for delivery, want := range map[id.ID]webhook.Status{held: webhook.Abandoned, pending: webhook.Pending, elsewhere: webhook.Held} {
		d, err := r.Webhooks.Get(t.Context(), delivery)
		if err != nil || d.Status != want {
			t.Errorf("delivery %+v, %v; want %s", d, err, want)
		}
	}
}

func TestAnothersEndpointIsNone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{})
	deleted, _ := r.create(New{})
	check(t, r.Delete(t.Context(), r.merchant, deleted.ID))
	before := r.rows()
	for name, c := range map[string]struct{ merchant, endpoint id.ID }{
		"another merchant's": {r.stranger, e.ID}, "deleted": {r.merchant, deleted.ID}, "unknown": {r.merchant, r.NewID()},
	} {
		ctx := t.Context()
		_, get := r.Get(ctx, c.merchant, c.endpoint)
		_, update := r.Update(ctx, c.merchant, c.endpoint, Change{Headers: map[string]string{"X-A": "1"}})
		_, rotate := r.RotateSecret(ctx, c.merchant, c.endpoint, 0)
		_, disable := r.Disable(ctx, c.merchant, c.endpoint, Merchant, "")
		_, _, enable := r.Enable(ctx, c.merchant, c.endpoint, Merchant, nil)
		for op, err := range map[string]error{
			"get": get, "update": update, "rotate": rotate, "disable": disable, "enable": enable,
			"delete": r.Delete(ctx, c.merchant, c.endpoint),
		} {
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("%s, %s: %v; want not_found", name, op, err)
			}
		}
	}
	if diff := cmp.Diff(before, r.rows()); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
	if list, err := r.List(t.Context(), r.stranger); err != nil || len(list) != 0 {
		t.Errorf("another merchant lists %v, %v", list, err)
	}
}
