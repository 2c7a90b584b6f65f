package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// tellDispute is a payer who contests a charge, and does not get through with it.
func (s *story) tellDispute(ctx context.Context) {
	s.heading("A payer disputes a charge")
	var p payment
	s.step(ctx, step{
		"create", s.post("/v1/payments", shop.NewKey(), map[string]any{"amount": 6000, "currency": "JPY", "payment_method": "pm_card_visa"}),
		http.StatusCreated, func(a shop.Answer) (string, error) {
			var err error
			p, err = read(a)
			return fmt.Sprintf("%s  %s, %s %s", p.Status, p.ID, grouped(p.Captured), p.Currency), errors.Join(err, want("status", p.Status, "CAPTURED"))
		},
		[]string{"payment.captured"},
	})
	dispute, err := s.stack.Stripe.Dispute(providersim.Complaint{Payment: p.ProviderID})
	if err != nil {
		s.amiss("dispute", err)
		return
	}
	s.disputed(ctx, p, "OPEN", "Stripe holds the money until it is decided", "dispute.opened", "payment.disputed")
	s.reads(ctx, "/v1/payments/"+p.ID, "CAPTURED", func(p payment) error {
		return errors.Join(want("disputed_amount", p.Disputed, 6000), want("refundable_amount", p.Refundable, 0))
	})
	if err := s.stack.Stripe.Decide(dispute, providersim.DisputeWon); err != nil {
		s.amiss("dispute", err)
		return
	}
	s.disputed(ctx, p, "WON", "it is the shop's again", "dispute.won")
}

// disputed waits until the shop is told of what became of a payment's dispute, and shows it.
func (s *story) disputed(ctx context.Context, p payment, status, so string, events ...string) {
	s.wait(ctx, 0, events...)
	s.step(ctx, step{
		"dispute", s.get("/v1/disputes?payment=" + p.ID), http.StatusOK, func(a shop.Answer) (string, error) {
			var page struct {
				Data []struct {
					ID     string `json:"id"`
					Status string `json:"status"`
					Amount int64  `json:"amount"`
					Reason string `json:"reason"`
				} `json:"data"`
			}
			if err := errors.Join(a.Into(&page), want("disputes", len(page.Data), 1)); err != nil {
				return "", err
			}
			d := page.Data[0]
			return fmt.Sprintf("%s  %s, %s %s, %s: %s", d.Status, d.ID, grouped(d.Amount), p.Currency, d.Reason, so), want("status", d.Status, status)
		}, nil,
	})
}
