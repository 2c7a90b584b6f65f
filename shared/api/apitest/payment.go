package apitest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Payment is a payment that a test starts from.
type Payment struct {
	ID        string
	Reference string // the merchant's
}

// Core is the payment service as functions have it, but for publishing.
func (w *World) Core() *payment.Service {
	w.t.Helper()
	return &payment.Service{
		Pool: w.Pool, Now: w.Clock.Now, NewID: w.Env.NewID, Name: "apitest", Log: w.Env.Log, Providers: w.Adapters(),
	}
}

// Payment makes one of 5000 JPY by the world's merchant: authorized with the capture
// method manual, captured with automatic.
func (w *World) Payment(captureMethod string) Payment {
	w.t.Helper()
	return w.Create(payment.CreateParams{
		Amount: 5000, Currency: "JPY", PaymentMethod: "pm_card_visa", CaptureMethod: captureMethod,
	})
}

// Create makes a payment with a reference of its own.
func (w *World) Create(in payment.CreateParams) Payment {
	w.t.Helper()
	in.MerchantReference = "order-" + w.Env.NewID().String()
	a, err := w.Core().Create(context.Background(), payment.Caller{MerchantID: w.Shop, KeyID: w.Env.NewID()},
		idempotency.Request{MerchantID: w.Shop, Key: in.MerchantReference, Method: "POST", Path: "/v1/payments"}, in)
	check(w.t, err)
	var view struct{ ID, Status string }
	if err := json.Unmarshal(a.Body, &view); err != nil || view.ID == "" {
		check(w.t, fmt.Errorf("the payment was answered with %d %s", a.Status, a.Body))
	}
	return Payment{ID: view.ID, Reference: in.MerchantReference}
}

// Inject makes Stripe fail once.
func (w *World) Inject(op providersim.Operation, kind providersim.FaultKind) {
	w.t.Helper()
	check(w.t, w.Stripe.Inject(providersim.Rule{Operation: op, Fault: providersim.Fault{Kind: kind}}))
}
