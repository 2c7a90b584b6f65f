package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// shopPage is where payers come back to. Nobody goes there: what counts is what the provider says.
const shopPage = "https://shop.example/back"

// tellPayPal is a payment that its payer approves at PayPal.
func (s *story) tellPayPal(ctx context.Context) {
	s.heading("With PayPal, where the payer approves first")
	p := s.ask(ctx, map[string]any{
		"amount": 4900, "currency": "USD", "payment_method": "paypal", "capture_method": "manual", "return_url": shopPage,
	})
	if p.NextAction == nil {
		return // no page to approve it at
	}
	s.payer(ctx, p.NextAction.RedirectURL, providersim.PayPalApproves, "approves at PayPal", "payment.authorized")
	path := "/v1/payments/" + p.ID
	s.reads(ctx, path, "AUTHORIZED", func(p payment) error { return want("authorized_amount", p.Authorized, 4900) })
	s.capture(ctx, path, 3900)
	s.refund(ctx, path, 900, "a torn cover")
	s.reads(ctx, path, "CAPTURED", func(p payment) error { return want("refundable_amount", p.Refundable, 3000) })
}

// bankDelay is how long a transfer is on its way. With real banks it is from seconds to days.
const bankDelay = 3 * time.Hour

// tellBank is a bank transfer, which takes its time.
func (s *story) tellBank(ctx context.Context) {
	s.heading("By bank transfer, which takes its time")
	p := s.ask(ctx, map[string]any{
		"amount": 12000, "currency": "GBP", "payment_method": "bank_transfer", "return_url": shopPage,
	})
	if p.NextAction == nil {
		return
	}
	s.payer(ctx, p.NextAction.RedirectURL, "authorise", "authorizes the transfer at the bank")
	path := "/v1/payments/" + p.ID
	s.reads(ctx, path, "PENDING", func(p payment) error { return want("captured_amount", p.Captured, 0) })
	s.wait(ctx, bankDelay+5*time.Minute, "payment.captured")
	s.reads(ctx, path, "CAPTURED", func(p payment) error { return want("captured_amount", p.Captured, 12000) })
	s.step(ctx, step{
		"refund", s.post(path+"/refund", shop.NewKey(), map[string]any{"amount": 2000}),
		http.StatusAccepted, func(a shop.Answer) (string, error) {
			r, err := read(a)
			return fmt.Sprintf("%s  %s, %s on their way back", r.Status, r.ID, grouped(r.Amount)),
				errors.Join(err, want("status", r.Status, "PENDING"), want("amount", r.Amount, 2000))
		},
		[]string{"refund.created"},
	})
	s.wait(ctx, 15*time.Minute, "refund.succeeded")
	s.reads(ctx, path, "CAPTURED", func(p payment) error { return want("refunded_amount", p.Refunded, 2000) })
}

// ask creates a payment that waits for its payer.
func (s *story) ask(ctx context.Context, request map[string]any) payment {
	first := s.step(ctx, step{
		"create", s.post("/v1/payments", shop.NewKey(), request), http.StatusAccepted, func(a shop.Answer) (string, error) {
			p, err := read(a)
			page := "nowhere"
			if p.NextAction != nil {
				page = p.NextAction.RedirectURL
			}
			return fmt.Sprintf("%s  %s, %s %s; the payer is sent to %s", p.Status, p.ID, grouped(p.Amount), p.Currency, page),
				errors.Join(err, want("status", p.Status, "PENDING"), want("there is a page for the payer", p.NextAction != nil, true))
		}, []string{"payment.requires_action"},
	})
	p, _ := read(first) // if it can't be read, the step said so
	return p
}

// payer answers at the provider's page.
func (s *story) payer(ctx context.Context, page, outcome, does string, events ...string) {
	visit := func(ctx context.Context) (shop.Answer, error) { return shop.Visit(ctx, page, outcome) }
	s.step(ctx, step{
		"payer", visit, http.StatusSeeOther, func(shop.Answer) (string, error) { return does + ", and is sent back to the shop", nil }, events,
	})
}

// reads fetches a payment and holds its status to what it should be.
func (s *story) reads(ctx context.Context, path, status string, check func(payment) error) {
	s.step(ctx, step{
		"read", s.get(path), http.StatusOK, func(a shop.Answer) (string, error) {
			p, err := read(a)
			return fmt.Sprintf("%s  authorized %s, captured %s, refunded %s", p.Status, grouped(p.Authorized), grouped(p.Captured), grouped(p.Refunded)),
				errors.Join(err, want("status", p.Status, status), check(p))
		}, nil,
	})
}
