package settlement

import "time"

// View is the settlement that merchants see, in answers and in events. Amounts are minor
// units before signs, each less what came back of it, so any of them may be negative.
type View struct {
	ID             string     `json:"id"`
	Object         string     `json:"object"`
	BusinessDate   string     `json:"business_date"` // that ended at the cut-off, in the merchant's zone: 2026-11-24
	Currency       string     `json:"currency"`
	Status         string     `json:"status"`    // PROCESSING or COMPLETED
	CutoffAt       time.Time  `json:"cutoff_at"` // what was posted before it is in it, or in an earlier one
	TimeZone       string     `json:"timezone"`
	CapturedAmount int64      `json:"captured_amount"`
	RefundedAmount int64      `json:"refunded_amount"`
	FeeAmount      int64      `json:"fee_amount"`
	DisputedAmount int64      `json:"disputed_amount"`
	AdjustedAmount int64      `json:"adjusted_amount"` // put right by hand, in the merchant's favour if it is positive
	NetAmount      int64      `json:"net_amount"`      // what the merchant gets; negative: what it owes
	PaymentCount   int64      `json:"payment_count"`
	LineCount      int64      `json:"line_count"`
	ManifestSHA256 *string    `json:"manifest_sha256"` // of the CSV, in hex; nil while PROCESSING
	CreatedAt      time.Time  `json:"created_at"`
	CompletedAt    *time.Time `json:"completed_at"`
}

// LineView is one entry of the ledger in a settlement.
type LineView struct {
	Number    int64     `json:"number"`     // from 1
	PaymentID *string   `json:"payment_id"` // nil for what belongs to no payment
	Provider  string    `json:"provider"`
	Kind      string    `json:"kind"`   // of the ledger: capture, fee, refund, …
	Amount    int64     `json:"amount"` // minor units, the merchant's sign: a capture is positive, a fee negative
	PostedAt  time.Time `json:"posted_at"`
}

// Page is one page of settlements, the newest first.
type Page struct {
	Data       []View  `json:"data"`
	HasMore    bool    `json:"has_more"`
	NextCursor *string `json:"next_cursor"`
}

// LinePage is one page of a settlement's lines, in their order.
type LinePage struct {
	Data       []LineView `json:"data"`
	HasMore    bool       `json:"has_more"`
	NextCursor *string    `json:"next_cursor"`
}
