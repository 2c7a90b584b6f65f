package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

// A story is a payment's life as its merchant sees it. It goes on after a step that was not as it should be, so that
// all that is wrong is told at once.
type story struct {
	*printer
	stack *stack.Stack
	shop  *shop.Shop
	api   shop.Client
	// patience is how long a step waits for its webhooks, in real time.
	patience time.Duration

	wrong []string
	told  int // webhooks shown
}

// A step is one call of the API, what should come of it, and the webhooks that should follow.
type step struct {
	what   string
	call   func(context.Context) (shop.Answer, error)
	status int
	check  func(shop.Answer) (says string, err error) // err: what is not as it should be
	events []string
}

// payment is what the story reads of a payment, a refund or a problem.
type payment struct {
	ID         string `json:"id"`
	Status     any    `json:"status"` // a problem's is a number
	Currency   string `json:"currency"`
	Amount     int64  `json:"amount"`
	Authorized int64  `json:"authorized_amount"`
	Captured   int64  `json:"captured_amount"`
	Refunded   int64  `json:"refunded_amount"`
	Refundable int64  `json:"refundable_amount"`
	Failure    *struct {
		Code string `json:"code"`
	} `json:"failure"`
	Code    string `json:"code"`
	Refunds []any  `json:"refunds"`
	Events  []any  `json:"events"`
}

func (s *story) tell(ctx context.Context) {
	s.heading("A payment's life")
	key := shop.NewKey()
	request := map[string]any{
		"amount": 5000, "currency": "JPY", "payment_method": "pm_card_visa", "capture_method": "manual",
		"description": "a pair of tickets",
	}
	first := s.step(ctx, step{
		"create", s.post("/v1/payments", key, request), http.StatusCreated, func(a shop.Answer) (string, error) {
			p, err := read(a)
			return fmt.Sprintf("%s  %s, %s %s", p.Status, p.ID, grouped(p.Authorized), p.Currency),
				errors.Join(err, want("status", p.Status, "AUTHORIZED"), want("authorized_amount", p.Authorized, 5000))
		}, []string{"payment.authorized"},
	})
	p, err := read(first)
	if err != nil || p.ID == "" {
		return // without a payment there is nothing to go on with
	}
	s.step(ctx, step{
		"again", s.post("/v1/payments", key, request), http.StatusCreated, func(a shop.Answer) (string, error) {
			authorized := s.stack.Stripe.EffectsFor("tollgate_payment", p.ID)
			return "the same request with the same key: the same bytes, and no second charge", errors.Join(
				want("the answer repeats the first", bytes.Equal(a.Body, first.Body), true),
				want("Idempotent-Replayed", a.Header.Get("Idempotent-Replayed"), "true"),
				want("authorizations at Stripe", len(authorized), 1))
		}, nil,
	})
	path := "/v1/payments/" + p.ID
	s.step(ctx, step{
		"capture", s.post(path+"/capture", shop.NewKey(), map[string]any{"amount": 3000}), http.StatusOK,
		func(a shop.Answer) (string, error) {
			p, err := read(a)
			return fmt.Sprintf("%s  %s taken, the rest released", p.Status, grouped(p.Captured)),
				errors.Join(err, want("status", p.Status, "CAPTURED"), want("captured_amount", p.Captured, 3000))
		},
		[]string{"payment.captured"},
	})
	s.tellRefunds(ctx, path)
	s.tellDecline(ctx)
}

func (s *story) tellRefunds(ctx context.Context, path string) {
	s.step(ctx, step{
		"refund", s.post(path+"/refund", shop.NewKey(), map[string]any{"amount": 1000, "reason": "one ticket less"}),
		http.StatusCreated, func(a shop.Answer) (string, error) {
			r, err := read(a)
			return fmt.Sprintf("%s  %s, %s given back", r.Status, r.ID, grouped(r.Amount)),
				errors.Join(err, want("status", r.Status, "SUCCEEDED"), want("amount", r.Amount, 1000))
		},
		[]string{"refund.created", "refund.succeeded"},
	})
	s.step(ctx, step{
		"refund", s.post(path+"/refund", shop.NewKey(), map[string]any{"amount": 2001}),
		http.StatusUnprocessableEntity, func(a shop.Answer) (string, error) {
			r, err := read(a)
			return fmt.Sprintf("refused  %s: 2,001 of the 2,000 that are left", r.Code),
				errors.Join(err, want("code", r.Code, "amount_exceeds_available"))
		}, nil,
	})
	s.step(ctx, step{
		"read", s.get(path + "?expand=refunds,events"), http.StatusOK, func(a shop.Answer) (string, error) {
			p, err := read(a)
			return fmt.Sprintf("%s  captured %s, refunded %s, refundable %s", p.Status, grouped(p.Captured), grouped(p.Refunded), grouped(p.Refundable)),
				errors.Join(err, want("captured_amount", p.Captured, 3000), want("refunded_amount", p.Refunded, 1000),
					want("refundable_amount", p.Refundable, 2000), want("refunds", len(p.Refunds), 1), want("events", len(p.Events), 4))
		}, nil,
	})
}

func (s *story) tellDecline(ctx context.Context) {
	s.heading("A card without funds")
	s.step(ctx, step{
		"create", s.post("/v1/payments", shop.NewKey(), map[string]any{
			"amount": 1200, "currency": "USD", "payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds",
		}), http.StatusCreated, func(a shop.Answer) (string, error) {
			p, err := read(a)
			code := "no failure"
			if p.Failure != nil {
				code = p.Failure.Code
			}
			return fmt.Sprintf("%s  %s, %s", p.Status, p.ID, code),
				errors.Join(err, want("status", p.Status, "FAILED"), want("failure", code, "insufficient_funds"))
		}, []string{"payment.failed"},
	})
}

// step performs a step and tells of it, and then of its webhooks.
func (s *story) step(ctx context.Context, st step) shop.Answer {
	if ctx.Err() != nil {
		return shop.Answer{}
	}
	began := time.Now()
	answer, err := st.call(ctx)
	took := time.Since(began)
	if err != nil {
		s.amiss(st.what, err)
		return answer
	}
	says, err := st.check(answer)
	s.printer.step(took, st.what, fmt.Sprintf("%s  %s", s.paint(green, fmt.Sprint(answer.Status)), says))
	if err = errors.Join(want("the answer's status", answer.Status, st.status), err); err != nil {
		s.amiss(st.what, fmt.Errorf("%w\nthe answer: %.600s", err, answer.Body))
	}
	s.awaitEvents(ctx, st, began)
	return answer
}

// awaitEvents waits for the step's webhooks and tells of each, in the order in which they came.
func (s *story) awaitEvents(ctx context.Context, st step, began time.Time) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	missing := slices.Clone(st.events)
	for len(missing) > 0 {
		var next shop.Webhook
		err := s.shop.Await(ctx, func(received []shop.Webhook) bool {
			if len(received) <= s.told {
				return false
			}
			next = received[s.told]
			return true
		})
		if err != nil {
			s.amiss(st.what, fmt.Errorf("no webhook %s", strings.Join(missing, ", ")))
			return
		}
		s.told++
		if next.Err != nil {
			s.amiss("webhook", fmt.Errorf("can't be trusted: %w", next.Err))
			continue
		}
		s.printer.step(time.Since(began), "webhook", describe(next))
		i := slices.Index(missing, next.Type)
		if i < 0 {
			s.amiss("webhook", fmt.Errorf("%s was not expected here", next.Type))
			continue
		}
		missing = slices.Delete(missing, i, i+1)
	}
}

func describe(w shop.Webhook) string {
	return fmt.Sprintf("     %s, sequence %d, signature verified", w.Type, w.Sequence)
}

// amiss tells of what is not as it should be.
func (s *story) amiss(what string, err error) {
	for text := range strings.SplitSeq(err.Error(), "\n") {
		s.printer.wrong(text)
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	s.wrong = append(s.wrong, what+": "+first)
}

func (s *story) post(path, key string, body any) func(context.Context) (shop.Answer, error) {
	return func(ctx context.Context) (shop.Answer, error) { return s.api.Post(ctx, path, key, body) }
}

func (s *story) get(path string) func(context.Context) (shop.Answer, error) {
	return func(ctx context.Context) (shop.Answer, error) { return s.api.Get(ctx, path) }
}

func read(a shop.Answer) (p payment, err error) {
	err = a.Into(&p)
	return p, err
}

func want(what string, got, expected any) error {
	if fmt.Sprint(got) == fmt.Sprint(expected) {
		return nil
	}
	return fmt.Errorf("%s: %v, and should be %v", what, got, expected)
}
