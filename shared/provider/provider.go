// Package provider is the port to payment providers: what Tollgate asks of one,
// what one can answer, and what a provider can do.
//
// Adapters (provider/stripe, …) translate. They decide nothing about money: they
// classify an outcome by what is proven, never by what is likely, and hand over
// facts, which shared/payment applies. A timeout is not a decline, and a reply
// that can't be read proves nothing.
//
// OUTCOMES.md, beside this file, is generated: what each provider can do, and what comes
// of each fault at each of its requests.
package provider

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
)

// Step is one thing asked of a provider that may move money.
type Step string

// The steps.
const (
	Authorize Step = "authorize"
	Capture   Step = "capture"
	Void      Step = "void"
	Refund    Step = "refund"
)

// Request is the exact content of one step. It is stored with the attempt before
// the first byte leaves, so a replay sends the same.
type Request struct {
	Step          Step        `json:"step"`
	Account       string      `json:"account"`
	MerchantID    id.ID       `json:"merchant_id"`
	PaymentID     id.ID       `json:"payment_id"`
	RefundID      id.ID       `json:"refund_id"`                // refunds a merchant asked for
	ObligationID  id.ID       `json:"obligation_id"`            // voids and refunds that release what lost its purpose
	Reference     string      `json:"reference,omitempty"`      // the provider's payment object; empty for authorize
	Amount        money.Money `json:"amount"`                   // what the step moves; the authorized amount for a void
	AutoCapture   bool        `json:"auto_capture,omitempty"`   // authorize and capture in one
	PaymentMethod string      `json:"payment_method,omitempty"` // the provider's token
	ReturnURL     string      `json:"return_url,omitempty"`     // where the payer comes back after authenticating
	Description   string      `json:"description,omitempty"`
	Reason        string      `json:"reason,omitempty"`
}

// Orphan reports whether the request refunds what no payment of ours took: its payment
// object bears no payment's id, and the obligation's own stands in its place.
func (r Request) Orphan() bool {
	return r.Step == Refund && !r.ObligationID.IsZero() && r.PaymentID == r.ObligationID
}

// Outcome classes what a call yielded.
type Outcome string

// The outcomes. All but NotSent and Unknown are the provider's decision.
const (
	Approved       Outcome = "approved"
	Declined       Outcome = "declined"        // refused on the merits: the payer's bank, a rule, the object's state
	RequiresAction Outcome = "requires_action" // the payer must authenticate
	Pending        Outcome = "pending"         // the provider will say later
	NotSent        Outcome = "not_sent"        // provably not executed: no byte left, or refused before execution
	Unknown        Outcome = "unknown"         // it may have been executed
	Rejected       Outcome = "rejected"        // refused as malformed or unauthorized: our mistake
)

// Kind is the kind of provider object that a fact is about.
type Kind string

// The kinds.
const (
	KindAuthorization Kind = "authorization"
	KindCapture       Kind = "capture"
	KindRefund        Kind = "refund"
	KindDispute       Kind = "dispute" // of money that was captured, and that the provider took back for it
)

// State is an object's state, in Tollgate's words.
type State string

// The states. Not every kind has every state.
const (
	StateRequiresAction State = "requires_action"
	StatePending        State = "pending"
	StateApproved       State = "approved" // the payer has done their part; the rest is to come
	StateFailed         State = "failed"
	StateAuthorized     State = "authorized"
	StateSucceeded      State = "succeeded"
	StateCanceled       State = "canceled"
	StateOpen           State = "open" // the provider holds the money until it is decided
	StateWon            State = "won"  // it was given back
	StateLost           State = "lost"
)

var ranks = map[Kind]map[State]int{
	KindAuthorization: {
		StatePending: 1, StateRequiresAction: 2, StateApproved: 3, StateFailed: 4, StateAuthorized: 5, StateCanceled: 6,
	},
	KindCapture: {StatePending: 1, StateSucceeded: 2, StateFailed: 3},
	KindRefund:  {StateRequiresAction: 1, StatePending: 2, StateSucceeded: 3, StateFailed: 4, StateCanceled: 4},
	// A decision may be overturned: of those two, the one that the provider took last counts.
	KindDispute: {StateOpen: 1, StateWon: 2, StateLost: 2},
}

// Fact is what a provider proves about one of its objects at one time.
type Fact struct {
	Kind         Kind
	State        State
	ObjectID     string // the provider's id of the object; unique with State
	Reference    string // the provider's payment object that it belongs to
	PaymentID    id.ID  // our ids as the provider echoes them; zero if it does not
	RefundID     id.ID
	ObligationID id.ID

	// Amount is what the object moved or holds, converted from the provider's
	// units. Units and UnitCurrency are as echoed: the comparison with what was
	// sent is made on them, so that two wrong conversions can't cancel out.
	Amount       money.Money
	Units        int64
	UnitCurrency string

	Refusal       *Refusal
	NextAction    *NextAction
	CaptureBefore time.Time // as the provider states it; zero if it does not
	OccurredAt    time.Time // the provider's time

	// Of a dispute. A case that takes no money is no fact.
	Reason    string    // in the provider's words
	OpenedAt  time.Time // when it was opened; zero if the provider does not say
	RespondBy time.Time // until when it can be answered; zero if it can't be, or the provider does not say
}

// Rank orders the states of one kind of object: a fact of a lower rank than one
// that is known of the same object is old news. States of one rank exclude each other.
func (f Fact) Rank() int { return ranks[f.Kind][f.State] }

// Refusal says why a provider refused.
type Refusal struct {
	Code         string `json:"code"` // Tollgate's: card_declined, insufficient_funds, authentication_failed, …
	Message      string `json:"message"`
	ProviderCode string `json:"provider_code"`
}

// NextAction is what the payer must do.
type NextAction struct {
	Type        string `json:"type"` // redirect_to_url
	RedirectURL string `json:"redirect_url"`
}

// Result is what one call yielded.
type Result struct {
	Outcome   Outcome
	Facts     []Fact
	Refusal   *Refusal // why, when declined or rejected
	Reference string   // the provider's payment object, if it is known now
	TimedOut  bool
	Evidence  Evidence

	// RetryAfter is how long whoever did not send it wants to be left alone: an open
	// circuit, until it may be tried again. 0: nobody said.
	RetryAfter time.Duration
}

// Evidence is the raw reply, masked, as kept in provider_responses.
type Evidence struct {
	Status    int    // HTTP status; 0 if none came
	RequestID string // the provider's
	Body      string
	Error     string // of the transport, if there was one
	Replayed  bool   // the provider says that it repeated a stored answer
	Duration  time.Duration
}

// Query asks for the present state of a payment's objects.
type Query struct {
	Account   string
	PaymentID id.ID     // zero: the object of the Reference, which must bear no payment's id
	Reference string    // the provider's payment object, if it is known
	Since     time.Time // when the first attempt was made: bounds a listing
	Until     time.Time // after which it can't have taken effect any more; zero: now
}

// Finding is the answer to a Query.
type Finding struct {
	// Complete says that the answer came from a strongly consistent source and
	// shows every object of the payment; only then does absence mean anything.
	Complete bool
	Facts    []Fact // of every object found; none when Complete: there is none
	Evidence Evidence
}

// Event is one webhook event of a provider, verified and parsed.
type Event struct {
	ID         string
	Account    string
	Type       string
	ObjectID   string
	PaymentID  id.ID // zero if the event does not name a payment of ours
	Reference  string
	Facts      []Fact // none, and no LookUp: nothing in it for us
	OccurredAt time.Time

	// LookUp says that the event is a hint: what it claims must be asked for, by Find,
	// before anything is made of it.
	LookUp bool
}

// Capabilities are what a provider can do, as data.
type Capabilities struct {
	// Methods are the types of payment method that it takes.
	Methods []Method

	// KeyWindow is how long a repeated idempotency key is sure to be recognized,
	// per step. After it a replay is forbidden: it could charge again.
	KeyWindow map[Step]time.Duration

	// Guarded names the steps that the provider's own object state makes safe to
	// try under a new key: a payment object can be captured or voided only once.
	Guarded map[Step]bool

	// PayerFirst says that the payer approves the payment object before anything is
	// authorized. Approval shows as authorization.approved, and then an authorize is to be
	// executed again, under a new attempt with the object as its Reference. The object is
	// authorized once, whatever the key.
	PayerFirst bool

	ManualCapture    bool // authorize now, capture later
	PartialCapture   bool
	MultipleCaptures bool

	// RefundWindow is how long after its capture a payment can be refunded; 0: the
	// provider states no limit.
	RefundWindow time.Duration

	// Currencies lists what the provider takes, and how it counts it.
	Currencies []Currency
	MaxAmount  int64 // minor units

	// Units converts an amount to the provider's units, or says why it can't be
	// represented there. It never rounds.
	Units func(money.Money) (int64, error)

	// ReportLag is how long after it happened a movement may still be missing from the
	// provider's report, see Entry.
	ReportLag time.Duration

	// Elsewhere are the codes of refusals that say nothing of the payer or the payment
	// method: the same payment may succeed at another provider.
	Elsewhere map[string]bool
}

// Method is one type of payment method.
type Method struct {
	Type string                  // card, paypal, bank_transfer
	Fits func(token string) bool // does a payment_method of this form belong to the type?
}

// Currency says how a provider counts one currency.
type Currency struct {
	Code     string // ISO 4217
	Exponent int    // decimals of the provider's unit, which may differ from ISO 4217
	Step     int64  // its amounts are multiples of so many of its units
	Refused  string // why it is not taken although the provider lists it; "" if it is
	Source   string // the page that says so
}

// Type is the type of a payment_method, "" if it is of none of the provider's.
func (c Capabilities) Type(token string) string {
	for _, m := range c.Methods {
		if m.Fits(token) {
			return m.Type
		}
	}
	return ""
}

// Adapter is one provider. Execute, Find and Entries never return Go errors: whatever
// happens is classified in the result, with its evidence.
type Adapter interface {
	Name() string
	// Account names the one account of the adapter's credentials. Neither an attempt nor a
	// look-up of another account may be made here: keys are known, and objects found, by
	// account.
	Account() string
	Capabilities() Capabilities
	// Execute performs one attempt. Only for a first call can a refusal of the
	// request prove that nothing happened.
	Execute(ctx context.Context, call Call) Result
	Find(ctx context.Context, q Query) Finding
	// Entries reads one page of the provider's own report of the account.
	Entries(ctx context.Context, q EntryQuery) EntryPage
	// ParseEvent reads a webhook event whose signature was verified.
	ParseEvent(body []byte) (Event, error)
}

// Gate is an adapter behind limits: so many calls at a time, and none while its circuit
// is open.
type Gate interface {
	Adapter
	// Enter takes a place for the calls made with inside, until leave is called. It
	// returns false when every place is taken; it never waits.
	Enter(ctx context.Context) (inside context.Context, leave func(), ok bool)
	// Ready reports whether a call would be let through now, and if not, why.
	Ready(ctx context.Context) (ready bool, why string)
}
