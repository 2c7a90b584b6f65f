package providersim_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v76"
)

func returning(p *stripe.PaymentIntentParams) {
	p.ReturnURL = stripe.String("https://shop.example/back?order=17")
}

func TestThreeDSecureByThePayersBrowser(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[string]struct {
		status   stripe.PaymentIntentStatus
		redirect string
		effects  []string
	}{
		"success": {stripe.PaymentIntentStatusRequiresCapture, "succeeded", []string{"authorize"}},
		"fail":    {stripe.PaymentIntentStatusRequiresPaymentMethod, "failed", nil},
	} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			pi := b.create(payment(5000, "pm_card_threeDSecure2Required", manual, returning))
			wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusRequiresAction)
			wantEqual(t, "next action", pi.NextAction.Type, stripe.PaymentIntentNextActionTypeRedirectToURL)
			wantEqual(t, "return url", pi.NextAction.RedirectToURL.ReturnURL, "https://shop.example/back?order=17")
			page := pi.NextAction.RedirectToURL.URL

			browser := b.server.Client()
			browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			resp, err := browser.Get(page)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			wantEqual(t, "page", resp.StatusCode, 200)
			resp, err = browser.Get(page + "?outcome=" + outcome)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			wantEqual(t, "redirect", resp.StatusCode, 303)
			back, err := url.Parse(resp.Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "host", back.Host, "shop.example")
			wantEqual(t, "own query kept", back.Query().Get("order"), "17")
			wantEqual(t, "payment_intent", back.Query().Get("payment_intent"), pi.ID)
			wantEqual(t, "redirect_status", back.Query().Get("redirect_status"), want.redirect)

			pi, err = b.intents.Get(pi.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "status", pi.Status, want.status)
			if outcome == "fail" {
				wantEqual(t, "last error", pi.LastPaymentError.Code, stripe.ErrorCodePaymentIntentAuthenticationFailure)
			}
			if diff := cmp.Diff(want.effects, b.effects()); diff != "" {
				t.Errorf("effects (-want +got):\n%s", diff)
			}
			if err := b.CompleteAuthentication(pi.ID, true); err == nil {
				t.Errorf("the challenge was answered twice")
			}
		})
	}
}

func TestThreeDSecureThenDeclined(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"))
	wantEqual(t, "next action without return_url", pi.NextAction.Type, stripe.PaymentIntentNextActionTypeUseStripeSDK)
	if err := b.CompleteAuthentication(pi.ID, true); err != nil {
		t.Fatal(err)
	}
	pi, err := b.intents.Get(pi.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusRequiresPaymentMethod)
	wantEqual(t, "decline code", pi.LastPaymentError.DeclineCode, stripe.DeclineCodeInsufficientFunds)
	b.quiesce()
	want := []string{
		"payment_intent.created", "payment_intent.requires_action", "charge.failed", "payment_intent.payment_failed",
	}
	if diff := cmp.Diff(want, b.receiver.names(t)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
}

func TestThreeDSecureWithNobodyThere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, change := range map[string]func(*stripe.PaymentIntentParams){
		"off_session":              func(p *stripe.PaymentIntentParams) { p.OffSession = stripe.Bool(true) },
		"error_on_requires_action": func(p *stripe.PaymentIntentParams) { p.ErrorOnRequiresAction = stripe.Bool(true) },
	} {
		_, err := b.intents.New(payment(5000, "pm_card_authenticationRequired", change))
		e := wantError(t, err, 402, stripe.ErrorCodeAuthenticationRequired)
		wantEqual(t, name, e.PaymentIntent.Status, stripe.PaymentIntentStatusRequiresPaymentMethod)
	}
}

func TestThreeDSecureAskedForByTheMerchant(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pi := b.create(payment(5000, "pm_card_visa", returning, func(p *stripe.PaymentIntentParams) {
		p.PaymentMethodOptions = &stripe.PaymentIntentPaymentMethodOptionsParams{
			Card: &stripe.PaymentIntentPaymentMethodOptionsCardParams{RequestThreeDSecure: stripe.String("any")},
		}
	}))
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusRequiresAction)
	pi, err := b.intents.Cancel(pi.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status", pi.Status, stripe.PaymentIntentStatusCanceled)
	if err := b.CompleteAuthentication(pi.ID, true); err == nil {
		t.Errorf("a canceled payment was authenticated")
	}
	if err := b.CompleteAuthentication("pi_unknown", true); err == nil {
		t.Errorf("an unknown payment was authenticated")
	}
	wantEqual(t, "effects", len(b.Effects()), 0)
}
