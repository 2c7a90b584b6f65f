package createpayment

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

const (
	path = "/v1/payments"
	key  = "order-17-attempt-1"
	good = `{"amount":5000,"currency":"JPY","provider":"stripe","payment_method":"pm_card_visa",
		"capture_method":"manual","merchant_reference":"order-17","metadata":{"k":"v"}}`
)

func TestTheBodyIsAsTheContractHasIt(t *testing.T) {
	t.Parallel()
	apitest.MatchSchema(t, "CreatePaymentRequest", request{})
}

func TestCreate(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	first := w.Do(h, w.Request("POST", path, good, "Idempotency-Key", key))
	if first.Status != http.StatusCreated || first.Text("status") != "AUTHORIZED" || first.Member("authorized_amount") != 5000.0 ||
		first.Text("merchant_reference") != "order-17" || first.Text("metadata.k") != "v" || first.Header.Get("Request-Id") == "" {
		t.Fatalf("got %d %s", first.Status, first.Body)
	}
	again := w.Do(h, w.Request("POST", path, good, "Idempotency-Key", `"`+key+`"`))
	if again.Status != first.Status || string(again.Body) != string(first.Body) || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the repeat got %d %v %s", again.Status, again.Header, again.Body)
	}
	if first.Header.Get("Idempotent-Replayed") != "" {
		t.Error("the first answer claims to be a repeat")
	}
	messages := w.PubSub.Published()
	if len(messages) != 1 || messages[0].Attributes["type"] != "payment.authorized" || messages[0].Attributes["request-id"] != first.Header.Get("Request-Id") {
		t.Errorf("published %+v", messages)
	}
}

func TestCreateEndsInOtherWays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		fault  providersim.FaultKind
		status int
		want   string // member=value
	}{
		"declined":      {`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa_chargeDeclinedInsufficientFunds"}`, "", 201, "failure.code=insufficient_funds"},
		"automatic":     {`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa"}`, "", 201, "status=CAPTURED"},
		"authenticate":  {`{"amount":5000,"currency":"JPY","payment_method":"pm_card_authenticationRequired","return_url":"https://shop.example/back"}`, "", 202, "next_action.type=redirect_to_url"},
		"reply is lost": {`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa"}`, providersim.DropAfter, 202, "pending_operation=authorize"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := apitest.New(t)
			if c.fault != "" {
				if err := w.Stripe.Inject(providersim.Rule{Operation: providersim.Authorize, Fault: providersim.Fault{Kind: c.fault}}); err != nil {
					t.Fatal(err)
				}
			}
			a := w.Do(w.Build(Build), w.Request("POST", path, c.body, "Idempotency-Key", key))
			member, value, _ := strings.Cut(c.want, "=")
			if a.Status != c.status || a.Text(member) != value {
				t.Errorf("got %d %s", a.Status, a.Body)
			}
			if (a.Status == http.StatusAccepted) != (a.Header.Get("Retry-After") != "") {
				t.Errorf("%d with Retry-After %q", a.Status, a.Header.Get("Retry-After"))
			}
		})
	}
}

func TestStripeAway(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Config["STRIPE_API_BASE"] = "http://127.0.0.1:1" // refuses connections: provably nothing was sent
	a := w.Do(w.Build(Build), w.Request("POST", path, good, "Idempotency-Key", key))
	if code, _ := a.Problem(); a.Status != http.StatusServiceUnavailable || code != fault.StripeUnavailable ||
		a.Member("will_retry") != true || a.Text("payment_id") == "" || a.Text("expires_at") == "" || !strings.HasSuffix(a.Text("links.cancel"), "/cancel") {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	if tasks := w.Tasks.Pending(apitest.ResumeQueue); len(tasks) != 1 || !strings.Contains(string(tasks[0].GetHttpRequest().GetBody()), "saga_id") {
		t.Errorf("no task will try again: %v", tasks)
	}
	again := w.Do(w.Build(Build), w.Request("POST", path, good, "Idempotency-Key", key))
	if again.Status != http.StatusAccepted || again.Text("id") != a.Text("payment_id") {
		t.Errorf("the repeat got %d %s", again.Status, again.Body)
	}
}

func TestAKeyBelongsToOneRequest(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	if a := w.Do(h, w.Request("POST", path, good, "Idempotency-Key", key)); a.Status != http.StatusCreated {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	before := w.Rows()
	for name, c := range map[string]struct {
		body, key string
		status    int
		code      fault.Code
	}{
		"another body":          {strings.Replace(good, "5000", "5001", 1), key, 422, fault.IdempotencyKeyReused},
		"the same, but a space": {good + " ", key, 422, fault.IdempotencyKeyReused},
		"another key":           {good, key + "0", 409, fault.ReferenceTaken},
	} {
		a := w.Do(h, w.Request("POST", path, c.body, "Idempotency-Key", c.key))
		if code, _ := a.Problem(); a.Status != c.status || code != c.code {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	_, other := w.Merchant("Other shop")
	a := w.Do(h, w.Request("POST", path, good, "Idempotency-Key", key, "Authorization", "Bearer "+other.Reveal()))
	if a.Status != http.StatusCreated || a.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("another merchant's key is the same: %d %s", a.Status, a.Body)
	}
	if after := w.Rows(); after["transactions"] != before["transactions"]+1 || after["transaction_audit_log"] < before["transaction_audit_log"]+1 {
		t.Errorf("from %v to %v", before, after)
	}
}

func TestBehindTheGateway(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	merchant := "Bearer " + w.ShopKey.Reveal()
	gateway := "Bearer " + w.Issuer.Token(apitest.GatewayCaller, apitest.Audience)
	for name, c := range map[string]struct {
		authorization, moved string
		want                 int
	}{
		"by the gateway":               {gateway, merchant, 201},
		"by another account":           {"Bearer " + w.Issuer.Token(apitest.Caller, apitest.Audience), merchant, 401},
		"for another function":         {"Bearer " + w.Issuer.Token(apitest.GatewayCaller, "https://other.example"), merchant, 401},
		"moved without the gateway":    {"", merchant, 401},
		"the gateway, and no merchant": {gateway, "", 401},
	} {
		body := fmt.Sprintf(`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","description":%q}`, name)
		a := w.Do(h, w.Request("POST", path, body, "Idempotency-Key", strings.ReplaceAll("the-key-of-"+name, " ", "-"),
			"Authorization", c.authorization, "X-Forwarded-Authorization", c.moved))
		if a.Status != c.want {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
}

func TestAWrongConfigurationIsToldAllAtOnce(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	for _, name := range []string{"DATABASE_URL", "STRIPE_SECRET_KEY", "PUBSUB_PROJECT", "OIDC_AUDIENCE"} {
		delete(w.Config, name)
	}
	_, err := Build(t.Context(), w.Env)
	for _, name := range []string{"DATABASE_URL", "STRIPE_SECRET_KEY", "PUBSUB_PROJECT", "OIDC_AUDIENCE"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
	w = apitest.New(t)
	delete(w.Config, "RESUME_URL")
	if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), "RESUME_URL") {
		t.Errorf("without a place for tasks: %v", err)
	}
}

func TestTheClockIsTheWorlds(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	w.Advance(31 * time.Hour)
	a := w.Do(w.Build(Build), w.Request("POST", path, good, "Idempotency-Key", key))
	if created, err := time.Parse(time.RFC3339, a.Text("created_at")); err != nil || !created.Equal(w.Clock.Now()) {
		t.Errorf("created at %s, it is %s", a.Text("created_at"), w.Clock.Now())
	}
}
