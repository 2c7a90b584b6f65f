package bank

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// verdict is what the replies prove about an order.
type verdict struct {
	outcome   provider.Outcome
	facts     []provider.Fact
	refusal   *provider.Refusal
	reference string
	doubt     error // why the outcome is unknown, for the evidence
}

func unknown(reference string, doubt error) verdict {
	return verdict{outcome: provider.Unknown, reference: reference, doubt: doubt}
}

// trouble is why a request yielded no object.
type trouble struct {
	err     error
	unsent  bool      // no byte of the request left
	refusal *apiError // GoCardless's own words, if a whole 4xx of its came
}

// apiError is an error of GoCardless's:
// https://developer.gocardless.com/api-reference/#api-usage-errors
type apiError struct {
	status  int    // of HTTP
	Type    string `json:"type"`
	Message string `json:"message"`
	Errors  []struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Field   string `json:"field"`
		Links   struct {
			ConflictingResource string `json:"conflicting_resource_id"`
		} `json:"links"`
	} `json:"errors"`
}

// conflictReason is the reason of a 409 that says that a key was used before.
const conflictReason = "idempotent_creation_conflict"

// conflict is the id of what the key made before; empty if the error is another, or
// does not say.
func (e *apiError) conflict() string {
	if e == nil || e.status != http.StatusConflict {
		return ""
	}
	for _, each := range e.Errors {
		if each.Reason == conflictReason {
			return each.Links.ConflictingResource
		}
	}
	return ""
}

func (e *apiError) reason() string {
	for _, each := range e.Errors {
		if each.Reason != "" {
			return each.Reason
		}
	}
	return ""
}

func troubleOf(x *wire.Exchange) *trouble {
	switch {
	case !x.Answered():
		return &trouble{err: x.Err, unsent: !x.Connected()}
	case x.Status == http.StatusOK || x.Status == http.StatusCreated:
		return nil
	case x.Status < 400 || x.Status >= 500:
		return &trouble{err: fmt.Errorf("status %d decides nothing", x.Status)}
	}
	var reply struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(x.Body, &reply); err != nil {
		return &trouble{err: fmt.Errorf("status %d, not an error of GoCardless's: %w", x.Status, err)}
	}
	if reply.Error == nil || reply.Error.Type == "" {
		return &trouble{err: fmt.Errorf("status %d, not an error of GoCardless's: no error type", x.Status)}
	}
	reply.Error.status = x.Status
	return &trouble{
		err:     fmt.Errorf("status %d %.40s %.60s", x.Status, reply.Error.Type, reply.Error.reason()),
		refusal: reply.Error,
	}
}

// judge says what the trouble with the request that could move money proves. What
// GoCardless refuses counts only for a first call.
func (d *dialogue) judge(o order, t *trouble) verdict {
	switch {
	case d.first && t.unsent:
		return verdict{outcome: provider.NotSent}
	case t.refusal == nil:
		return unknown(o.Reference, t.err)
	case !d.first:
		return unknown(o.Reference, fmt.Errorf("it proves nothing of what was sent before: %w", t.err))
	}
	outcome := refusedAs(o.Step, t.refusal)
	switch outcome {
	case provider.NotSent:
		return verdict{outcome: outcome, reference: o.Reference}
	case provider.Unknown:
		return unknown(o.Reference, t.err)
	}
	refusal := refusalOf(t.refusal)
	return verdict{outcome: outcome, refusal: refusal, reference: o.Reference, facts: attemptFacts(o, refusal, d.adapter.now())}
}

// judgeReading is judge for a request that only reads, before anything was sent that
// could move money: whatever its trouble, a first call has done nothing.
func (d *dialogue) judgeReading(o order, t *trouble) verdict {
	if d.first && t.refusal == nil {
		return verdict{outcome: provider.NotSent, reference: o.Reference, doubt: t.err}
	}
	return d.judge(o, t)
}

// refusedAs classes a first call's refusal by status, type and reason.
func refusedAs(step provider.Step, e *apiError) provider.Outcome {
	reason := e.reason()
	switch {
	case e.status == http.StatusTooManyRequests: // the rate limiter stands before execution
		return provider.NotSent
	case reason == conflictReason: // it does not name what the key made
		return provider.Unknown
	case step == provider.Refund && reason == "total_amount_confirmation_invalid":
		return provider.NotSent // another refund was faster: with the new total it may go through
	case step == provider.Refund && stateReasons[reason]:
		return provider.Declined
	}
	switch e.Type {
	case "invalid_state":
		if step != provider.Authorize {
			return provider.Declined
		}
	case "validation_failed", "invalid_api_usage":
		switch e.status {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
			http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType,
			http.StatusUnprocessableEntity, http.StatusUpgradeRequired:
			return provider.Rejected
		}
	}
	return provider.Unknown
}

var errForeign = errors.New("the object does not name the payment that was asked for")
