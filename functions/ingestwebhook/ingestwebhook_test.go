package ingestwebhook

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/inbox"
)

const path = "/v1/provider-webhooks/stripe"

func TestTheAnswerIsAsTheContractHasIt(t *testing.T) {
	t.Parallel()
	apitest.MatchSchema(t, "WebhookReceived", received{})
}

func TestIngest(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	hook := w.Webhook(w.Payment("automatic"), "payment_intent.succeeded")
	for range 2 { // the second is a repeat, and not dealt with yet
		a := w.Do(h, w.Request("POST", path, hook.Body, "Authorization", "", "Stripe-Signature", hook.Signature, "Request-Id", "req_from_stripe"))
		if a.Status != http.StatusOK || a.Member("received") != true {
			t.Fatalf("got %d %s", a.Status, a.Body)
		}
	}
	if n := w.Rows()["webhook_events"]; n != 1 {
		t.Errorf("%d events", n)
	}
	messages := w.PubSub.Published()
	if len(messages) != 2 || messages[0].Attributes["provider"] != "stripe" || messages[0].Attributes["request-id"] != "req_from_stripe" ||
		!strings.HasPrefix(messages[0].Data, `{"id":"`) || messages[0].Key == "" {
		t.Errorf("published %+v", messages)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	hook := w.Webhook(w.Payment("automatic"), "payment_intent.succeeded")
	before := w.Rows()
	for name, c := range map[string]struct {
		path, body, signature string
		status                int
		code                  fault.Code
	}{
		"unsigned":         {path, hook.Body, "", 400, fault.SignatureInvalid},
		"tampered":         {path, hook.Body + " ", hook.Signature, 400, fault.SignatureInvalid},
		"unknown provider": {"/v1/provider-webhooks/nobody", hook.Body, hook.Signature, 404, fault.NotFound},
		"too large":        {path, strings.Repeat("x", inbox.MaxBody+1), hook.Signature, 413, fault.BodyTooLarge},
	} {
		a := w.Do(h, w.Request("POST", c.path, c.body, "Authorization", "", "Stripe-Signature", c.signature))
		if code, _ := a.Problem(); a.Status != c.status || code != c.code {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	w.Advance(301 * time.Second)
	a := w.Do(h, w.Request("POST", path, hook.Body, "Authorization", "", "Stripe-Signature", hook.Signature))
	if code, _ := a.Problem(); code != fault.SignatureInvalid {
		t.Errorf("old: got %d %s", a.Status, a.Body)
	}
	if after := w.Rows(); !apitest.Same(before, after) {
		t.Errorf("rows before %v, after %v", before, after)
	}
}

func TestItNeedsNoKeyThatMovesMoney(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	delete(w.Config, "STRIPE_SECRET_KEY")
	w.Build(Build)
	delete(w.Config, "STRIPE_WEBHOOK_SECRETS")
	if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), "STRIPE_WEBHOOK_SECRETS") {
		t.Errorf("built without secrets: %v", err)
	}
}
