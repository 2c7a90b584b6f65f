package providertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// violations says what of what was observed must never be:
//
//   - a decided outcome that is false, at the first call or at a replay;
//   - NotSent of something that took effect;
//   - facts of what is not decided, or facts that do not echo what was asked for;
//   - a step that happens twice, or one that a replay in time does not bring to its end
//     and a look-up does not show;
//   - a look-up that says that it is complete and tells another story than what happened;
//   - a credential in the evidence.
func (o *observed) violations() (broken []string) {
	add := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	if !o.struck {
		add("the fault did not strike")
	}
	if o.leaked != "" {
		add("the evidence shows the credential: %s", o.leaked)
	}
	for _, each := range o.extra {
		add("%s", each)
	}
	if o.spot.Step == "" {
		return append(broken, o.lookUpViolations()...)
	}
	for _, each := range o.stepViolations("first", o.first, o.did) {
		add("%s", each)
	}
	for _, each := range o.stepViolations("again", o.again, nil) {
		add("%s", each)
	}
	for _, each := range o.stepViolations("later", o.later, o.didAtLast) {
		add("%s", each)
	}
	for _, r := range []provider.Result{o.again, o.later} {
		if known := o.first.Reference; known != "" && r.Reference != "" && r.Reference != known {
			add("there are two payment objects: %s and %s", known, r.Reference)
		}
	}
	if o.again.Reference != "" && o.later.Reference != "" && o.again.Reference != o.later.Reference {
		add("there are two payment objects: %s and %s", o.again.Reference, o.later.Reference)
	}
	if n := o.done(o.didAtLast); n > 1 {
		add("it was done %d times: %s", n, did(o.didAtLast))
	}
	if o.looked.Complete {
		for _, each := range disagreements(o.looked.Facts, o.did) {
			add("%s", each)
		}
	}
	if !o.lookedLater.Complete {
		add("the look-up at last is not complete: %s", o.lookedLater.Evidence.Error)
	}
	for _, each := range append(o.echo("look-up", o.looked.Facts), o.echo("look-up", o.lookedLater.Facts)...) {
		add("%s", each)
	}
	return append(broken, o.ending()...)
}

// ending holds a replay in time to what there is by then.
func (o *observed) ending() (broken []string) {
	if o.later.Outcome == provider.NotSent {
		broken = append(broken, "a replay is not_sent: earlier bytes may have left")
	}
	if o.moves == "" || o.spot.Step == provider.Authorize && o.later.Outcome == provider.RequiresAction {
		return broken
	}
	if o.done(o.didAtLast) == 0 && o.later.Outcome != provider.Unknown {
		broken = append(broken, fmt.Sprintf("nothing was done, and a replay is %s", o.later.Outcome))
	}
	return broken
}

// done counts how often what was asked for happened.
func (o *observed) done(effects []providersim.Effect) (n int) {
	for _, e := range effects {
		if o.moves != "" && e.Kind == o.moves {
			n++
		}
	}
	return n
}

// stepViolations holds one outcome to what really happened by then; effects are nil where
// that was not observed.
func (o *observed) stepViolations(when string, r provider.Result, effects []providersim.Effect) (broken []string) {
	add := func(format string, args ...any) {
		broken = append(broken, when+": "+string(r.Outcome)+": "+fmt.Sprintf(format, args...))
	}
	done := o.done(effects)
	switch r.Outcome {
	case provider.Approved:
		if want := proofs[o.spot.Step]; !slices.ContainsFunc(r.Facts, func(f provider.Fact) bool { return f.Kind == want.Kind && f.State == want.State }) {
			add("without facts that say so: %s", Facts(r.Facts))
		}
		if o.moves != "" && effects != nil && done != 1 {
			add("and it was done %d times", done)
		}
	case provider.RequiresAction, provider.Pending:
		if len(r.Facts) == 0 || r.Reference == "" {
			add("without facts or a reference")
		}
		if o.spot.Step == provider.Authorize && when != "later" && done != 0 {
			add("and it was done %d times", done)
		}
	case provider.Declined, provider.Rejected:
		if r.Refusal == nil {
			add("without saying why")
		}
		add("although only the way there was disturbed (%+v)", r.Refusal)
	case provider.NotSent:
		if done > 0 {
			add("but it was done %d times", done)
		}
		if when != "first" {
			add("again")
		}
		fallthrough
	case provider.Unknown:
		if len(r.Facts) > 0 {
			add("with facts: %s", Facts(r.Facts))
		}
		if r.Outcome == provider.Unknown && r.Evidence.Error == "" {
			add("without saying why")
		}
	default:
		add("is no outcome")
	}
	if hangs := strings.Contains(o.fault, "hang"); when == "first" && hangs && !r.TimedOut {
		add("not timed out: %q", r.Evidence.Error)
	}
	return append(broken, o.echo(when, r.Facts)...)
}

// echo holds facts to the ids, units and currency that were sent.
func (o *observed) echo(when string, facts []provider.Fact) (broken []string) {
	for _, f := range facts {
		switch {
		case f.PaymentID != o.request.PaymentID:
			broken = append(broken, when+": a fact names another payment")
		case f.ObjectID == "" || f.Rank() == 0 || f.OccurredAt.IsZero():
			broken = append(broken, fmt.Sprintf("%s: an impossible fact %+v", when, f))
		case f.Units <= 0 || !strings.EqualFold(f.UnitCurrency, f.Amount.Currency.Code()) || f.Amount.Currency != o.request.Amount.Currency:
			broken = append(broken, fmt.Sprintf("%s: a fact of %d %q, which is %s", when, f.Units, f.UnitCurrency, f.Amount))
		case f.Kind == provider.KindRefund && o.spot.Step == provider.Refund && f.RefundID != o.request.RefundID:
			broken = append(broken, when+": a fact names another refund")
		case f.Kind == kindOf[o.spot.Step] && f.Amount != o.request.Amount && when != "look-up":
			broken = append(broken, fmt.Sprintf("%s: a fact of %s, asked for %s", when, f.Amount, o.request.Amount))
		}
	}
	return broken
}

// proofs are the facts that a step's approval comes with.
var proofs = map[provider.Step]provider.Fact{
	provider.Authorize: {Kind: provider.KindAuthorization, State: provider.StateAuthorized},
	provider.Capture:   {Kind: provider.KindCapture, State: provider.StateSucceeded},
	provider.Void:      {Kind: provider.KindAuthorization, State: provider.StateCanceled},
	provider.Refund:    {Kind: provider.KindRefund, State: provider.StateSucceeded},
}

// kindOf is the kind of object that a step makes or changes.
var kindOf = map[provider.Step]provider.Kind{
	provider.Authorize: provider.KindAuthorization, provider.Capture: provider.KindCapture,
	provider.Void: provider.KindAuthorization, provider.Refund: provider.KindRefund,
}

// lookUpViolations holds a look-up that a fault befell to what happened. What it echoes is
// for the core to compare with what was sent, so that it must be handed on as it came.
func (o *observed) lookUpViolations() (broken []string) {
	broken = o.echo("look-up", o.lookedLater.Facts)
	if !o.lookedLater.Complete {
		broken = append(broken, "the look-up at last is not complete: "+o.lookedLater.Evidence.Error)
	}
	broken = append(broken, disagreements(o.lookedLater.Facts, o.didAtLast)...)
	switch {
	case !o.looked.Complete && o.looked.Evidence.Error == "":
		broken = append(broken, "the look-up is not complete without saying why")
	case !o.looked.Complete:
	case o.fault == string(providersim.WrongAmount):
		broken = append(broken, o.echo("look-up", o.looked.Facts)...)
	default:
		broken = append(broken, disagreements(o.looked.Facts, o.did)...)
	}
	return broken
}
