package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

// away is longer than any event is tried by the schedule.
const away = 36 * time.Hour

// books are the shop's own books, kept on another server, which wants each payment's events in their order.
type books struct {
	*shop.Shop
	path string // of its endpoint in the API
}

// webhookEndpoint is what the story reads of an endpoint, or of what is done with it.
type webhookEndpoint struct {
	ID       string `json:"id"`
	Secret   string `json:"secret"`
	Failures int    `json:"failures"`
}

// tellWebhooks is an endpoint that is away and back: it gets what it missed, in order, by itself. Then its secret is
// replaced without a gap.
func (s *story) tellWebhooks(ctx context.Context) {
	s.heading("A webhook endpoint is away for a day and a half")
	opened, err := shop.Open(s.stack.Clock.Now)
	if err != nil {
		s.amiss("endpoint", err)
		return
	}
	defer opened.Close()
	b := &books{Shop: opened}
	if !s.endpoint(ctx, b) {
		return
	}
	b.Answer(func(shop.Webhook) int { return http.StatusServiceUnavailable })
	paths := s.sell(ctx, 2)
	s.wait(ctx, away)
	s.failing(ctx, b)
	s.missing(ctx, b, paths, 3*len(paths)) // authorized, captured, and settled by night

	b.Answer(nil)
	s.wait(ctx, time.Hour+time.Minute)
	for _, path := range paths {
		s.inOrder(ctx, b, strings.TrimPrefix(path, "/v1/payments/"))
	}
	s.missing(ctx, b, paths, 0)
	s.rotate(ctx, b)
	s.step(ctx, step{
		"endpoint", s.delete(b.path), http.StatusNoContent, func(shop.Answer) (string, error) { return "removed, with its secrets", nil }, nil,
	})
}

// endpoint makes the books' endpoint.
func (s *story) endpoint(ctx context.Context, b *books) bool {
	var made webhookEndpoint
	s.step(ctx, step{
		"endpoint", s.post("/v1/webhook-endpoints", "", map[string]any{
			"url": b.URL, "description": "the shop's books", "event_types": []string{"payment.*"}, "ordered": true,
		}), http.StatusCreated, func(a shop.Answer) (string, error) {
			err := a.Into(&made)
			return fmt.Sprintf("%s  payment.*, each payment's events in order; its secret is shown this once", made.ID),
				errors.Join(err, want("there is a secret", strings.HasPrefix(made.Secret, "whsec_"), true))
		}, nil,
	})
	b.path = "/v1/webhook-endpoints/" + made.ID
	b.Trust(made.Secret)
	return made.ID != ""
}

// sell makes payments and captures them. The shop's other endpoint hears of it at once.
func (s *story) sell(ctx context.Context, n int) (paths []string) {
	for range n {
		a := s.step(ctx, step{
			"create", s.post("/v1/payments", shop.NewKey(), cardPayment), http.StatusCreated, func(a shop.Answer) (string, error) {
				p, err := read(a)
				return fmt.Sprintf("%s  %s", p.Status, p.ID), errors.Join(err, want("status", p.Status, "AUTHORIZED"))
			}, []string{"payment.authorized"},
		})
		p, _ := read(a) // if it can't be read, the step said so
		paths = append(paths, "/v1/payments/"+p.ID)
		s.capture(ctx, paths[len(paths)-1], 800)
	}
	return paths
}

// failing shows how the endpoint answered.
func (s *story) failing(ctx context.Context, b *books) {
	s.step(ctx, step{
		"endpoint", s.get(b.path), http.StatusOK, func(a shop.Answer) (string, error) {
			var e webhookEndpoint
			err := a.Into(&e)
			return fmt.Sprintf("%d failures in a row: what it misses is kept, and once an hour it is asked again", e.Failures),
				errors.Join(err, want("it was asked again and again", e.Failures >= 10, true))
		}, nil,
	})
}

// missing shows what the endpoint did not get of these payments. What it misses of others, which nights settle, depends
// on the time of day.
func (s *story) missing(ctx context.Context, b *books, paths []string, n int) {
	s.step(ctx, step{
		"missing", s.get("/v1/webhook-deliveries?undelivered=true&endpoint=" + strings.TrimPrefix(b.path, "/v1/webhook-endpoints/")),
		http.StatusOK, func(a shop.Answer) (string, error) {
			var page struct {
				Data []struct {
					Payment string `json:"transaction_id"`
					Status  string `json:"status"`
				} `json:"data"`
			}
			err := a.Into(&page)
			missed, stand := 0, map[string]int{}
			for _, d := range page.Data {
				if slices.Contains(paths, "/v1/payments/"+d.Payment) {
					missed++
					stand[d.Status]++
				}
			}
			says := "nothing"
			if missed > 0 {
				says = fmt.Sprintf("%d events: %d given up, %d held behind them", missed, stand["EXHAUSTED"], stand["HELD"])
			}
			return says, errors.Join(err, want("events that it did not get", missed, n))
		}, nil,
	})
}

// inOrder shows what the books got of a payment, as it came.
func (s *story) inOrder(ctx context.Context, b *books, paymentID string) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	err := b.Await(ctx, func([]shop.Webhook) bool { return len(b.Events(paymentID)) >= 3 })
	if err != nil {
		s.amiss("books", fmt.Errorf("of %s they have %d events", paymentID, len(b.Events(paymentID))))
		return
	}
	sequence := int64(0)
	for _, w := range b.Received() {
		if w.PaymentID != paymentID || w.Answered != http.StatusOK {
			continue
		}
		sequence++
		if err := errors.Join(w.Err, want("the sequence of what came next", w.Sequence, sequence)); err != nil {
			s.amiss("books", err)
		}
		s.printer.step(time.Since(began), "books", describe(w)+", nobody asked for it")
	}
}

// rotate replaces the secret: for an hour both sign.
func (s *story) rotate(ctx context.Context, b *books) {
	var rotated webhookEndpoint
	s.step(ctx, step{
		"rotate", s.post(b.path+"/rotate-secret", "", map[string]any{"overlap_seconds": 3600}), http.StatusOK,
		func(a shop.Answer) (string, error) {
			err := a.Into(&rotated)
			return "a new secret, and an hour in which the old one signs too", errors.Join(err, want("there is a secret", rotated.Secret != "", true))
		}, nil,
	})
	s.test(ctx, b, "by the old secret")
	b.Trust(rotated.Secret)
	s.test(ctx, b, "by the new one")
}

// test has the endpoint sent a test event.
func (s *story) test(ctx context.Context, b *books, by string) {
	before := len(b.Received())
	began := time.Now()
	s.step(ctx, step{
		"test", s.post(b.path+"/test", "", map[string]any{}), http.StatusAccepted, func(shop.Answer) (string, error) { return "a test event is on its way", nil }, nil,
	})
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	if err := b.Await(ctx, func(all []shop.Webhook) bool { return len(all) > before }); err != nil {
		s.amiss("books", errors.New("no webhook endpoint.test"))
		return
	}
	got := b.Received()[before]
	if err := errors.Join(got.Err, want("the event", got.Type, "endpoint.test")); err != nil {
		s.amiss("books", err)
		return
	}
	s.printer.step(time.Since(began), "books", describe(got)+" "+by)
}
