package stack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// What another host begins it carries on itself.
func TestAnotherHost(t *testing.T) {
	t.Parallel()
	s := start(t, stack.Options{})
	c, err := s.AnotherHost()
	if err != nil {
		t.Fatal(err)
	}
	c.ControlURL = "" // alone in its judgement
	var log bytes.Buffer
	h, err := stack.StartHost(t.Context(), c, stack.HostOptions{Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	_, key, err := s.CreateMerchant(t.Context(), "Test")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.TakeAway(stripe.Name); err != nil {
		t.Fatal(err)
	}
	there := shop.Client{BaseURL: c.URL("createpayment"), APIKey: key}
	a, err := there.Post(t.Context(), "/v1/payments", shop.NewKey(), []byte(`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa"}`))
	if err != nil || a.Status != http.StatusServiceUnavailable {
		t.Fatalf("%d %s, %v", a.Status, a.Body, err)
	}
	if err := s.BringBack(stripe.Name); err != nil {
		t.Fatal(err)
	}
	quiet, err := http.Post("http://"+c.AdminAddress+"/quiesce", "", nil) // when it has made the task
	if err != nil {
		t.Fatal(err)
	}
	_ = quiet.Body.Close()
	if err := s.Advance(t.Context(), 10*time.Second); err != nil { // before a sweep
		t.Fatal(err)
	}
	var captured int
	if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM transactions WHERE status = 'CAPTURED'`).Scan(&captured); err != nil || captured != 1 {
		t.Errorf("%d payments were carried on, %v", captured, err)
	}
	resp, err := http.Get("http://" + c.AdminAddress + "/activity")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var busy stack.Activity
	if err := json.NewDecoder(resp.Body).Decode(&busy); err != nil || busy.Begun != 2 {
		t.Errorf("it had %d requests, want the create and the task; %v", busy.Begun, err)
	}
}
