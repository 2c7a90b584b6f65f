// Package shop is a merchant for the local system. It takes webhooks in as a merchant's server should, verifies them
// with the public Standard Webhooks library (which shares no code with what signs them), and calls the API over HTTP.
//
// It owns no truth: what it knows is what it was told. It is for tests and scripts/dev, and never linked into a
// deployed function.
package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Tolerance is how old or how far ahead a webhook's timestamp may be, as the library has it. The library compares with
// the machine's clock; the shop goes by the clock of its world.
const Tolerance = 5 * time.Minute

// Webhook is one request that the shop's endpoint got.
type Webhook struct {
	ID           string    // webhook-id: the event's, the same in every attempt
	Signed       time.Time // webhook-timestamp
	At           time.Time // when it came
	Err          error     // why it can't be trusted; nil: verified
	Answered     int       // the status it was answered with
	Header       http.Header
	Body         []byte
	Type         string
	PaymentID    string // each is empty of events that are about something else
	EndpointID   string
	SettlementID string
	Sequence     int64
}

// Shop is one merchant's server. It is safe for concurrent use.
type Shop struct {
	URL string // of its webhook endpoint

	now    func() time.Time
	server *http.Server

	mu       sync.Mutex
	secret   string
	answer   func(Webhook) int
	received []Webhook
	changed  chan struct{} // closed and replaced when something was received
}

// Open starts a shop on loopback. It answers webhooks with 200 if they are verified and 401 if not, and so all of them
// with 401 until Trust.
func Open(now func() time.Time) (*Shop, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("shop: %w", err)
	}
	s := &Shop{URL: "http://" + l.Addr().String() + "/webhooks", now: now, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks", s.receive)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }() // it ends with Close, and its error is that it did
	return s, nil
}

// Close ends the shop.
func (s *Shop) Close() { _ = s.server.Close() }

// Trust sets the signing secret of the shop's endpoint, whsec_….
func (s *Shop) Trust(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = secret
}

// Answer decides from now on with which status verified webhooks are answered; nil: with 200.
func (s *Shop) Answer(with func(Webhook) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = with
}

func (s *Shop) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	secret := s.secret
	s.mu.Unlock()
	got := Verify(secret, r.Header, body, s.now())

	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	switch {
	case got.Err != nil:
		got.Answered = http.StatusUnauthorized
	case answer != nil:
		got.Answered = answer(got)
	default:
		got.Answered = http.StatusOK
	}

	s.mu.Lock()
	s.received = append(s.received, got)
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	w.WriteHeader(got.Answered)
}

// Verify takes a request in as the shop does: it checks the signature by the secret and the timestamp by the time at
// which it came, and only then reads the body.
func Verify(secret string, h http.Header, body []byte, at time.Time) Webhook {
	got := Webhook{ID: h.Get(standardwebhooks.HeaderWebhookID), At: at, Header: h.Clone(), Body: body}
	got.Err = got.verify(secret)
	return got
}

func (got *Webhook) verify(secret string) error {
	if secret == "" {
		return errors.New("the shop has no secret yet")
	}
	library, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	if err := library.VerifyIgnoringTimestamp(got.Body, got.Header); err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(got.Header.Get(standardwebhooks.HeaderWebhookTimestamp), 10, 64)
	if err != nil {
		return err
	}
	got.Signed = time.Unix(seconds, 0).UTC()
	if age := got.At.Sub(got.Signed); age.Abs() > Tolerance {
		return fmt.Errorf("the timestamp is %v off", age)
	}
	return got.read()
}

func (got *Webhook) read() error {
	type named struct {
		ID string `json:"id"`
	}
	var event struct {
		named
		Type     string `json:"type"`
		Sequence int64  `json:"sequence"`
		Data     struct {
			Payment    named `json:"payment"`
			Endpoint   named `json:"endpoint"`
			Settlement named `json:"settlement"`
		} `json:"data"`
	}
	if err := json.Unmarshal(got.Body, &event); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	if event.ID != got.ID {
		return fmt.Errorf("webhook-id is %q, the event's id %q", got.ID, event.ID)
	}
	got.Type, got.Sequence = event.Type, event.Sequence
	got.PaymentID, got.EndpointID, got.SettlementID = event.Data.Payment.ID, event.Data.Endpoint.ID, event.Data.Settlement.ID
	return nil
}

// Received lists all that came, in order.
func (s *Shop) Received() []Webhook {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

// Events lists what the shop goes by: of each of the payment's events the first that was verified and answered with
// 2xx, in the order of their sequence.
func (s *Shop) Events(paymentID string) []Webhook {
	var events []Webhook
	for _, w := range s.Received() {
		taken := w.Err == nil && w.Answered/100 == 2 && w.PaymentID == paymentID
		if taken && !slices.ContainsFunc(events, func(e Webhook) bool { return e.ID == w.ID }) {
			events = append(events, w)
		}
	}
	slices.SortStableFunc(events, func(a, b Webhook) int { return int(a.Sequence - b.Sequence) })
	return events
}

// Await waits until what was received satisfies the condition.
func (s *Shop) Await(ctx context.Context, satisfied func([]Webhook) bool) error {
	for {
		s.mu.Lock()
		received, changed := slices.Clone(s.received), s.changed
		s.mu.Unlock()
		if satisfied(received) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
