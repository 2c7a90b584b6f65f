package providertest

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Subject is one adapter with its simulator.
type Subject struct {
	Name string

	// Spots are the requests that the adapter makes, each in a step that takes it.
	Spots []Spot

	// Reports are the requests of which a report is read. Only name, operation, skip and
	// stale count of them.
	Reports []Spot

	// Lists says that a look-up finds a payment without its reference too.
	Lists bool

	// Open makes a simulated account.
	Open func(now func() time.Time) *Account
}

// Spot is one request of one step, for a fault of the plan to befall.
type Spot struct {
	Name string        // of the rows: "capture", "capture: reading the order"
	Step provider.Step // empty: a look-up
	Sale bool          // authorize and capture in one

	Operation providersim.Operation // what the request is to the simulator
	Skip      int                   // requests of that kind in the step that come before it

	Answered bool          // the payer has approved the payment object before
	Age      time.Duration // of the authorization that is captured
	Stale    bool          // what the adapter keeps of a session has become void before
	Unnamed  bool          // a look-up that has no reference to go by
	Disputed bool          // a look-up of a payment that has a dispute
}

// Way is how a payment is to go. Each provider has its own manner of asking for it.
type Way string

// The ways.
const (
	Plain       Way = "plain"        // it succeeds, with a payer where the provider needs one
	ByPayer     Way = "by the payer" // it succeeds once the payer has approved it
	Refused     Way = "refused"      // it ends declined
	Slow        Way = "slow"         // its authorization is pending, then succeeds
	RefundFails Way = "refund fails" // its refunds succeed, then fail
)

// Account is a simulated account, as one provider has it.
type Account struct {
	Simulator

	// PaymentKey is the metadata under which the simulator's effects name our payment.
	PaymentKey string

	// Moves are the effects that a step has, in its own time, when it is done.
	Moves map[provider.Step]providersim.EffectKind

	// Adapter makes an adapter whose credential is one of those that SetCredentials takes.
	// The account's name is the adapter's own if it is empty.
	Adapter func(base, credential, account string) (provider.Adapter, error)

	// Credential is the one that is accepted at first.
	Credential string

	// Receiver makes what a webhook endpoint does: verify, split and parse.
	Receiver func(base string, a provider.Adapter) (Receiver, error)

	// Payment is the payment method and the amount of a payment that goes this way.
	Payment func(Way) (method string, amount money.Money)

	// Word is what its payer answers on the page: the value of ?outcome=.
	Word func(Way) string

	// Forget makes the provider refuse what it gave the adapter to be known by, as a
	// session that has run out. nil: there is no such thing.
	Forget func()

	// Approval is the type of the event that tells of the payer's approval.
	Approval string

	// Contested says that a dispute is open until it is decided, may be about a part of a
	// payment, and may begin as an inquiry. Otherwise it is lost at once.
	Contested bool

	// PayoutMembers says that the provider's report tells what is in a payout, ReportNames
	// that it echoes our ids, CasesUnnamed that it names the capture instead of its dispute.
	PayoutMembers, ReportNames, CasesUnnamed bool

	// ReportFee is what the simulator keeps of a charge.
	ReportFee func(minor int64) int64

	// Expires is how long an authorization that nobody captures stands; 0: there is none.
	Expires time.Duration
}

// Receiver verifies a webhook and reads the events in it.
type Receiver func(h http.Header, body []byte) ([]provider.Event, error)

// Simulator is what the simulated providers have in common.
type Simulator interface {
	http.Handler
	SetPlan(providersim.Plan) error
	Inject(providersim.Rule) error
	SetCredentials(...string)
	OnHang(func())
	SetWebhook(url string)
	Dispute(providersim.Complaint) (id string, err error)
	Decide(id, outcome string) error
	Effects() []providersim.Effect
	EffectsFor(key, value string) []providersim.Effect
	Plant(providersim.Plant) error
	Planted() []providersim.Planted
	Counters() map[string]int64
	NextDue() (time.Time, bool)
	RunDue(context.Context) int
	Quiesce(context.Context) error
	Close()
}
