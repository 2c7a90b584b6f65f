package providertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Row is what came of one fault at one request.
type Row struct {
	Provider, Spot, Fault string

	First      string // what the first call yields
	Did        string // what had really happened by then
	Looks      string // what a look-up shows then
	Again      string // what comes of sending it again, or of replaying it
	Later      string // what a replay yields ten minutes later
	LooksLater string
	DidAtLast  string // everything that happened to the payment, at last
}

// faults has every fault of the plan that befalls requests, and some of them in a second
// form: cut off without a byte, and a page that has a status of a refusal.
func faults() []string {
	all := []string{"drop_before; silent", "drop_after; silent", "html_after; status=404"}
	for _, kind := range providersim.FaultKinds() {
		switch {
		case kind.AboutWebhooks():
		case kind == providersim.DelayBefore || kind == providersim.DelayAfter:
			all = append(all, string(kind)+"; for=1ms") // of real time
		default:
			all = append(all, string(kind))
		}
	}
	slices.Sort(all)
	return all
}

// Table has each fault befall each request, and holds what comes of it to what must
// never be. The rows are sorted by provider, request and fault, and are the same in every
// run.
func Table(t *testing.T, s Subject) []Row {
	kinds := faults()
	rows := make([]Row, len(s.Spots)*len(kinds))
	t.Run("faults", func(t *testing.T) {
		for i, spot := range s.Spots {
			for j, fault := range kinds {
				t.Run(spot.Name+"/"+fault, func(t *testing.T) {
					t.Parallel()
					b := New(t, s)
					b.SetWebhook("") // events have a table of their own
					o := strike(b, spot, fault)
					for _, broken := range o.violations() {
						t.Error(broken)
					}
					rows[i*len(kinds)+j] = o.row(s.Name)
				})
			}
		}
	})
	return rows
}

// observed is what one fault at one request led to.
type observed struct {
	spot    Spot
	fault   string
	request provider.Request
	moves   providersim.EffectKind // what the step does; empty: nothing by itself

	before       []providersim.Effect
	first        provider.Result
	did          []providersim.Effect
	looked       provider.Finding
	again, later provider.Result
	lookedLater  provider.Finding
	didAtLast    []providersim.Effect // after the payer has done what there was to do

	struck bool
	leaked string   // the credential, if the evidence shows it
	extra  []string // what was wrong on the way to the end
}

// strike brings a payment to where the spot is, lets the fault befall it, and watches.
func strike(b *Bench, spot Spot, fault string) *observed {
	b.t.Helper()
	o := &observed{spot: spot, fault: fault}
	if spot.Step == "" {
		b.strikeLookUp(o)
		return o
	}
	o.request, o.moves = b.upTo(spot), b.Moves[spot.Step]
	o.before = b.Did(o.request)
	a := b.Attempt(o.request)
	if spot.Stale {
		b.Forget()
	}
	b.Inject(spot.Operation, spot.Skip, fault)
	o.first = b.FirstBy(b.ending(b.t.Context()), b.adapter(), a)
	o.struck = b.hasStruck(fault)
	o.did = b.Did(o.request)
	o.looked = b.Look(o.request, o.reference())
	if o.first.Outcome == provider.NotSent {
		o.again = b.First(a)
	} else {
		o.again = b.Replay(a)
	}
	b.Advance(11 * time.Minute) // whatever acts late has acted
	o.later = b.Replay(a)
	o.lookedLater = b.Look(o.request, o.reference())
	b.conclude(o, a)
	o.didAtLast = b.Did(o.request)
	o.leaked = b.leak(o)
	return o
}

func (b *Bench) hasStruck(fault string) bool {
	kind, _, _ := strings.Cut(fault, ";")
	return b.Counters()["fault."+kind] == 1
}

// reference is the payment object, as far as it is known.
func (o *observed) reference() string {
	if o.spot.Unnamed {
		return ""
	}
	for _, known := range []string{o.request.Reference, o.later.Reference, o.again.Reference, o.first.Reference} {
		if known != "" {
			return known
		}
	}
	return ""
}

// upTo makes the request of a spot's step, with the payment where it must be for it.
func (b *Bench) upTo(spot Spot) provider.Request {
	b.t.Helper()
	r := b.Payment(Plain, spot.Sale)
	whole := r.Amount.Minor
	switch spot.Step {
	case provider.Authorize:
		if spot.Answered {
			made := b.Start(r)
			b.Answer(made.Reference, Plain)
			r.Reference = made.Reference
		}
		return r
	case provider.Void:
		if !b.Adapter.Capabilities().ManualCapture {
			made := b.Start(r)
			return b.Follow(r, made.Reference, provider.Void, whole)
		}
		r, reference := b.Paid(Plain, false)
		return b.Follow(r, reference, provider.Void, whole)
	case provider.Capture:
		r, reference := b.Paid(Plain, false)
		b.Advance(spot.Age)
		return b.Follow(r, reference, provider.Capture, whole)
	}
	r, reference := b.Paid(Plain, true)
	return b.Follow(r, reference, provider.Refund, whole/5)
}

// conclude takes a payment that waits for its payer to its end: the payer approves
// whatever there is to approve, and we authorize it. If there were two payment objects, or
// two authorizations, there would now be two effects.
func (b *Bench) conclude(o *observed, a provider.Attempt) {
	if o.spot.Step != provider.Authorize || o.later.Outcome != provider.RequiresAction {
		return
	}
	if err := b.Visit(o.later.Reference, b.Word(Plain)); err != nil {
		o.extra = append(o.extra, err.Error())
		return
	}
	if b.Adapter.Capabilities().PayerFirst {
		if got := b.Replay(a); got.Outcome != provider.Approved {
			o.extra = append(o.extra, fmt.Sprintf("after the payer's approval it is %s: %s", got.Outcome, got.Evidence.Error))
		}
	}
	b.Advance(time.Hour)
	facts := b.Find(o.request, o.later.Reference)
	o.extra = append(o.extra, disagreements(facts, b.Did(o.request))...)
	want := "authorized"
	if o.request.AutoCapture {
		want = "captured"
	}
	if got := Summary(facts); got != want {
		o.extra = append(o.extra, "after the payer's approval it is "+got)
	}
}

// strikeLookUp lets the fault befall a look-up of a payment that is captured, and
// refunded in part.
func (b *Bench) strikeLookUp(o *observed) {
	b.t.Helper()
	r, reference := b.Paid(Plain, true)
	refund := b.Follow(r, reference, provider.Refund, r.Amount.Minor/5)
	b.First(b.Attempt(refund))
	b.Advance(time.Hour)
	if o.spot.Disputed {
		if _, err := b.Dispute(providersim.Complaint{Payment: reference}); err != nil {
			b.t.Fatal(err)
		}
	}
	o.request = b.Follow(r, reference, "", r.Amount.Minor)
	o.before, o.did = b.Did(r), b.Did(r)
	if o.spot.Stale {
		b.Forget()
	}
	b.Inject(o.spot.Operation, o.spot.Skip, o.fault)
	o.looked = b.adapter().Find(b.ending(b.t.Context()), provider.Query{
		Account: r.Account, PaymentID: r.PaymentID, Reference: o.reference(), Since: r.PaymentID.Time(),
	})
	o.struck = b.hasStruck(o.fault)
	b.Advance(11 * time.Minute)
	o.lookedLater = b.Look(r, o.reference())
	o.didAtLast = b.Did(r)
	o.leaked = b.leak(o)
}

// leak finds the credential in what would be stored.
func (b *Bench) leak(o *observed) string {
	for _, e := range []provider.Evidence{o.first.Evidence, o.again.Evidence, o.later.Evidence, o.looked.Evidence, o.lookedLater.Evidence} {
		for _, text := range []string{e.Body, e.Error, e.RequestID} {
			if strings.Contains(text, b.Credential) {
				return text
			}
		}
	}
	return ""
}

// row writes down what was observed.
func (o *observed) row(subject string) Row {
	r := Row{
		Provider: subject, Spot: o.spot.Name, Fault: o.fault,
		Did: did(o.did[len(o.before):]), Looks: looked(o.looked), LooksLater: looked(o.lookedLater), DidAtLast: did(o.didAtLast),
	}
	if o.spot.Step == "" {
		if o.looked.Complete && len(disagreements(o.looked.Facts, o.did)) > 0 {
			r.Looks += ", of other units than were sent" // which the core compares
		}
		return r
	}
	again := "replayed: "
	if o.first.Outcome == provider.NotSent {
		again = "sent: "
	}
	r.First, r.Again, r.Later = string(o.first.Outcome), again+string(o.again.Outcome), string(o.later.Outcome)
	if o.first.TimedOut {
		r.First += ", timed out"
	}
	return r
}

func looked(f provider.Finding) string {
	if !f.Complete {
		return "incomplete"
	}
	return Summary(f.Facts)
}

func did(effects []providersim.Effect) string {
	if len(effects) == 0 {
		return "nothing"
	}
	var all []string
	for _, e := range effects {
		all = append(all, string(e.Kind))
	}
	return strings.Join(all, ", ")
}
