package payment

import (
	"context"

	"github.com/tollgate/tollgate/shared/provider"
)

// The rules by which an unknown outcome is resolved. Each resolution stores its rule and
// the row that holds its evidence.
const (
	RuleReply   = "reply"
	RuleReplay  = "replay"
	RuleLookup  = "lookup"
	RuleWebhook = "webhook"
	RuleRetried = "retried"
	RuleAbsent  = "absent"
)

// doubt is an operation whose outcome is not known, as the rules see it.
type doubt struct {
	work
	caps   provider.Capabilities
	sticky bool // under the attempt's key the provider repeats an error it has stored
	closed bool // the key's window has closed, and with it the time in which the attempt could act
	seen   found
}

// A rule tries to prove an outcome; done says that the operation needs no further rule
// now. Those without a try come by themselves.
type rule struct {
	name  string
	proof string // what proves the outcome
	try   func(*Service, context.Context, *doubt) (done bool, err error)
}

// resolver is the rules in the order in which they are tried. Nothing else ever decides
// what was unknown: least of all that time has passed.
var resolver = []rule{
	{RuleReply, "the call's own answer, which its worker recorded after its lease had run out", nil},
	{RuleReplay, "the same attempt again, while the provider is sure to know its key, got its answer", (*Service).byReplay},
	{RuleLookup, "a strongly consistent look-up shows the object, decided", (*Service).byLookUp},
	{RuleWebhook, "the provider told it by a signed event", nil},
	{RuleRetried, "the look-up shows a step undone that the object allows only once, and it was made under a new key", (*Service).byRetry},
	{RuleAbsent, "the key's window has closed, and a complete look-up shows nothing of it: not charged", (*Service).byAbsence},
}

// resolve finds out what became of an attempt that may have been sent.
func (s *Service) resolve(ctx context.Context, w work) error {
	d := &doubt{work: w, caps: s.capabilities(w)}
	d.closed = s.Now().After(provider.WindowEnd(w.attempt, d.caps).Add(windowSlack))
	for _, r := range resolver {
		if r.try == nil {
			continue
		}
		if done, err := r.try(s, ctx, d); done || err != nil {
			return err
		}
	}
	if d.closed && !d.seen.complete {
		return s.needsHuman(ctx, w)
	}
	return nil
}

// byReplay sends the attempt again, which the port permits only within the window.
func (s *Service) byReplay(ctx context.Context, d *doubt) (done bool, err error) {
	call, ok := provider.Replay(d.attempt, d.caps, s.Now())
	if !ok {
		return false, nil
	}
	w := d.work
	w.source, w.rule = "replay", RuleReplay
	res := s.execute(ctx, w, call)
	if res.Outcome != provider.Unknown && res.Outcome != provider.NotSent {
		return true, s.finishWork(ctx, w, res)
	}
	d.sticky = res.Evidence.Replayed
	return false, s.keepResponse(ctx, w, res)
}

// byLookUp asks for the state of the payment's objects. What the payer has approved
// meanwhile, it has authorized.
func (s *Service) byLookUp(ctx context.Context, d *doubt) (done bool, err error) {
	d.seen, err = s.lookUp(ctx, d.work)
	switch {
	case err != nil || d.seen.decided:
		return true, err
	case d.seen.complete && d.seen.approved:
		return true, s.authorizeApproved(ctx, d.work)
	}
	return false, nil
}

// byRetry makes a step anew that the provider's object allows only once.
func (s *Service) byRetry(ctx context.Context, d *doubt) (done bool, err error) {
	step := d.attempt.Request.Step
	approved := d.caps.PayerFirst && step == provider.Authorize && d.attempt.Request.Reference != ""
	switch {
	case !d.seen.complete || !d.seen.absent || !d.sticky && !d.closed:
		return false, nil
	case approved && !s.Now().Before(d.asked().Add(payerPatience)):
		return true, s.giveUp(ctx, d.work)
	case !approved && !d.caps.Guarded[step]:
		return false, nil
	}
	return true, s.again(ctx, d.work, RuleRetried, nil)
}

// byAbsence believes that nothing happened, when nothing can happen any more.
func (s *Service) byAbsence(ctx context.Context, d *doubt) (done bool, err error) {
	if !d.closed || !d.seen.complete || !d.seen.absent {
		return false, nil
	}
	return true, s.absent(ctx, d.work, d.seen.evidence)
}
