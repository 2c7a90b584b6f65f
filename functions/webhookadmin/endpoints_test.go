package webhookadmin

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/shared/webhook/seal/sealtest"
)

// verifies reports whether the public library takes a post by the secret.
func verifies(t *testing.T, p post, secret string) bool {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret)
	check(t, err)
	return hook.VerifyIgnoringTimestamp(p.body, p.header) == nil // the test's clock is not the library's
}

// tested sends a test event and is what the shop gets.
func (w *world) tested(e string) post {
	w.t.Helper()
	a := w.do(http.StatusAccepted, "POST", endpoints+"/"+e+"/test", "{}")
	if a.Text("event_type") != "endpoint.test" || a.Text("status") != "PENDING" || a.Text("webhook_id") != e || a.Member("transaction_id") != nil {
		w.t.Errorf("the test's delivery %s", a.Body)
	}
	w.Advance(time.Second)
	posts := w.received()
	if len(posts) != 1 {
		w.t.Fatalf("%d posts", len(posts))
	}
	return posts[0]
}

func TestLifeOfAnEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.endpoint(`"description":"the shop's","event_types":["payment.*"],"headers":{"X-Shop":"hunter2"},"ordered":true`)
	secret, at := made.Text("secret"), endpoints+"/"+made.Text("id")
	if !strings.HasPrefix(secret, "whsec_") || made.Member("public_key") != nil || made.Member("enabled") != true ||
		made.Text("description") != "the shop's" || made.Text("api_version") != "2026-11-01" || made.Text("signature") != "v1" {
		t.Fatalf("made %s", made.Body)
	}
	shown := func(a []byte) map[string]any {
		var members map[string]any
		check(t, json.Unmarshal(a, &members))
		delete(members, "secret")
		delete(members, "public_key")
		return members
	}
	got := w.do(http.StatusOK, "GET", at, "")
	if diff := cmp.Diff(shown(made.Body), shown(got.Body)); diff != "" {
		t.Errorf("GET (-made +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"X-Shop"}, got.Member("header_names")); diff != "" {
		t.Error(diff)
	}
	if list := data(w.do(http.StatusOK, "GET", endpoints, "")); len(list) != 1 || list[0]["id"] != made.Text("id") {
		t.Errorf("listed %v", list)
	}

	w.Advance(time.Minute)
	changed := w.do(http.StatusOK, "PATCH", at, `{"description":"","event_types":[],"rate_limit":7,"headers":{}}`)
	if changed.Text("description") != "" || changed.Member("rate_limit") != 7.0 || changed.Member("ordered") != true ||
		changed.Text("updated_at") == made.Text("updated_at") || len(changed.Member("event_types").([]any)) != 0 || len(changed.Member("header_names").([]any)) != 0 {
		t.Errorf("changed %s", changed.Body)
	}

	disabled := w.do(http.StatusOK, "POST", at+"/disable", "{}")
	if disabled.Member("enabled") != false || disabled.Text("disabled_by") != "merchant" || disabled.Member("disabled_at") == nil {
		t.Errorf("disabled %s", disabled.Body)
	}
	if again := w.do(http.StatusOK, "POST", at+"/disable", "{}"); string(again.Body) != string(disabled.Body) {
		t.Errorf("disabled twice: %s", again.Body)
	}
	w.do(http.StatusConflict, "POST", at+"/test", "{}")
	w.do(http.StatusConflict, "POST", at+"/replay", `{"since":"2027-01-01T00:00:00Z"}`)
	if enabled := w.do(http.StatusOK, "POST", at+"/enable", "{}"); enabled.Member("enabled") != true || enabled.Member("replay_id") != nil {
		t.Errorf("enabled %s", enabled.Body)
	}
	rotated := w.do(http.StatusOK, "POST", at+"/rotate-secret", "{}")
	if !strings.HasPrefix(rotated.Text("secret"), "whsec_") || len(rotated.Member("signing").([]any)) != 2 {
		t.Errorf("rotated %s", rotated.Body)
	}

	gone := w.do(http.StatusNoContent, "DELETE", at, "")
	if len(gone.Body) != 0 {
		t.Errorf("deleted with %s", gone.Body)
	}
	w.do(http.StatusNotFound, "GET", at, "")
	w.do(http.StatusNotFound, "DELETE", at, "")
	if list := data(w.do(http.StatusOK, "GET", endpoints, "")); len(list) != 0 {
		t.Errorf("listed %v", list)
	}
	// The secrets stand in the two answers that show them, and nowhere else.
	for where, text := range map[string]string{
		"the log": w.Log.String(), "GET": string(got.Body), "PATCH": string(changed.Body), "disable": string(disabled.Body), "the database": w.state(),
	} {
		unseen(t, where, text, secret, rotated.Text("secret"), "hunter2")
	}
}

// A receiver that goes from one secret to the next misses nothing, and the old one ends.
func TestEventsVerifyThroughARotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.endpoint(`"headers":{"X-Shop":"17","Authorization":"Bearer x"}`)
	e, first := made.Text("id"), made.Text("secret")
	p := w.tested(e)
	if !verifies(t, p, first) || p.header.Get("X-Shop") != "17" || p.header.Get("Authorization") != "Bearer x" {
		t.Errorf("before: %v", p.header)
	}
	second := w.do(http.StatusOK, "POST", endpoints+"/"+e+"/rotate-secret", `{"overlap_seconds":3600}`).Text("secret")
	if p := w.tested(e); !verifies(t, p, first) || !verifies(t, p, second) {
		t.Error("one of the two does not verify while they overlap")
	}
	w.Advance(time.Hour)
	if p := w.tested(e); verifies(t, p, first) || !verifies(t, p, second) {
		t.Error("the old one verifies after the overlap, or the new one does not")
	}
	third := w.do(http.StatusOK, "POST", endpoints+"/"+e+"/rotate-secret", `{"overlap_seconds":0}`).Text("secret")
	if p := w.tested(e); verifies(t, p, second) || !verifies(t, p, third) {
		t.Error("the old one verifies without an overlap, or the new one does not")
	}
}

func TestPublicKeysVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.endpoint(`"signature":"v1a"`)
	w.Advance(time.Second)
	rotated := w.do(http.StatusOK, "POST", endpoints+"/"+made.Text("id")+"/rotate-secret", "{}")
	p := w.tested(made.Text("id"))
	signatures := strings.Fields(p.header.Get("webhook-signature"))
	if len(signatures) != 2 || made.Member("secret") != nil || rotated.Member("secret") != nil {
		t.Fatalf("signatures %v, made %s, rotated %s", signatures, made.Body, rotated.Body)
	}
	content := p.header.Get("webhook-id") + "." + p.header.Get("webhook-timestamp") + "." + string(p.body)
	for i, key := range []string{rotated.Text("public_key"), made.Text("public_key")} {
		public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whpk_"))
		check(t, err)
		signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signatures[i], "v1a,"))
		check(t, err)
		if !ed25519.Verify(public, []byte(content), signature) {
			t.Errorf("key %d does not verify", i)
		}
	}
}

func TestAThinEndpointIsSentIdentifiers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint(`"payload":"thin"`)
	p := w.happen()
	w.Advance(time.Second)
	posts := w.received()
	if want := `"data":{"payment":{"id":"` + p.ID + `","object":"payment"}}`; len(posts) != 1 || !strings.Contains(string(posts[0].body), want) {
		t.Fatalf("posts %s", posts)
	}
	event := posts[0].header.Get("webhook-id")
	if a := w.do(http.StatusOK, "GET", "/v1/events/"+event, ""); a.Text("data.payment.status") != "CAPTURED" {
		t.Errorf("the event by its id is %s", a.Body)
	}
}

func TestTwentyEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 20 {
		w.endpoint("")
	}
	a := w.do(http.StatusBadRequest, "POST", endpoints, `{"url":"https://shop.example/"}`)
	if !strings.Contains(a.Text("detail"), "Delete one") {
		t.Errorf("got %s", a.Body)
	}
	if list := data(w.do(http.StatusOK, "GET", endpoints, "")); len(list) != 20 {
		t.Errorf("%d endpoints", len(list))
	}
}

// As production has it: Cloud KMS holds the key. While it can't be reached no secret is
// made, and all that needs none goes on.
func TestSecretsAreSealedByKMS(t *testing.T) {
	t.Parallel()
	const key = "projects/test/locations/asia-northeast1/keyRings/tollgate/cryptoKeys/webhooks"
	w := newWorld(t)
	kms := sealtest.New(t, key)
	delete(w.Config, "WEBHOOK_SEALING_KEY")
	w.Config["WEBHOOK_KMS_KEY"], w.Env.KMS = key, kms.Options
	w.handler = w.Build(Build)
	e := w.endpoint(`"headers":{"X-Shop":"17"}`).Text("id")
	if a := w.do(http.StatusOK, "GET", endpoints+"/"+e, ""); len(a.Member("header_names").([]any)) != 1 || len(kms.Requests()) == 0 {
		t.Errorf("%s, after %d requests to KMS", a.Body, len(kms.Requests()))
	}
	kms.Before(func(context.Context, any) error {
		return status.Error(codes.PermissionDenied, "key hunter2 is not yours")
	})
	w.handler = w.Build(Build) // with nothing remembered
	before := w.state()
	for target, body := range map[string]string{
		"POST " + endpoints: `{"url":"https://shop.example/"}`,
		"POST " + endpoints + "/" + e + "/rotate-secret": "{}",
		"PATCH " + endpoints + "/" + e:                   `{"headers":{"X-Shop":"18"}}`,
	} {
		method, path, _ := strings.Cut(target, " ")
		a := w.do(http.StatusServiceUnavailable, method, path, body)
		if a.Header.Get("Retry-After") == "" || strings.Contains(string(a.Body), "hunter2") {
			t.Errorf("%s: %s", target, a.Body)
		}
	}
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
	if a := w.do(http.StatusOK, "POST", endpoints+"/"+e+"/disable", "{}"); a.Member("enabled") != false || a.Member("header_names") != nil {
		t.Errorf("disabled %s", a.Body)
	}
	w.do(http.StatusNoContent, "DELETE", endpoints+"/"+e, "")
}
