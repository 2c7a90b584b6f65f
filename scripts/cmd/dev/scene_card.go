package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

// tellCard is a card's life at Stripe: authorized, captured in part, refunded in part.
func (s *story) tellCard(ctx context.Context) {
	s.heading("A payment's life")
	key := shop.NewKey()
	request := map[string]any{
		"amount": 5000, "currency": "JPY", "payment_method": "pm_card_visa", "capture_method": "manual",
		"description": "a pair of tickets",
	}
	first := s.step(ctx, step{
		"create", s.post("/v1/payments", key, request), http.StatusCreated, func(a shop.Answer) (string, error) {
			p, err := read(a)
			return fmt.Sprintf("%s  %s, %s %s", p.Status, p.ID, grouped(p.Authorized), p.Currency),
				errors.Join(err, want("status", p.Status, "AUTHORIZED"), want("authorized_amount", p.Authorized, 5000))
		}, []string{"payment.authorized"},
	})
	p, err := read(first)
	if err != nil || p.ID == "" {
		return // without a payment there is nothing to go on with
	}
	s.step(ctx, step{
		"again", s.post("/v1/payments", key, request), http.StatusCreated, func(a shop.Answer) (string, error) {
			return "the same request with the same key: the same bytes, and no second charge", errors.Join(
				want("the answer repeats the first", bytes.Equal(a.Body, first.Body), true),
				want("Idempotent-Replayed", a.Header.Get("Idempotent-Replayed"), "true"),
				want("authorizations at Stripe", len(s.stack.EffectsOf(p.ID)), 1))
		}, nil,
	})
	path := "/v1/payments/" + p.ID
	s.capture(ctx, path, 3000)
	s.refund(ctx, path, 1000, "one ticket less")
	s.step(ctx, step{
		"refund", s.post(path+"/refund", shop.NewKey(), map[string]any{"amount": 2001}),
		http.StatusUnprocessableEntity, func(a shop.Answer) (string, error) {
			r, err := read(a)
			return fmt.Sprintf("refused  %s: 2,001 of the 2,000 that are left", r.Code),
				errors.Join(err, want("code", r.Code, "amount_exceeds_available"))
		}, nil,
	})
	s.step(ctx, step{
		"read", s.get(path + "?expand=refunds,events"), http.StatusOK, func(a shop.Answer) (string, error) {
			p, err := read(a)
			return fmt.Sprintf("%s  captured %s, refunded %s, refundable %s", p.Status, grouped(p.Captured), grouped(p.Refunded), grouped(p.Refundable)),
				errors.Join(err, want("captured_amount", p.Captured, 3000), want("refunded_amount", p.Refunded, 1000),
					want("refundable_amount", p.Refundable, 2000), want("refunds", len(p.Refunds), 1), want("events", len(p.Events), 4))
		}, nil,
	})
}

// tellDecline is a card that Stripe refuses.
func (s *story) tellDecline(ctx context.Context) {
	s.heading("A card without funds")
	s.step(ctx, step{
		"create", s.post("/v1/payments", shop.NewKey(), map[string]any{
			"amount": 1200, "currency": "USD", "payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds",
		}), http.StatusCreated, func(a shop.Answer) (string, error) {
			p, err := read(a)
			code := "no failure"
			if p.Failure != nil {
				code = p.Failure.Code
			}
			return fmt.Sprintf("%s  %s, %s", p.Status, p.ID, code),
				errors.Join(err, want("status", p.Status, "FAILED"), want("failure", code, "insufficient_funds"))
		}, []string{"payment.failed"},
	})
}

// capture takes a part of an authorized payment.
func (s *story) capture(ctx context.Context, path string, amount int64) {
	s.step(ctx, step{
		"capture", s.post(path+"/capture", shop.NewKey(), map[string]any{"amount": amount}), http.StatusOK,
		func(a shop.Answer) (string, error) {
			p, err := read(a)
			return fmt.Sprintf("%s  %s taken, the rest released", p.Status, grouped(p.Captured)),
				errors.Join(err, want("status", p.Status, "CAPTURED"), want("captured_amount", p.Captured, amount))
		},
		[]string{"payment.captured"},
	})
}

// refund gives a part of a captured payment back, at a provider that does so at once.
func (s *story) refund(ctx context.Context, path string, amount int64, reason string) {
	s.step(ctx, step{
		"refund", s.post(path+"/refund", shop.NewKey(), map[string]any{"amount": amount, "reason": reason}),
		http.StatusCreated, func(a shop.Answer) (string, error) {
			r, err := read(a)
			return fmt.Sprintf("%s  %s, %s given back", r.Status, r.ID, grouped(r.Amount)),
				errors.Join(err, want("status", r.Status, "SUCCEEDED"), want("amount", r.Amount, amount))
		},
		[]string{"refund.created", "refund.succeeded"},
	})
}
