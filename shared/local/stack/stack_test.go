package stack_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func start(t *testing.T, o stack.Options) *stack.Stack {
	t.Helper()
	if o.DatabaseURL == "" {
		o.DatabaseURL = pgtest.New(t)
	}
	o.Violation = func(err error) { t.Errorf("does not fit openapi.yaml: %v", err) }
	s, err := stack.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

type payment struct{ ID, Status string }

// create makes a payment through the gateway, which leads through most of what a stack has.
func create(t *testing.T, s *stack.Stack, apiKey string) (p payment) {
	t.Helper()
	post(t, s, apiKey, "/v1/payments",
		`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","capture_method":"manual"}`, &p)
	return p
}

// post sends a request with a key of its own, and reads a 2xx answer into out.
func post(t *testing.T, s *stack.Stack, apiKey, path, body string, out any) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.GatewayURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Idempotency-Key", "key-"+rand.Text())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if out != nil && resp.StatusCode/100 == 2 {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode
}

func TestAPaymentThroughTheGateway(t *testing.T) {
	t.Parallel()
	s := start(t, stack.Options{Log: t.Output()})
	_, key, err := s.CreateMerchant(context.Background(), "Test")
	if err != nil {
		t.Fatal(err)
	}
	if p := create(t, s, key); p.Status != "AUTHORIZED" {
		t.Fatalf("%+v", p)
	}
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
}
