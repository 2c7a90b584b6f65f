package providersim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v76"
)

// post sends a form as it is, for what Stripe's client would not send.
func (b *bench) post(path, form, key string) (int, stripe.Error) {
	b.t.Helper()
	return b.do(http.MethodPost, path, form, key)
}

func (b *bench) do(method, path, form, key string) (int, stripe.Error) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.server.URL+path, strings.NewReader(form))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var out struct{ Error stripe.Error }
	if err := json.Unmarshal(body, &out); err != nil {
		b.t.Fatalf("%s: %v", body, err)
	}
	if resp.Header.Get("Request-Id") == "" {
		b.t.Errorf("%s %s: no Request-Id", method, path)
	}
	return resp.StatusCode, out.Error
}

func TestValidation(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long := strings.Repeat("x", 501)
	const intents = "/v1/payment_intents"
	for form, want := range map[string]struct{ param, code string }{
		"currency=jpy":                                         {"amount", "parameter_missing"},
		"amount=10":                                            {"currency", "parameter_missing"},
		"amount=0&currency=jpy":                                {"amount", "parameter_invalid_integer"},
		"amount=-1&currency=jpy":                               {"amount", "parameter_invalid_integer"},
		"amount=1.5&currency=jpy":                              {"amount", "parameter_invalid_integer"},
		"amount=&currency=jpy":                                 {"amount", "parameter_invalid_integer"},
		"amount=100000000&currency=jpy":                        {"amount", "amount_too_large"},
		"amount=99999999999999999999&currency=jpy":             {"amount", "parameter_invalid_integer"},
		"amount=10&currency=xxx":                               {"currency", ""},
		"amount=150&currency=isk":                              {"amount", "invalid_charge_amount_no_decimal_compatible"},
		"amount=150&currency=UGX":                              {"amount", "invalid_charge_amount_no_decimal_compatible"},
		"amount=5124&currency=kwd":                             {"amount", "invalid_charge_amount"},
		"amount=10&currency=jpy&colour=blue":                   {"colour", "parameter_unknown"},
		"amount=10&currency=jpy&metadata[k]=" + long:           {"metadata", ""},
		"amount=10&currency=jpy&metadata[" + long[:41] + "]=v": {"metadata", ""},
		"amount=10&currency=jpy&capture_method=someday":        {"capture_method", ""},
		"amount=10&currency=jpy&confirm=maybe":                 {"confirm", ""},
		"amount=10&currency=jpy&confirm=true&payment_method=pm_nobody&payment_method_types[]=card":   {"payment_method", "resource_missing"},
		"amount=10&currency=jpy&confirm=true&payment_method_types[]=card":                            {"", "payment_intent_unexpected_state"},
		"amount=10&currency=jpy&payment_method_types[]=sofort":                                       {"payment_method_types", "payment_intent_invalid_parameter"},
		"amount=10&currency=jpy&payment_method_types[]=card&automatic_payment_methods[enabled]=true": {"", "parameters_exclusive"},
		"amount=10&currency=jpy&return_url=https://shop.example":                                     {"return_url", ""},
		"amount=10&currency=jpy&confirm=true&payment_method=pm_card_visa&return_url=back":            {"return_url", "url_invalid"},
		"amount=10&currency=jpy&expand[]=charges":                                                    {"expand", ""},
		"amount=10&currency=jpy&description=":                                                        {"description", "parameter_invalid_empty"},
		"amount=%zz&currency=jpy":                                                                    {"", ""},
	} {
		status, e := b.post(intents, form, secretKey)
		if status != 400 || string(e.Code) != want.code || e.Param != want.param || e.Type != stripe.ErrorTypeInvalidRequest {
			t.Errorf("%s: got %d %s %q about %q (%s), want 400 %q about %q", form, status, e.Type, e.Code, e.Param, e.Msg, want.code, want.param)
		}
	}
	if it := b.intents.List(nil); it.Next() {
		t.Errorf("a refused request made %v", it.PaymentIntent().ID)
	}
	for _, form := range []string{"amount=200&currency=isk", "amount=5120&currency=kwd", "amount=1&currency=JPY", "amount=99999999&currency=usd"} {
		if status, e := b.post(intents, form, secretKey); status != 200 {
			t.Errorf("%s: got %d %s", form, status, e.Msg)
		}
	}
}

func TestWhoMayAsk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, key := range []string{"", "sk_test_wrong", "sk_live_wrong_and_long_enough"} {
		status, e := b.do(http.MethodGet, "/v1/payment_intents", "", key)
		wantEqual(t, "status for "+key, status, 401)
		wantEqual(t, "type", e.Type, stripe.ErrorTypeInvalidRequest)
		if key != "" && strings.Contains(e.Msg, key) {
			t.Errorf("the key is in the message: %s", e.Msg)
		}
	}
	u, err := url.Parse(b.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Path = url.UserPassword(secretKey, ""), "/v1/payment_intents"
	resp, err := b.http.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	wantEqual(t, "the key as a user name", resp.StatusCode, 200)
}

func TestUnknownThings(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, path := range []string{"/v1/payment_intents/pi_1", "/v1/charges/ch_1", "/v1/refunds/re_1", "/v1/events/evt_1", "/v1/balance_transactions/txn_1", "/v1/payment_methods/pm_1"} {
		status, e := b.do(http.MethodGet, path, "", secretKey)
		wantEqual(t, path, status, 404)
		wantEqual(t, path, e.Code, stripe.ErrorCodeResourceMissing)
	}
	for _, path := range []string{"/v1/payment_intents/pi_1/capture", "/v1/payment_intents/pi_1/cancel", "/v1/payment_intents/pi_1/confirm"} {
		status, e := b.post(path, "", secretKey)
		wantEqual(t, path, status, 404)
		wantEqual(t, path, e.Code, stripe.ErrorCodeResourceMissing)
	}
	pi := b.create(payment(10, "pm_card_visa"))
	status, _ := b.do(http.MethodGet, "/v1/charges/"+pi.ID, "", secretKey)
	wantEqual(t, "an intent is no charge", status, 404)
	for _, path := range []string{"/v1/customers", "/v1/payment_intents/pi_1/explode", "/v2/x", "/"} {
		status, e := b.post(path, "", secretKey)
		wantEqual(t, path, status, 404)
		wantEqual(t, path, e.Code, "")
	}
}
