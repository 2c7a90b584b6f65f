// Package task is the edge at which Google's own services call: Cloud Tasks, Cloud
// Scheduler and Pub/Sub push.
//
// It owns how they are believed (an OIDC token of a configured service account, for
// this function) and how they are answered: 2xx is done, anything else is tried
// again. It refuses whoever has no such token, before it looks at anything else they
// sent. Faults of its own: unauthenticated, temporarily_unavailable, body_too_large,
// invalid_json.
package task

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// maxBody is far above any task or message of ours, in bytes: tasks carry ids, and a
// message at most one event.
const maxBody = 1 << 20

// Handler serves Cloud Tasks and Cloud Scheduler at any path. When do returns an
// error the answer is 5xx, and the queue or the job tries again; do returns nil for
// what no repetition can mend.
func Handler(env api.Env, function string, v *Verifier, do func(ctx context.Context, body []byte) error) http.Handler {
	return api.Handle(env, function, http.MethodPost, func(r *http.Request) (api.Response, error) {
		body, err := receive(r, v)
		if err != nil {
			return api.Response{}, err
		}
		return done(do(r.Context(), body))
	})
}

// Message is a Pub/Sub message as push delivers it.
type Message struct {
	ID          string            `json:"messageId"`
	Data        []byte            `json:"data"`
	Attributes  map[string]string `json:"attributes"`
	OrderingKey string            `json:"orderingKey"`
}

// Push serves a Pub/Sub push subscription with wrapped bodies, at any path. The
// context belongs to the request that the message's attributes name. When do returns
// an error the message is delivered again, and at last dead-lettered; do returns nil
// for what no repetition can mend.
func Push(env api.Env, function string, v *Verifier, do func(context.Context, Message) error) http.Handler {
	return api.Handle(env, function, http.MethodPost, func(r *http.Request) (api.Response, error) {
		body, err := receive(r, v)
		if err != nil {
			return api.Response{}, err
		}
		var push struct {
			Message *Message `json:"message"`
			Attempt int      `json:"deliveryAttempt"`
		}
		if err := json.Unmarshal(body, &push); err != nil || push.Message == nil {
			return api.Response{}, &fault.Error{Code: fault.InvalidJSON, Detail: "The body is not a Pub/Sub push message.", Err: err}
		}
		// In place, so that the request's own line of the log belongs to it too.
		*r = *r.WithContext(telemetry.Extract(r.Context(), push.Message.Attributes))
		return done(do(r.Context(), *push.Message))
	})
}

// receive verifies the caller, and only then reads the body.
func receive(r *http.Request, v *Verifier) ([]byte, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, refused(nil)
	}
	if _, err := v.Verify(r.Context(), token); err != nil {
		return nil, err
	}
	return api.Body(r, maxBody)
}

// done answers 204, or an error as 5xx: whatever kind of fault it is to a merchant,
// here it means that the work is still to be done. Only what says so itself becomes
// 503, at which Cloud Tasks slows the whole queue down.
func done(err error) (api.Response, error) {
	if err == nil {
		return api.Response{Status: http.StatusNoContent}, nil
	}
	if f := fault.As(err); f.Kind() == fault.KindUnavailable {
		return api.Response{}, f
	}
	return api.Response{}, fault.Wrap(err, "do the task")
}
