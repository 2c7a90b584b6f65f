package provider

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// Attempt is a request with its key, as committed before its first byte leaves.
type Attempt struct {
	OwnerID id.ID // the saga, or the obligation
	Number  int
	Key     string
	Request Request
	Unsent  bool      // proven that no byte of it left
	SentAt  time.Time // when it was first sent, or may have been
}

// AttemptObject begins the object id of a fact about an attempt that made no object.
const AttemptObject = "attempt/"

// NewAttempt derives the provider's idempotency key from owner, step and number,
// so that the same attempt always carries the same key.
func NewAttempt(owner id.ID, number int, req Request, now time.Time) Attempt {
	return Attempt{
		OwnerID: owner, Number: number, Request: req, Unsent: true, SentAt: now,
		Key: fmt.Sprintf("tollgate-%s-%s-%d", owner, req.Step, number),
	}
}

// Call is a permission to send an attempt now. There are two ways to get one, so
// that a replay after the key window is impossible by construction.
type Call struct {
	attempt Attempt
	first   bool
}

// Attempt is what the call sends.
func (c Call) Attempt() Attempt { return c.attempt }

// First says that nothing of this attempt, nor of any before it that might still
// take effect, was sent before.
func (c Call) First() bool { return c.first }

// FirstCall permits an attempt that was never sent: one just committed, or one
// that is proven unsent.
func FirstCall(a Attempt) (Call, error) {
	if !a.Unsent {
		return Call{}, fmt.Errorf("provider: attempt %s may have been sent; replay it", a.Key)
	}
	return Call{attempt: a, first: true}, nil
}

// windowMargin keeps replays clear of the window's end: clocks differ, and a replay may
// be carried out long after it was sent. Nothing that is sent is still on its way when
// the window has closed.
const windowMargin = 2 * time.Hour

// Replay permits an attempt that may have been sent, while the provider is sure to
// recognize its key.
func Replay(a Attempt, caps Capabilities, now time.Time) (Call, bool) {
	if now.After(WindowEnd(a, caps).Add(-windowMargin)) {
		return Call{}, false
	}
	return Call{attempt: a}, true
}

// Unsendable is the result of a call that can't be put to the provider, because of err.
// Nothing was sent now; whether it was before, only a first call knows. A first call's is
// Rejected, with a refusal for the adapter to make facts of; it is told in err's words if
// that is a fault, and else names the provider by its title.
func (c Call) Unsendable(title string, err error) Result {
	result := Result{
		Outcome: Unknown, Reference: c.attempt.Request.Reference, Evidence: Evidence{Error: "not sent: " + err.Error()},
	}
	if !c.first {
		return result
	}
	result.Outcome = Rejected
	result.Refusal = &Refusal{Code: "invalid_request", Message: "The gateway could not put the request to " + title + "."}
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		result.Refusal = &Refusal{Code: string(f.Code), Message: f.Detail}
	}
	return result
}

// WindowEnd is when the provider may forget the attempt's key.
func WindowEnd(a Attempt, caps Capabilities) time.Time {
	return a.SentAt.Add(caps.KeyWindow[a.Request.Step])
}
