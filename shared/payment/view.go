package payment

import (
	"encoding/json"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// View is the payment object that merchants see, in answers and in events.
// Members that have no value are null, never left out.
type View struct {
	ID                    string               `json:"id"`
	Object                string               `json:"object"`
	Status                Status               `json:"status"`
	PreviousStatus        *Status              `json:"previous_status"`
	Amount                int64                `json:"amount"`
	Currency              string               `json:"currency"`
	AuthorizedAmount      int64                `json:"authorized_amount"`
	CapturedAmount        int64                `json:"captured_amount"`
	RefundedAmount        int64                `json:"refunded_amount"`
	RefundableAmount      int64                `json:"refundable_amount"`
	DisputedAmount        int64                `json:"disputed_amount"`
	CaptureMethod         CaptureMethod        `json:"capture_method"`
	Provider              string               `json:"provider"`
	ProviderTransactionID *string              `json:"provider_transaction_id"`
	PaymentMethod         string               `json:"payment_method"`
	PaymentMethodType     *string              `json:"payment_method_type"`
	Route                 *RouteView           `json:"route"`
	MerchantReference     *string              `json:"merchant_reference"`
	Description           *string              `json:"description"`
	Metadata              map[string]string    `json:"metadata"`
	ReturnURL             *string              `json:"return_url"`
	PendingOperation      *string              `json:"pending_operation"`
	NextAction            *provider.NextAction `json:"next_action"`
	Failure               *provider.Refusal    `json:"failure"`
	ReconciliationStatus  Reconciliation       `json:"reconciliation_status"`
	Version               int64                `json:"version"`
	Sequence              int64                `json:"sequence"` // of the last event about the payment
	CaptureBefore         *time.Time           `json:"capture_before"`
	ExpiresAt             time.Time            `json:"expires_at"`
	CreatedAt             time.Time            `json:"created_at"`
	UpdatedAt             time.Time            `json:"updated_at"`

	// On request only (expand).
	Refunds  *[]RefundView  `json:"refunds,omitempty"`
	Disputes *[]DisputeView `json:"disputes,omitempty"`
	Events   *[]EventView   `json:"events,omitempty"`
	Attempts *[]AttemptView `json:"attempts,omitempty"`
}

// RefundView is the refund object that merchants see.
type RefundView struct {
	ID               string            `json:"id"`
	Object           string            `json:"object"`
	PaymentID        string            `json:"payment_id"`
	Status           RefundStatus      `json:"status"`
	Amount           int64             `json:"amount"`
	Currency         string            `json:"currency"`
	Reason           *string           `json:"reason"`
	ProviderRefundID *string           `json:"provider_refund_id"`
	Failure          *provider.Refusal `json:"failure"`
	CreatedAt        time.Time         `json:"created_at"`
	UpdatedAt        time.Time         `json:"updated_at"`
}

// EventView tells which events a payment's merchant was sent.
type EventView struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	Sequence  int64     `json:"sequence"`
	CreatedAt time.Time `json:"created_at"`
}

// AttemptView tells what was asked of the provider and what came of it.
type AttemptView struct {
	Provider  string     `json:"provider"`
	Operation string     `json:"operation"`
	Number    int        `json:"number"`
	Outcome   *string    `json:"outcome"` // null while it is not known
	CreatedAt time.Time  `json:"created_at"`
	ClosedAt  *time.Time `json:"closed_at"`
}

// View renders the payment; pending is the operation that runs on it, "" if none.
func (p *Payment) View(pending string) View {
	personal := deref(p.Personal)
	v := View{
		ID: id.Payment.External(p.ID), Object: "payment", Status: p.Status, PreviousStatus: p.PreviousStatus,
		Amount: p.AmountMinor, Currency: p.Currency.Code(), AuthorizedAmount: p.AuthorizedMinor,
		CapturedAmount: p.CapturedMinor, RefundedAmount: p.RefundedMinor, RefundableAmount: p.Refundable(),
		DisputedAmount: p.DisputedMinor,
		CaptureMethod:  p.CaptureMethod, Provider: p.Provider, ProviderTransactionID: p.ProviderTransactionID,
		PaymentMethod: p.PaymentMethod, PaymentMethodType: p.Route.methodType(), Route: p.Route.view(), MerchantReference: p.MerchantReference, Description: optional(personal.Description),
		Metadata: personal.Metadata, ReturnURL: optional(personal.ReturnURL), PendingOperation: optional(pending), NextAction: p.NextAction,
		Failure:              refusal(p.FailureCode, p.FailureMessage, p.FailureProviderCode),
		ReconciliationStatus: p.ReconciliationStatus, Version: p.Version, Sequence: p.EventSequence,
		CaptureBefore: utc(p.CaptureBefore), ExpiresAt: p.ExpiresAt.UTC(),
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	if pending == operation(provider.Void) {
		v.NextAction = nil // nobody is to pay what is being cancelled
	}
	return v
}

// View renders the refund.
func (r *Refund) View() RefundView {
	return RefundView{
		ID: id.Refund.External(r.ID), Object: "refund", PaymentID: id.Payment.External(r.TransactionID),
		Status: r.Status, Amount: r.AmountMinor, Currency: r.Currency.Code(), Reason: optional(deref(r.Personal).Reason),
		ProviderRefundID: r.ProviderRefundID,
		Failure:          refusal(r.FailureCode, r.FailureMessage, r.FailureProviderCode),
		CreatedAt:        r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
}

func refusal(code, message, providerCode *string) *provider.Refusal {
	if code == nil {
		return nil
	}
	return &provider.Refusal{Code: *code, Message: deref(message), ProviderCode: deref(providerCode)}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// operation is what merchants call a step: they cancel, the provider is asked to void.
func operation(step provider.Step) string {
	if step == provider.Void {
		return "cancel"
	}
	return string(step)
}

// pending names the operation that runs on a payment, the exclusive one first.
func pending(open []*saga.Saga) string {
	name := ""
	for _, s := range open {
		if s.Open() && (name == "" || s.Exclusive()) {
			name = operation(s.Kind)
		}
	}
	return name
}

// encode marshals what this package made itself, which can't fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("payment: marshal: " + err.Error())
	}
	return b
}
