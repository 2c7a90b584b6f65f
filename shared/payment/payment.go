package payment

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// Status is where a payment stands.
type Status string

// The statuses of a payment.
const (
	Pending    Status = "PENDING"
	Authorized Status = "AUTHORIZED"
	Captured   Status = "CAPTURED"
	Settled    Status = "SETTLED"
	Refunded   Status = "REFUNDED"
	Failed     Status = "FAILED"
	Canceled   Status = "CANCELED"
)

// moves is the state machine. The database holds the same table (the trigger
// transactions_guard_move), and a test compares the two.
var moves = map[Status][]Status{
	Pending:    {Authorized, Captured, Failed, Canceled}, // Captured: authorized and captured in one version
	Authorized: {Captured, Failed, Canceled},
	Captured:   {Settled, Refunded},
	Settled:    {Refunded},
	Refunded:   {Captured, Settled}, // back, only on the provider's proof that the refund failed
	Failed:     {},
	Canceled:   {},
}

// CanBecome reports whether the state machine has the move.
func (s Status) CanBecome(to Status) bool { return slices.Contains(moves[s], to) }

// Statuses lists every status.
func Statuses() []Status {
	return []Status{Pending, Authorized, Captured, Settled, Refunded, Failed, Canceled}
}

// Reconciliation says whether a payment agrees with its provider.
type Reconciliation string

// The reconciliation statuses.
const (
	Synced                Reconciliation = "SYNCED"
	PendingReconciliation Reconciliation = "PENDING_RECONCILIATION"
	ManualReview          Reconciliation = "MANUAL_REVIEW"
)

// CaptureMethod says when an authorized payment is captured.
type CaptureMethod string

// The capture methods.
const (
	Automatic CaptureMethod = "automatic" // by the provider, with the authorization
	Manual    CaptureMethod = "manual"    // by the merchant, later
)

// Payment is a row of transactions. Amounts are minor units of Currency.
type Payment struct {
	ID                    id.ID                `db:"id"`
	MerchantID            id.ID                `db:"merchant_id"`
	Version               int64                `db:"version"`
	EventSequence         int64                `db:"event_sequence"`
	Status                Status               `db:"status"`
	PreviousStatus        *Status              `db:"previous_status"`
	ReconciliationStatus  Reconciliation       `db:"reconciliation_status"`
	Currency              money.Currency       `db:"currency"`
	AmountMinor           int64                `db:"amount_minor"`
	AuthorizedMinor       int64                `db:"authorized_minor"`
	CapturedMinor         int64                `db:"captured_minor"`
	RefundReservedMinor   int64                `db:"refund_reserved_minor"`
	RefundedMinor         int64                `db:"refunded_minor"`
	DisputedMinor         int64                `db:"disputed_minor"`
	CaptureExcessMinor    int64                `db:"capture_excess_minor"`
	RefundExcessMinor     int64                `db:"refund_excess_minor"`
	CaptureMethod         CaptureMethod        `db:"capture_method"`
	PaymentMethod         string               `db:"payment_method"`
	Provider              string               `db:"provider"`
	ProviderAccount       string               `db:"provider_account"`
	ProviderTransactionID *string              `db:"provider_transaction_id"`
	Route                 *Route               `db:"route"` // never changed in place: a former version shares it
	MerchantReference     *string              `db:"merchant_reference"`
	PersonalDataID        *id.ID               `db:"personal_data_id"`
	Personal              *PersonalData        `db:"personal"` // not of the row; nil: none, or erased
	NextAction            *provider.NextAction `db:"next_action"`
	FailureCode           *string              `db:"failure_code"`
	FailureMessage        *string              `db:"failure_message"`
	FailureProviderCode   *string              `db:"failure_provider_code"`
	CaptureBefore         *time.Time           `db:"capture_before"`
	ExpiresAt             time.Time            `db:"expires_at"`
	CreatedAt             time.Time            `db:"created_at"`
	UpdatedAt             time.Time            `db:"updated_at"`
}

// Money is an amount in the payment's currency.
func (p *Payment) Money(minor int64) money.Money {
	return money.Money{Minor: minor, Currency: p.Currency}
}

// Reference is the provider's payment object, "" while none is known.
func (p *Payment) Reference() string { return deref(p.ProviderTransactionID) }

// Refundable is how much may still be refunded: what was captured, less what was
// refunded, is being refunded, or is disputed.
func (p *Payment) Refundable() int64 {
	return p.CapturedMinor - p.RefundedMinor - p.RefundReservedMinor - p.DisputedMinor
}

// move changes the status; the caller has checked that the machine has the move.
func (p *Payment) move(to Status) {
	from := p.Status
	p.PreviousStatus, p.Status = &from, to
}

func (p *Payment) fail(r *provider.Refusal) {
	p.FailureCode, p.FailureMessage, p.FailureProviderCode = &r.Code, &r.Message, optional(r.ProviderCode)
}

// RefundStatus is where a refund stands.
type RefundStatus string

// The statuses of a refund.
const (
	RefundPending   RefundStatus = "PENDING"
	RefundSucceeded RefundStatus = "SUCCEEDED"
	RefundFailed    RefundStatus = "FAILED"
	RefundCanceled  RefundStatus = "CANCELED"
)

// Refund is a row of refunds.
type Refund struct {
	ID                  id.ID          `db:"id"`
	TransactionID       id.ID          `db:"transaction_id"`
	MerchantID          id.ID          `db:"merchant_id"`
	Version             int64          `db:"version"`
	Status              RefundStatus   `db:"status"`
	PreviousStatus      *RefundStatus  `db:"previous_status"`
	Origin              string         `db:"origin"` // merchant, or provider: made outside Tollgate
	Currency            money.Currency `db:"currency"`
	AmountMinor         int64          `db:"amount_minor"`
	CountedMinor        int64          `db:"counted_minor"` // the part within what was captured
	PersonalDataID      *id.ID         `db:"personal_data_id"`
	Personal            *PersonalData  `db:"personal"` // not of the row; nil: none, or erased
	Provider            string         `db:"provider"`
	ProviderRefundID    *string        `db:"provider_refund_id"`
	FailureCode         *string        `db:"failure_code"`
	FailureMessage      *string        `db:"failure_message"`
	FailureProviderCode *string        `db:"failure_provider_code"`
	CreatedAt           time.Time      `db:"created_at"`
	UpdatedAt           time.Time      `db:"updated_at"`
}

func (r *Refund) move(to RefundStatus) {
	from := r.Status
	r.PreviousStatus, r.Status = &from, to
}

func (r *Refund) fail(f *provider.Refusal) {
	if f == nil {
		f = &provider.Refusal{Code: "refund_failed", Message: "The provider reports that the refund failed."}
	}
	r.FailureCode, r.FailureMessage, r.FailureProviderCode = &f.Code, &f.Message, optional(f.ProviderCode)
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// optional is nil for the zero value.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
