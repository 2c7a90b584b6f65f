// Package ledger is the double-entry ledger: what is where, between providers, merchants
// and Tollgate, as the sum of entries that are never changed.
//
// It owns the tables ledger_postings, ledger_entries, ledger_balances, unsettled_entries
// (with shared/settlement, which takes out of it what it settles) and fee_schedules.
//
// A posting is written in the transaction of the change that it is about. Its entries are
// all in one currency, at one provider and of one merchant or none, and add up to zero:
// debits are positive, credits negative. No row is ever updated, so no two payments ever
// wait for each other's; a balance is the sum of what periods that are closed came to (see
// shared/period) and of all entries since. The database refuses, by triggers: an
// unbalanced posting, one whose lines are not all written with it, a change of any row,
// what belongs to a period that has ended, and a payable line that does not wait to be
// settled.
//
// README.md, beside this file, says what is posted when.
//
// It refuses fee schedules that are not of this world, with the fault invalid_request.
package ledger

import (
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
)

// Account is where amounts are. There is one of each per provider, merchant and currency.
type Account string

// The accounts.
const (
	Receivable     Account = "receivable"      // what the provider holds for us: our balance there. A debit
	Payable        Account = "payable"         // what we owe the merchant. A credit, as all below may be
	Fees           Account = "fees"            // charged to the merchant; the provider's own fees against it
	Variance       Account = "variance"        // what the provider's fees differ from the expected; what was written off
	Disputes       Account = "disputes"        // taken back by the provider, and contested
	DisputeReserve Account = "dispute_reserve" // of the merchant's, held back while it is contested
	Payouts        Account = "payouts"         // cash: the providers' payouts came in, the settlements went out
	Obligations    Account = "obligations"     // payers' money that serves no payment, to be given back
)

// Accounts lists every account.
func Accounts() []Account {
	return []Account{Receivable, Payable, Fees, Variance, Disputes, DisputeReserve, Payouts, Obligations}
}

// Kind is what happened.
type Kind string

// The kinds of postings.
const (
	Capture                Kind = "capture"
	Refund                 Kind = "refund"
	RefundFailed           Kind = "refund_failed" // after it had succeeded
	Fee                    Kind = "fee"           // of a capture; with a subject, of that dispute
	FeeReturned            Kind = "fee_returned"  // with a refund; the other way when that fails
	DisputeOpened          Kind = "dispute_opened"
	DisputeWon             Kind = "dispute_won"
	DisputeLost            Kind = "dispute_lost"
	Obligation             Kind = "obligation" // captured without a purpose
	ObligationRefund       Kind = "obligation_refund"
	ObligationRefundFailed Kind = "obligation_refund_failed" // after it had succeeded
	Settlement             Kind = "settlement"
	Payout                 Kind = "payout"
	ProviderFee            Kind = "provider_fee" // what the provider kept, by its own account
	FeeVariance            Kind = "variance"     // what that differs from the fee charged for the same
	Adjustment             Kind = "adjustment"   // by a human, or the provider
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		Capture, Refund, RefundFailed, Fee, FeeReturned, DisputeOpened, DisputeWon, DisputeLost, Obligation,
		ObligationRefund, ObligationRefundFailed, Settlement, Payout, ProviderFee, FeeVariance, Adjustment,
	}
}

// Posting is one thing that happened, and its entries.
type Posting struct {
	ID         id.ID
	Kind       Kind
	MerchantID id.ID // zero: nobody's, such as an orphan's or a provider's withdrawal
	PaymentID  id.ID // zero: none
	SubjectID  id.ID // the refund, dispute, settlement, obligation, … that it is about; zero: none
	Provider   string
	Currency   money.Currency
	ObjectID   string // the provider's object, as provider_facts has it; "": none

	// Reference, when not empty, is unique among the postings of a kind: what is posted
	// again under it is not.
	Reference string
	Entries   []Entry
	At        time.Time
}

// Entry is one line of a posting. A debit is positive, a credit negative.
type Entry struct {
	Account     Account
	AmountMinor int64
}

// moves is what each kind debits and credits.
var moves = map[Kind][]struct{ debit, credit Account }{
	Capture:                {{Receivable, Payable}},
	Refund:                 {{Payable, Receivable}},
	RefundFailed:           {{Receivable, Payable}},
	Fee:                    {{Payable, Fees}},
	FeeReturned:            {{Fees, Payable}},
	DisputeOpened:          {{Disputes, Receivable}, {Payable, DisputeReserve}},
	DisputeWon:             {{Receivable, Disputes}, {DisputeReserve, Payable}},
	DisputeLost:            {{DisputeReserve, Disputes}},
	Obligation:             {{Receivable, Obligations}},
	ObligationRefund:       {{Obligations, Receivable}},
	ObligationRefundFailed: {{Receivable, Obligations}},
	Settlement:             {{Payable, Payouts}},
	Payout:                 {{Payouts, Receivable}},
	ProviderFee:            {{Fees, Receivable}},
	FeeVariance:            {{Fees, Variance}}, // by the fee charged less the provider's
}

// Entries are those of an amount of minor units for what happened; for a negative amount,
// the other way round. There are none for Adjustment, which can be about any accounts.
func Entries(k Kind, amountMinor int64) []Entry {
	var all []Entry
	for _, m := range moves[k] {
		all = append(all, Move(m.debit, m.credit, amountMinor)...)
	}
	return all
}

// Move is the two entries that debit one account and credit another by an amount; with a
// negative amount, the other way round. Nothing is moved by zero.
func Move(debit, credit Account, amountMinor int64) []Entry {
	if amountMinor == 0 {
		return nil
	}
	return []Entry{{debit, amountMinor}, {credit, -amountMinor}}
}

// Reversed is the entries the other way round.
func Reversed(entries []Entry) []Entry {
	back := make([]Entry, len(entries))
	for i, e := range entries {
		back[i] = Entry{e.Account, -e.AmountMinor}
	}
	return back
}

// On is how much the posting debits an account, less what it credits it.
func (p Posting) On(a Account) int64 {
	var sum int64
	for _, e := range p.Entries {
		if e.Account == a {
			sum += e.AmountMinor
		}
	}
	return sum
}
