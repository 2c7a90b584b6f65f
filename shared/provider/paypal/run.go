package paypal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// run is one attempt, or one look-up, under way: the requests it takes, and what they
// showed.
type run struct {
	adapter *Adapter
	ctx     context.Context
	job     job

	// first says that nothing sent before this run can take effect: only then does a
	// refusal prove that nothing happened.
	first bool

	orderID  string // as soon as it is known
	requests int
	timedOut bool
	last     *wire.Exchange // nil before the first
	seen     []string       // what the replies showed, for the evidence
}

func (r *run) reference() string {
	if r.orderID != "" {
		return r.orderID
	}
	return r.job.Request.Reference
}

// evidence is the replies as they may be stored. doubt is why they do not decide.
func (r *run) evidence(doubt error, took time.Duration) provider.Evidence {
	x := r.last
	if x == nil {
		x = &wire.Exchange{}
	}
	e := kept.Evidence(x, requestIDHeader, doubt)
	e.Body, e.Duration = wire.ClipBytes(strings.Join(r.seen, "\n"), wire.MaxEvidenceBytes), took
	return e
}

func (r *run) note(x *wire.Exchange) {
	r.requests++
	r.last, r.timedOut = x, r.timedOut || x.TimedOut
	if shown := kept.Reply(x.Body); shown != "" {
		r.seen = append(r.seen, shown)
	}
}

func (r *run) get(path string) *wire.Exchange { return r.send(http.MethodGet, path, "", nil) }

// post sends a mutation under its own PayPal-Request-Id: the attempt's key, with a word
// added when it is not the step's first.
func (r *run) post(path, word string, body []byte) *wire.Exchange {
	key := r.job.Key
	if word != "" {
		key += "/" + word
	}
	return r.send(http.MethodPost, path, key, body)
}

// send makes one request with a token. A 401 that blames the token is proof that the
// request was not executed, so it is made once more with a fresh one.
func (r *run) send(method, path, key string, body []byte) *wire.Exchange {
	for try := 0; ; try++ {
		token, asked, err := r.adapter.token(r.ctx)
		if err != nil {
			r.note(asked)
			if asked.Err == nil || errors.Is(err, errCredentials) {
				asked.Err = err
			}
			return &wire.Exchange{Err: asked.Err, TimedOut: asked.TimedOut} // never connected for this request
		}
		x := r.adapter.exchange(r.ctx, func(ctx context.Context) (*http.Request, error) {
			req, err := http.NewRequestWithContext(ctx, method, r.adapter.base+path, bytes.NewReader(body))
			if err != nil {
				return nil, err
			}
			req.Header.Set("Authorization", "Bearer "+token.Reveal())
			if method == http.MethodPost {
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Prefer", "return=representation")
			}
			if key != "" {
				req.Header.Set("PayPal-Request-Id", key)
			}
			return req, nil
		})
		r.note(x)
		if try == 0 && tokenRefused(x) {
			r.adapter.tokens.forget(token)
			continue
		}
		return x
	}
}

// tokenRefused recognizes the two shapes in which PayPal refuses an access token:
// https://developer.paypal.com/api/rest/responses/ (401) and RFC 6750.
func tokenRefused(x *wire.Exchange) bool {
	var reply struct {
		Error string `json:"error"`
		Name  string `json:"name"`
	}
	return x.Answered() && x.Status == http.StatusUnauthorized && json.Unmarshal(x.Body, &reply) == nil &&
		(reply.Error == "invalid_token" || reply.Name == "AUTHENTICATION_FAILURE")
}

// perform carries the attempt out as far as it can be.
func (r *run) perform() verdict {
	j := r.job
	if j.Request.Step == provider.Authorize && j.Request.Reference == "" {
		if v := r.create(); v.outcome != "" {
			return v
		}
	}
	o, v := r.look()
	if o == nil {
		return v
	}
	if v := j.provenBy(o, r.adapter.now()); v.outcome != "" {
		return v
	}
	v = r.mutate(o)
	if !v.look {
		return v
	}
	// Something happened, or is happening, that the reply does not tell.
	if o, _ := r.look(); o != nil {
		if proven := j.provenBy(o, r.adapter.now()); proven.outcome != "" {
			return proven
		}
	}
	return unknown("%w", v.doubt)
}

// create makes the order. The verdict is empty when there is more to be done: a repeated
// creation may find an order that the payer has approved meanwhile.
func (r *run) create() verdict {
	x := r.post("/v2/checkout/orders", "", r.job.orderBody())
	if v := r.judge(x); v.outcome != "" {
		return v
	}
	o, err := decodeOrder(x.Body)
	if err == nil {
		err = r.job.echoedBy(o)
	}
	if err != nil {
		return unknown("%w", err)
	}
	r.orderID = o.ID
	if !r.first {
		return verdict{}
	}
	v := r.job.provenBy(o, r.adapter.now())
	if v.outcome == "" {
		return unknown("a new order is in status %s", o.Status)
	}
	return v
}

// look reads the order. Without one, the verdict says what that means.
func (r *run) look() (*order, verdict) {
	x := r.get("/v2/checkout/orders/" + r.reference())
	if err := x.Failed(); err != nil {
		return nil, r.lookFailed(x, err)
	}
	o, err := decodeOrder(x.Body)
	if err == nil && o.ID != r.reference() {
		err = fmt.Errorf("the reply is about the order %.40q, asked about %s", o.ID, r.reference())
	}
	if err == nil {
		err = r.job.echoedBy(o)
	}
	if err != nil {
		return nil, r.nothingSent(err)
	}
	return o, verdict{}
}

// nothingSent is the verdict on a look-up that tells nothing, before anything else was
// asked for.
func (r *run) nothingSent(doubt error) verdict {
	if r.first {
		return verdict{outcome: provider.NotSent, doubt: doubt}
	}
	return verdict{outcome: provider.Unknown, doubt: doubt}
}

func (r *run) lookFailed(x *wire.Exchange, err error) verdict {
	now := r.adapter.now()
	switch {
	case errors.Is(err, errCredentials), tokenRefused(x):
		if r.first {
			return r.job.refused(provider.Rejected, credentialsRefusal(), now)
		}
	case gone(x):
		return r.job.withoutOrder(r.first, now)
	}
	return r.nothingSent(err)
}

// gone reports whether PayPal says in so many words that the order does not exist.
func gone(x *wire.Exchange) bool {
	if !x.Answered() || x.Status != http.StatusNotFound {
		return false
	}
	e, err := decodeError(x.Body)
	return err == nil && e.Name == "RESOURCE_NOT_FOUND"
}

// judge classes a reply to a mutation that is no object. The verdict is empty for a
// reply that should be the object asked for.
func (r *run) judge(x *wire.Exchange) verdict {
	if !x.Answered() {
		if r.first && errors.Is(x.Err, errCredentials) {
			return r.job.refused(provider.Rejected, credentialsRefusal(), r.adapter.now())
		}
		if r.first && !x.Connected() {
			return verdict{outcome: provider.NotSent, doubt: x.Err}
		}
		return verdict{outcome: provider.Unknown, doubt: x.Err}
	}
	switch {
	case x.Status == http.StatusOK, x.Status == http.StatusCreated, x.Status == http.StatusNoContent:
		return verdict{}
	case x.Status >= 400 && x.Status < 500:
		return r.job.classifyError(x, r.first, r.adapter.now())
	}
	return unknown("status %d decides nothing", x.Status)
}

// mutate asks for what the order does not show yet.
func (r *run) mutate(o *order) verdict {
	switch r.job.Request.Step {
	case provider.Authorize:
		return r.complete(o)
	case provider.Capture:
		return r.capture(o)
	case provider.Void:
		return r.void(o)
	}
	return r.refund(o)
}

// complete authorizes an order that the payer has approved, or captures it if that was
// its intent.
func (r *run) complete(o *order) verdict {
	action := "authorize"
	if o.Intent == intentCapture {
		action = "capture"
	}
	x := r.post("/v2/checkout/orders/"+o.ID+"/"+action, "complete", []byte("{}"))
	if v := r.judge(x); v.outcome != "" {
		return v
	}
	done, err := decodeOrder(x.Body)
	if err == nil {
		err = r.job.echoedBy(done)
	}
	if err != nil {
		return unknown("%w", err)
	}
	if done.authorization() == nil && done.capture() == nil {
		return unknown("the order was completed, in status %s, without a payment", done.Status)
	}
	return r.job.provenBy(done, r.adapter.now())
}

// honorPeriod is how long PayPal holds the payer's funds for sure:
// https://developer.paypal.com/docs/api/payments/v2/#authorizations_reauthorize
const honorPeriod = 72 * time.Hour

// neverAnew are the issues that won't be different tomorrow.
var neverAnew = wire.Names(`REAUTHORIZATION_NOT_SUPPORTED MAX_AUTHORIZATION_COUNT_EXCEEDED`)

func (r *run) capture(o *order) verdict {
	from := o.authorization()
	// By the time in the owner's id, which never changes: a replay must capture what the
	// first call captured.
	if made := instant(from.CreateTime); !made.IsZero() && r.job.OwnerID.Time().After(made.Add(honorPeriod)) {
		anew, v := r.authorizeAnew(from)
		if v.outcome != "" {
			return v
		}
		if anew != nil {
			from = anew
		}
	}
	x := r.post("/v2/payments/authorizations/"+from.ID+"/capture", "", r.job.captureBody())
	if v := r.judge(x); v.outcome != "" {
		return v
	}
	return r.job.captured(o, x.Body, r.adapter.now())
}

// authorizeAnew makes a fresh authorization of the whole amount. None is returned when
// the old one is to be captured. That is only when PayPal refuses for a reason that
// lasts: if a replay got another answer, it would capture another authorization.
func (r *run) authorizeAnew(old *object) (*object, verdict) {
	x := r.post("/v2/payments/authorizations/"+old.ID+"/reauthorize", "reauthorize",
		encode(fields{"amount": fields{"currency_code": old.Amount.CurrencyCode, "value": old.Amount.Value}}))
	if x.Answered() && x.Status == http.StatusUnprocessableEntity {
		if e, err := decodeError(x.Body); err == nil && neverAnew[e.issue()] {
			return nil, verdict{}
		}
	}
	if v := r.judge(x); v.outcome != "" {
		return nil, v
	}
	anew, err := decodeObject(x.Body)
	if err != nil {
		return nil, unknown("%w", err)
	}
	if anew.Amount != old.Amount {
		return nil, unknown("echo: the new authorization is of another amount")
	}
	return anew, verdict{}
}

// void lets go of every authorization that holds something: there can be two, if one
// was made anew.
func (r *run) void(o *order) verdict {
	word := ""
	for _, a := range o.unit().Payments.Authorizations {
		if !holds(&a) {
			continue
		}
		x := r.post("/v2/payments/authorizations/"+a.ID+"/void", word, []byte("{}"))
		if v := r.judge(x); v.outcome != "" {
			return v
		}
		if x.Status != http.StatusNoContent {
			voided, err := decodeObject(x.Body)
			if err == nil && (voided.ID != a.ID || voided.Status != "VOIDED") {
				err = fmt.Errorf("a void left the authorization %.40q in status %.40q", voided.ID, voided.Status)
			}
			if err == nil {
				err = r.job.echoesWhole(voided.Amount)
			}
			if err != nil {
				return unknown("%w", err)
			}
		}
		word = "void-" + a.ID
	}
	return r.job.canceled(o, r.adapter.now())
}

func (r *run) refund(o *order) verdict {
	x := r.post("/v2/payments/captures/"+o.capture().ID+"/refund", "", r.job.refundBody())
	if v := r.judge(x); v.outcome != "" {
		return v
	}
	re, err := decodeObject(x.Body)
	if err != nil {
		return unknown("%w", err)
	}
	return r.job.refunded(o, re, r.adapter.now())
}
