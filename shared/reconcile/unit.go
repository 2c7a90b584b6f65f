package reconcile

import (
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// fact is a row of provider_facts about money.
type fact struct {
	ObjectID      string         `db:"object_id" json:"object"`
	Kind          provider.Kind  `db:"kind" json:"kind"`
	State         provider.State `db:"state" json:"state"`
	Rank          int            `db:"rank" json:"-"`
	Amount        int64          `db:"amount_minor" json:"amount_minor"`
	Currency      money.Currency `db:"currency" json:"currency"`
	Effect        string         `db:"effect" json:"effect"`
	TransactionID id.ID          `db:"transaction_id" json:"-"`
	OccurredAt    time.Time      `db:"occurred_at" json:"-"`
	RecordedAt    time.Time      `db:"recorded_at" json:"recorded_at"`
}

// entry is a row of provider_entries.
type entry struct {
	ID            string             `db:"id" json:"id"`
	Kind          provider.EntryKind `db:"kind" json:"kind"`
	ObjectID      string             `db:"object_id" json:"-"`
	Reference     string             `db:"reference" json:"-"`
	EchoedPayment id.ID              `db:"echoed_payment" json:"-"`
	EchoedRefund  id.ID              `db:"echoed_refund" json:"-"`
	Currency      money.Currency     `db:"currency" json:"currency"`
	Gross         int64              `db:"gross_minor" json:"gross_minor"`
	Fee           int64              `db:"fee_minor" json:"fee_minor"`
	Net           int64              `db:"net_minor" json:"-"`
	PayoutID      string             `db:"payout_id" json:"payout,omitempty"`
	OccurredAt    time.Time          `db:"occurred_at" json:"occurred_at"`
	Restated      *restatement       `db:"restated" json:"restated,omitempty"`
	Raw           string             `db:"raw" json:"-"`
	Verdict       *verdict           `db:"verdict" json:"-"`
	TransactionID id.ID              `db:"transaction_id" json:"-"`
	MerchantID    id.ID              `db:"merchant_id" json:"-"`
	JudgedAt      *time.Time         `db:"judged_at" json:"-"`
}

// restatement is what a provider says of an entry after it had said something else.
type restatement struct {
	Kind     provider.EntryKind `json:"kind"`
	Currency money.Currency     `json:"currency"`
	Gross    int64              `json:"gross_minor"`
	Fee      int64              `json:"fee_minor"`
}

// verdict is what came of an entry.
type verdict string

const (
	matched verdict = "matched"
	waiting verdict = "waiting" // its object is known, and the provider is not done with it
	differs verdict = "differs"
)

// balance is what the ledger has of an object in a currency.
type balance struct {
	moved     int64 // on receivable, by what payments post
	scheduled int64 // on fees, by the fee schedules
	charged   int64 // on fees, by entries before
	corrected int64 // on fees, by variance postings before
	variances int   // how many there are
}

type objectCurrency struct {
	object   string
	currency money.Currency
}

// unit is all that has to agree: a payment at one provider, or an object that is no
// payment's, or an entry that is of no object.
type unit struct {
	owner
	facts   []fact
	entries []entry // in the order in which they occurred
	books   map[objectCurrency]balance
	charged map[string]bool // entries whose fee is posted
	asked   bool            // the provider was asked for the payment, and answered
}

// add counts what postings of a kind have on an account to the part that they are of.
func (b *balance) add(kind ledger.Kind, account ledger.Account, amount int64, postings int) {
	switch {
	case account == ledger.Receivable && kind != ledger.ProviderFee && kind != ledger.Payout && kind != ledger.Adjustment:
		b.moved += amount
	case account != ledger.Fees:
	case kind == ledger.ProviderFee:
		b.charged += amount
	case kind == ledger.FeeVariance:
		b.corrected += amount
		b.variances += postings
	default:
		b.scheduled += amount
	}
}
