package providertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// story is what there is of a payment, as facts tell it or as it really happened, in the
// provider's units: what a look-up must agree with.
type story struct {
	authorized, canceled        bool
	captured, refunded          int64
	captures, refunds, reversed int
	disputed                    int64
	disputes                    int // that were not won
}

// told reads the story out of facts, of which the highest of each object counts.
func told(facts []provider.Fact) story {
	var s story
	for _, f := range Merge(facts) {
		switch {
		case f.Kind == provider.KindAuthorization && f.State == provider.StateAuthorized:
			s.authorized = true
		case f.Kind == provider.KindAuthorization && f.State == provider.StateCanceled:
			s.canceled = true
		case f.Kind == provider.KindCapture && f.State == provider.StateSucceeded:
			s.captures++
			s.captured += f.Units
		case f.Kind == provider.KindRefund && (f.State == provider.StateSucceeded || f.State == provider.StatePending):
			s.refunds++
			s.refunded += f.Units
		case f.Kind == provider.KindRefund && f.State == provider.StateFailed:
			s.reversed++
		case f.Kind == provider.KindDispute && f.State != provider.StateWon:
			s.disputes++
			s.disputed += f.Units
		}
	}
	return s
}

// happened reads it out of the simulator's effects.
func happened(effects []providersim.Effect) story {
	var s story
	for _, e := range effects {
		switch e.Kind {
		case providersim.EffectAuthorize:
			s.authorized = true
		case providersim.EffectVoid, providersim.EffectExpire:
			s.authorized, s.canceled = false, true
		case providersim.EffectCapture:
			s.captures++
			s.captured += e.AmountMinor
		case providersim.EffectCaptureReversed:
			s.captures--
			s.captured -= e.AmountMinor
		case providersim.EffectRefund:
			s.refunds++
			s.refunded += e.AmountMinor
		case providersim.EffectRefundReversed:
			s.refunds--
			s.reversed++
			s.refunded -= e.AmountMinor
		case providersim.EffectDispute:
			s.disputes++
			s.disputed += e.AmountMinor
		case providersim.EffectDisputeWon:
			s.disputes--
			s.disputed -= e.AmountMinor
		}
	}
	return s
}

// disagreements says where a look-up tells another story than what happened.
func disagreements(facts []provider.Fact, effects []providersim.Effect) (all []string) {
	t, h := told(facts), happened(effects)
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf("the look-up "+format, args...)) }
	if t.captures != h.captures || t.captured != h.captured {
		add("shows %d captures of %d in all, there are %d of %d", t.captures, t.captured, h.captures, h.captured)
	}
	if t.refunds != h.refunds || t.refunded != h.refunded || t.reversed < h.reversed {
		add("shows %d refunds of %d in all, there are %d of %d", t.refunds, t.refunded, h.refunds, h.refunded)
	}
	if t.disputes != h.disputes || t.disputed != h.disputed {
		add("shows %d disputes of %d in all, there are %d of %d", t.disputes, t.disputed, h.disputes, h.disputed)
	}
	if t.authorized && !h.authorized {
		add("shows an authorization that is not there")
	}
	if h.authorized && !t.authorized && !isUnderWay(facts) {
		add("does not show the authorization")
	}
	if h.canceled && !t.canceled {
		add("does not show that it is canceled")
	}
	return all
}

func isUnderWay(facts []provider.Fact) bool {
	return slices.ContainsFunc(facts, func(f provider.Fact) bool {
		return f.Kind == provider.KindAuthorization && (f.State == provider.StatePending || f.State == provider.StateApproved)
	})
}

// Merge keeps the highest fact of each object, or of the highest that exclude each other
// the latest, in the order in which the objects came.
func Merge(facts []provider.Fact) (merged []provider.Fact) {
	at := map[string]int{}
	for _, f := range facts {
		i, known := at[string(f.Kind)+f.ObjectID]
		switch {
		case !known:
			at[string(f.Kind)+f.ObjectID] = len(merged)
			merged = append(merged, f)
		case f.Rank() > merged[i].Rank(), f.Rank() == merged[i].Rank() && f.OccurredAt.After(merged[i].OccurredAt):
			merged[i] = f
		}
	}
	return merged
}

// Facts writes facts as "kind.state amount", in their order.
func Facts(facts []provider.Fact) string {
	var all []string
	for _, f := range facts {
		all = append(all, string(f.Kind)+"."+string(f.State)+" "+f.Amount.String())
	}
	return strings.Join(all, ", ")
}

// Summary says in a few words what facts show of a payment.
func Summary(facts []provider.Fact) string {
	facts = Merge(facts)
	if len(facts) == 0 {
		return "nothing"
	}
	var words []string
	captured := slices.ContainsFunc(facts, func(f provider.Fact) bool { return f.Kind == provider.KindCapture })
	for _, f := range facts {
		switch {
		case f.Kind == provider.KindAuthorization && captured && f.State == provider.StateAuthorized: // goes without saying
		case f.Kind == provider.KindAuthorization:
			words = append(words, strings.ReplaceAll(string(f.State), "_", " "))
		case f.Kind == provider.KindCapture && f.State == provider.StateSucceeded:
			words = append(words, "captured")
		case f.Kind == provider.KindRefund && f.State == provider.StateSucceeded:
			words = append(words, "refunded")
		default:
			words = append(words, string(f.Kind)+" "+string(f.State))
		}
	}
	return strings.Join(words, ", ")
}

// counted is how many of some kind are among effects.
func counted(effects []providersim.Effect, kind providersim.EffectKind) (n int) {
	for _, e := range effects {
		if e.Kind == kind {
			n++
		}
	}
	return n
}
