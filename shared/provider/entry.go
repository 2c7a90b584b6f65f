package provider

import (
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
)

// EntryKind is what an entry of a provider's own account is about.
type EntryKind string

// The kinds.
const (
	EntryCharge       EntryKind = "charge" // a capture
	EntryRefund       EntryKind = "refund"
	EntryRefundFailed EntryKind = "refund_failed" // a refund that came back
	EntryDispute      EntryKind = "dispute"       // what a dispute withdrew
	EntryDisputeWon   EntryKind = "dispute_won"   // what came back of it
	EntryFee          EntryKind = "fee"           // a fee that stands by itself
	EntryPayout       EntryKind = "payout"        // to our bank account; positive: it came back
	EntryAdjustment   EntryKind = "adjustment"    // anything else that moved the balance
)

// Entry is one movement of our balance at a provider, as the provider's own report has
// it. Amounts are minor units of ISO 4217 and have the sign that they have for our
// balance: a charge is positive, a refund, a fee and a payout are negative.
type Entry struct {
	// ID is unique in the account and never changes: an entry that comes again under its
	// ID is the same one, with what became known of it since.
	ID   string
	Kind EntryKind

	// ObjectID is Fact.ObjectID of the capture, the refund or the dispute, or, where the
	// report does not name disputes, of the disputed capture; "" for payouts and for fees of
	// nothing in particular. The fee of an object is the sum of Fee over its entries, less
	// the Gross of those of kind fee; its amount is the sum of Gross over its entries of a
	// kind, of which there may be several.
	ObjectID  string
	Reference string // the provider's payment object; "" if the report does not name it
	PaymentID id.ID  // our ids as the provider echoes them; zero if it does not
	RefundID  id.ID

	Currency   money.Currency
	Gross      int64
	Fee        int64     // what the provider kept of it; negative: gave back
	Net        int64     // Gross - Fee
	PayoutID   string    // "": this page does not say; it takes nothing back that another page said
	OccurredAt time.Time // the provider's time
	// AvailableAt is from when it can be paid out; zero if the provider does not say.
	AvailableAt time.Time

	Raw string // as it was read, masked: a JSON object
}

// EntryQuery asks for one page of an account's entries: those that occurred from Since
// until before Until, by the provider's clock, and the members of payouts that were made
// in that time, whenever they occurred.
type EntryQuery struct {
	Account      string
	Since, Until time.Time
	Cursor       string // EntryPage.Next of the page before, for the same times; "" for the first
}

// EntryPage is the answer to an EntryQuery.
type EntryPage struct {
	Entries []Entry
	Next    string // the cursor of the next page; "" at the end

	// OK says that the provider answered and that all of the page could be read. If it is
	// false, nothing of the page counts: ask for it again, with the same cursor.
	OK bool

	// AsOf is when the provider made the report, if it says so: what occurred later, or
	// within Capabilities.ReportLag before, may still be missing from it.
	AsOf time.Time

	RetryAfter time.Duration // how long the provider wants to be left alone; 0: it did not say
	Evidence   Evidence
}
