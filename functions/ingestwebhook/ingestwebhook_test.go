package ingestwebhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
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

// Every provider's own webhooks, as it sends and signs them, are taken in.
func TestEveryProvidersWebhooksAreTaken(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.AllProviders()
	for _, verify := range []string{"offline", "api"} {
		w.Config["PAYPAL_WEBHOOK_VERIFY"] = verify
		server := httptest.NewServer(w.Build(Build))
		t.Cleanup(server.Close)
		w.PayPal.SetWebhook(server.URL + "/v1/provider-webhooks/paypal")
		w.Bank.SetWebhook(server.URL + "/v1/provider-webhooks/bank")
		for _, c := range []struct {
			provider, currency, method string
			goOn                       func(reference string) error
			quiesce                    func(context.Context) error
		}{
			{"paypal", "JPY", "paypal", func(order string) error { return w.PayPal.Approve(order, providersim.PayPalApproves) }, w.PayPal.Quiesce},
			{"bank", "GBP", "bank_transfer", func(string) error { return nil }, w.Bank.Quiesce},
		} {
			made := authorize(t, w, c.provider, c.currency, c.method)
			if err := errors.Join(c.goOn(made.Reference), c.quiesce(t.Context())); err != nil {
				t.Fatal(err)
			}
			n := w.Text(`SELECT count(*)::text FROM webhook_events WHERE provider = $1 AND state = 'stored'`, c.provider)
			if n == "0" {
				t.Errorf("%s: nothing of %s was stored (signatures %s): %s", c.provider, made.Reference, verify, w.Log)
			}
			w.Exec(`DELETE FROM webhook_events`)
		}
	}
}

// authorize makes a payment at the provider alone.
func authorize(t *testing.T, w *apitest.World, name, currency, method string) provider.Result {
	t.Helper()
	adapter := w.Adapters()[name]
	call, err := provider.FirstCall(provider.NewAttempt(w.Env.NewID(), 1, provider.Request{
		Step: provider.Authorize, Account: adapter.Account(), MerchantID: w.Shop, PaymentID: w.Env.NewID(), AutoCapture: true,
		Amount: money.New(5000, money.MustParseCurrency(currency)), PaymentMethod: method, ReturnURL: "https://shop.example/back",
	}, w.Clock.Now()))
	if err != nil {
		t.Fatal(err)
	}
	made := adapter.Execute(t.Context(), call)
	if made.Outcome != provider.RequiresAction {
		t.Fatalf("%s: %s: %s", name, made.Outcome, made.Evidence.Error)
	}
	return made
}

// A webhook of GoCardless's has several events, and a wrong signature a status of its own.
func TestBankEventsAreStoredOneByOne(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.AllProviders()
	h := w.Build(Build)
	body := `{"events":[
		{"id":"EV1","created_at":"2027-03-01T09:00:00Z","resource_type":"payments","action":"created","links":{"payment":"PM1"}},
		{"id":"EV2","created_at":"2027-03-01T09:00:00Z","resource_type":"payments","action":"confirmed","links":{"payment":"PM1"}}]}`
	mac := hmac.New(sha256.New, []byte(apitest.BankWebhookSecret))
	mac.Write([]byte(body))
	signed := hex.EncodeToString(mac.Sum(nil))
	const path = "/v1/provider-webhooks/bank"
	for range 2 {
		if a := w.Do(h, w.Request("POST", path, body, "Authorization", "", "Webhook-Signature", signed)); a.Status != http.StatusOK {
			t.Fatalf("got %d %s", a.Status, a.Body)
		}
	}
	if ids := w.Text(`SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM webhook_events`); ids != "EV1 EV2" {
		t.Errorf("stored %s", ids)
	}
	a := w.Do(h, w.Request("POST", path, body+" ", "Authorization", "", "Webhook-Signature", signed))
	if code, _ := a.Problem(); a.Status != 498 || code != fault.BankSignatureInvalid {
		t.Errorf("tampered: got %d %s", a.Status, a.Body)
	}
}

func TestOnlyEnabledProvidersAreHeard(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.AllProviders()
	w.Config["PROVIDERS"] = "bank"
	for name := range w.Config {
		if strings.HasPrefix(name, "STRIPE_") || strings.HasPrefix(name, "PAYPAL_") || name == "GOCARDLESS_ACCESS_TOKEN" {
			delete(w.Config, name)
		}
	}
	h := w.Build(Build)
	for _, name := range []string{"stripe", "paypal"} {
		if a := w.Do(h, w.Request("POST", "/v1/provider-webhooks/"+name, "{}", "Authorization", "")); a.Status != http.StatusNotFound {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	w.Config["PROVIDERS"], w.Config["PAYPAL_WEBHOOK_VERIFY"] = "paypal,bank", "api"
	_, err := Build(t.Context(), w.Env)
	for _, name := range []string{"PAYPAL_WEBHOOK_ID", "PAYPAL_CLIENT_ID", "PAYPAL_CLIENT_SECRET"} {
		if err == nil || !strings.Contains(err.Error(), name+" is not set") {
			t.Errorf("built without %s: %v", name, err)
		}
	}
	w.Config["PAYPAL_WEBHOOK_ID"], w.Config["PAYPAL_WEBHOOK_VERIFY"] = "WH-1", "offline"
	w.Config["PAYPAL_WEBHOOK_CA"] = "-----BEGIN CERTIFICATE-----"
	if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), "PAYPAL_WEBHOOK_CA") {
		t.Errorf("built with an authority of anybody's: %v", err)
	}
}
