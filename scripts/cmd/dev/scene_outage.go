package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// enough calls fail in this scene for the circuit to open.
const enough = 10

// tellOutage is Stripe away and back: what is asked for meanwhile is not lost, and not charged twice.
func (s *story) tellOutage(ctx context.Context) {
	s.heading("Stripe is away for a while")
	if err := s.stack.TakeAway(stripe.Name); err != nil {
		s.amiss("outage", err)
		return
	}
	defer func() { _ = s.stack.BringBack(stripe.Name) }() // also when the scene breaks off
	waiting := []string{s.turnedAway(ctx, "not charged, and tried again by itself")}
	for range enough - 1 {
		answer, err := s.api.Post(ctx, "/v1/payments", shop.NewKey(), cardPayment)
		if err == nil {
			err = want("the answer's status", answer.Status, http.StatusServiceUnavailable)
		}
		if err != nil {
			s.amiss("create", err)
			return
		}
		p, _ := read(answer) // a payment without an id is missed below
		waiting = append(waiting, p.PaymentID)
	}
	s.circuit(ctx, "open", fmt.Sprintf("after %d of them: Stripe is left alone for a minute, and nobody waits for it", enough))
	waiting = append(waiting, s.turnedAway(ctx, "at once, without a call to Stripe"))

	if err := s.stack.BringBack(stripe.Name); err != nil {
		s.amiss("outage", err)
		return
	}
	s.wait(ctx, 6*time.Minute, slices.Repeat([]string{"payment.authorized"}, len(waiting))...)
	done := 0
	for _, id := range waiting {
		if len(s.stack.EffectsOf(id)) == 1 {
			done++
		}
	}
	s.reads(ctx, "/v1/payments/"+waiting[0], "AUTHORIZED", func(payment) error {
		return want("payments that Stripe authorized, each once", done, len(waiting))
	})
	s.step(ctx, step{
		"create", s.post("/v1/payments", shop.NewKey(), cardPayment), http.StatusCreated, func(a shop.Answer) (string, error) {
			p, err := read(a)
			return fmt.Sprintf("%s  %s, as before", p.Status, p.ID), errors.Join(err, want("status", p.Status, "AUTHORIZED"))
		}, []string{"payment.authorized"},
	})
	s.circuit(ctx, "closed", "again, once a few calls had shown that Stripe is back")
}

var cardPayment = map[string]any{"amount": 800, "currency": "JPY", "payment_method": "pm_card_visa", "capture_method": "manual"}

// turnedAway creates a payment that can't be sent to Stripe now, and returns its id.
func (s *story) turnedAway(ctx context.Context, how string) string {
	var p payment
	s.step(ctx, step{
		"create", s.post("/v1/payments", shop.NewKey(), cardPayment), http.StatusServiceUnavailable, func(a shop.Answer) (string, error) {
			var err error
			p, err = read(a)
			return fmt.Sprintf("%s  %s, %s", p.Code, p.PaymentID, how),
				errors.Join(err, want("code", p.Code, "STRIPE_UNAVAILABLE"), want("will_retry", p.WillRetry, true))
		}, nil,
	})
	return p.PaymentID
}

var circuitStates = map[string]string{"0": "closed", "1": "open", "2": "half-open"}

var circuitLines = regexp.MustCompile(`(?m)^circuit_breaker.*$`)

var circuitGauge = regexp.MustCompile(`(?m)^circuit_breaker_state\{provider="stripe"\} ([012])$`)

// circuit tells the state of Stripe's circuit, as the metrics have it.
func (s *story) circuit(ctx context.Context, expected, why string) {
	s.step(ctx, step{
		"circuit", s.metrics, http.StatusOK, func(a shop.Answer) (string, error) {
			state := "unknown"
			if shown := circuitGauge.FindSubmatch(a.Body); shown != nil {
				state = circuitStates[string(shown[1])]
			}
			return fmt.Sprintf("%s  %s", state, why), want("the circuit", state, expected)
		}, nil,
	})
}

// metrics fetches what the functions measured of circuits.
func (s *story) metrics(ctx context.Context) (shop.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.stack.MetricsURL(), nil)
	if err != nil {
		return shop.Answer{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return shop.Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	circuits := bytes.Join(circuitLines.FindAll(text, -1), []byte("\n"))
	return shop.Answer{Status: resp.StatusCode, Body: circuits}, err
}
