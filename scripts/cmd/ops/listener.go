package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

const (
	maxEvent  = 1 << 20  // bytes of an event that are read
	maxAnswer = 64 << 10 // bytes of the target's answer that are passed on
)

// A listener is the endpoint of webhooks listen: it shows each attempt at an event, forwards it to the target, and
// answers Tollgate as the target answered, so that what the target does to a delivery can be seen.
type listener struct {
	now    func() time.Time
	target *url.URL // nil: events are shown, and taken
	secret string
	client *http.Client

	mu       sync.Mutex
	out      io.Writer
	asJSON   bool
	attempts map[string]int // by event
}

func newListener(s *session, target *url.URL, secret string) *listener {
	return &listener{
		now: s.now, target: target, secret: secret, out: s.out, asJSON: s.asJSON, attempts: map[string]int{},
		client: &http.Client{
			Transport: &http.Transport{DisableCompression: true}, // no proxy either: what arrives is what was sent
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // Tollgate does not follow either
			},
		},
	}
}

// opening is what is told first. The secret is shown this once.
type opening struct {
	Merchant external[ofMerchant] `json:"merchant_id"`
	Endpoint external[ofEndpoint] `json:"webhook_endpoint_id"`
	Target   string               `json:"forward_to,omitempty"`
	Secret   string               `json:"signing_secret"`
}

func (l *listener) opened(m named, made id.ID) {
	o := opening{Merchant: m.ID, Endpoint: external[ofEndpoint]{made}, Secret: l.secret}
	where := "shown here, and answered with 200"
	if l.target != nil {
		o.Target = l.target.Redacted()
		where = "forwarded to " + o.Target
	}
	l.say(o, "Events of %s (%s) come to the endpoint %s and are %s.\n"+
		"Its signing secret, shown this once: %s\n"+
		"Ctrl-C ends, and removes the endpoint.\n", m.Name, o.Merchant, o.Endpoint, where, l.secret)
}

func (l *listener) closed(made id.ID) {
	d := done{fmt.Sprintf("Ended. The endpoint %s is removed.", id.Endpoint.External(made))}
	l.say(d, "%s\n", d.Done)
}

// heard is an attempt that came.
type heard struct {
	At       time.Time `json:"at"` // of the stack's clock
	Event    string    `json:"event_id"`
	Attempt  int       `json:"attempt"` // that came here, from 1
	Type     string    `json:"type"`
	Subject  string    `json:"about"` // the payment, or the endpoint
	Sequence int64     `json:"sequence"`
	Verified bool      `json:"verified"`
	Problem  string    `json:"problem,omitempty"` // why it can't be trusted
}

// passed is what became of it.
type passed struct {
	Event   string `json:"event_id"`
	Attempt int    `json:"attempt"`
	Answer  int    `json:"answered"`
	Problem string `json:"problem,omitempty"` // why there was no answer
}

// ServeHTTP takes one attempt in.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	got := shop.Verify(l.secret, r.Header, body, l.now())
	h := l.hear(got)
	p := passed{Event: h.Event, Attempt: h.Attempt, Answer: http.StatusOK}
	var answer *http.Response
	if l.target != nil {
		if answer, err = l.forward(r.Context(), r.Header, body); err != nil {
			p.Answer, p.Problem = http.StatusBadGateway, err.Error()
		} else {
			defer func() { _ = answer.Body.Close() }()
			p.Answer = answer.StatusCode
		}
	}
	l.tell(p)
	respond(w, p, answer)
}

// hear shows an attempt as it comes.
func (l *listener) hear(got shop.Webhook) heard {
	l.mu.Lock()
	l.attempts[got.ID]++
	h := heard{
		At: got.At.UTC(), Event: got.ID, Attempt: l.attempts[got.ID], Type: got.Type,
		Subject: cmp.Or(got.PaymentID, got.EndpointID), Sequence: got.Sequence, Verified: got.Err == nil,
	}
	l.mu.Unlock()
	trust := "signature verified"
	if got.Err != nil {
		h.Problem = got.Err.Error()
		trust = "NOT VERIFIED: " + h.Problem
	}
	l.say(h, "%s  --> %s  %s  sequence %d  %s  %s\n", h.At.Format(time.DateTime), cmp.Or(h.Type, "unreadable"),
		cmp.Or(h.Subject, noValue), h.Sequence, trust, h.name())
	return h
}

func (h heard) name() string { return attemptName(h.Event, h.Attempt) }

func attemptName(event string, attempt int) string {
	if attempt == 1 {
		return "[" + event + "]"
	}
	return fmt.Sprintf("[%s, attempt %d]", event, attempt)
}

// tell shows what the target made of an attempt.
func (l *listener) tell(p passed) {
	says := fmt.Sprintf("%d %s", p.Answer, http.StatusText(p.Answer))
	switch {
	case p.Problem != "":
		says = "no answer: " + p.Problem
	case p.Answer == http.StatusGone:
		says += ": Tollgate sends nothing more here. Listen anew when it is meant to."
	}
	l.say(p, "%s  <-- %s  %s\n", strings.Repeat(" ", len(time.DateTime)), says, attemptName(p.Event, p.Attempt))
}

// forward sends the event on as it came: the same bytes, and the headers that they are verified by.
func (l *listener) forward(ctx context.Context, h http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = h.Clone()
	maps.DeleteFunc(req.Header, func(name string, _ []string) bool { return !forwarded(name) })
	answer, err := l.client.Do(req)
	var wrapped *url.Error
	switch {
	case ctx.Err() != nil:
		return nil, errors.New("not within the time that Tollgate waits")
	case errors.As(err, &wrapped):
		return nil, wrapped.Err // without the address, which was told at the start
	}
	return answer, err
}

func forwarded(name string) bool {
	return strings.HasPrefix(name, "Webhook-") || name == "Content-Type" || name == "User-Agent"
}

// respond answers Tollgate as the target did, with the headers that mean something to it.
func respond(w http.ResponseWriter, p passed, answer *http.Response) {
	if answer == nil {
		w.WriteHeader(p.Answer)
		return
	}
	for _, name := range []string{"Content-Type", "Retry-After"} {
		if v := answer.Header.Values(name); len(v) > 0 {
			w.Header()[name] = v
		}
	}
	w.WriteHeader(p.Answer)
	_, _ = io.Copy(w, io.LimitReader(answer.Body, maxAnswer)) // Tollgate keeps what it gets
}

// say prints a line of text, or the value as a line of JSON.
func (l *listener) say(v any, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asJSON {
		e := json.NewEncoder(l.out)
		e.SetEscapeHTML(false)
		_ = e.Encode(v)
		return
	}
	_, _ = fmt.Fprintf(l.out, format, args...)
}
