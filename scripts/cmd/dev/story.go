package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

// A story is payments' lives as their merchant sees them. It goes on after a step that was not as it should be, so that
// all that is wrong is told at once.
type story struct {
	*printer
	stack *stack.Stack
	shop  *shop.Shop
	api   shop.Client
	brief bool // tell only the first scene

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
	Disputed   int64  `json:"disputed_amount"`
	ProviderID string `json:"provider_transaction_id"`
	NextAction *struct {
		RedirectURL string `json:"redirect_url"`
	} `json:"next_action"`
	Failure *struct {
		Code string `json:"code"`
	} `json:"failure"`
	Refunds []any `json:"refunds"`
	Events  []any `json:"events"`

	Code      string `json:"code"`
	PaymentID string `json:"payment_id"`
	WillRetry bool   `json:"will_retry"`
}

// tell tells the scenes, each in its file scene_….go.
func (s *story) tell(ctx context.Context) {
	for _, scene := range []func(context.Context){
		s.tellCard, s.tellDecline, s.tellDispute, s.tellSettlement, s.tellPayPal, s.tellBank, s.tellReport,
		s.tellOutage, s.tellWebhooks,
	} {
		if ctx.Err() != nil {
			return
		}
		scene(ctx)
		if s.brief {
			return
		}
	}
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
	s.awaitEvents(ctx, st.what, st.events, began)
	return answer
}

// wait lets time go by, and all that falls due meanwhile happen, and then tells of the webhooks that came of it.
func (s *story) wait(ctx context.Context, d time.Duration, events ...string) {
	if ctx.Err() != nil {
		return
	}
	began := time.Now()
	if err := s.stack.Advance(ctx, d); err != nil {
		s.amiss("clock", err)
		return
	}
	s.printer.step(time.Since(began), "clock", fmt.Sprintf("     goes on by %s", d))
	s.awaitEvents(ctx, "clock", events, began)
}

// mostShown is how many webhooks are shown of one step, and the first of each type is shown too.
const mostShown = 3

// awaitEvents waits for the webhooks that should follow and tells of them, in the order in which they came.
func (s *story) awaitEvents(ctx context.Context, what string, events []string, began time.Time) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	missing, came, hidden := slices.Clone(events), []string{}, 0
	defer func() {
		if hidden > 0 {
			s.printer.step(time.Since(began), "webhook", fmt.Sprintf("     and %d more, each verified", hidden))
		}
	}()
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
			s.amiss(what, fmt.Errorf("no webhook %s", strings.Join(missing, ", ")))
			return
		}
		s.told++
		if next.Err != nil {
			s.amiss("webhook", fmt.Errorf("can't be trusted: %w", next.Err))
			continue
		}
		if len(came) < mostShown || !slices.Contains(came, next.Type) {
			s.printer.step(time.Since(began), "webhook", describe(next))
		} else {
			hidden++
		}
		came = append(came, next.Type)
		i := slices.Index(missing, next.Type)
		if i < 0 && nightly(next.Type) {
			continue
		}
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

func (s *story) delete(path string) func(context.Context) (shop.Answer, error) {
	return func(ctx context.Context) (shop.Answer, error) { return s.api.Delete(ctx, path) }
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
