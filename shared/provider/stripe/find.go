package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	stripego "github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

const (
	// listMargin widens a listing into the past, because Stripe stamps objects with its
	// own clock.
	listMargin = 5 * time.Minute

	pageSize = 100 // Stripe's limit: https://docs.stripe.com/api/pagination

	// maxPages bounds one listing. A look-up that would need more is not complete.
	maxPages = 200
)

// Find reads the present state of a payment's objects: the PaymentIntent of the
// reference, or without one every PaymentIntent since shortly before q.Since whose
// metadata names the payment; and the refunds and disputes of each. Retrieving and listing are
// strongly consistent at Stripe. Its Search is not, and is never used:
// https://docs.stripe.com/search#data-freshness
//
// Anything that could not be read, or was not what was asked for, makes the finding
// incomplete; what was read until then is still in it.
func (a *Adapter) Find(ctx context.Context, q provider.Query) provider.Finding {
	s := &search{adapter: a, ctx: ctx, query: q}
	began := a.now()
	err := s.run()
	finding := provider.Finding{Complete: err == nil, Facts: s.facts, Evidence: evidenceOf(&s.last, err)}
	finding.Evidence.Body = wire.ClipBytes(strings.Join(s.seen, "\n"), wire.MaxEvidenceBytes)
	finding.Evidence.Duration = a.now().Sub(began)
	return finding
}

// search is one Find under way.
type search struct {
	adapter *Adapter
	ctx     context.Context
	query   provider.Query

	facts []provider.Fact
	seen  []string // what the replies showed, for the evidence
	last  wire.Exchange
}

func (s *search) run() error {
	if s.query.PaymentID.IsZero() && s.query.Reference == "" {
		return errors.New("a look-up needs the payment's id, or the reference of an object without one")
	}
	references := []string{s.query.Reference}
	if s.query.Reference == "" {
		var err error
		if references, err = s.list(); err != nil {
			return err
		}
	}
	for _, reference := range references {
		disputed, err := s.intent(reference)
		if err != nil {
			return err
		}
		if err := s.refunds(reference); err != nil {
			return err
		}
		if !disputed {
			continue
		}
		if err := s.disputes(reference); err != nil {
			return err
		}
	}
	return nil
}

// list finds the PaymentIntents that name the payment.
func (s *search) list() ([]string, error) {
	if s.query.Since.IsZero() {
		return nil, errors.New("a look-up without a reference needs a time since when")
	}
	since := s.query.Since.Add(-listMargin).Unix()
	created := &stripego.RangeQueryParams{GreaterThanOrEqual: since}
	if !s.query.Until.IsZero() { // what was made later is not of the attempts in question
		created.LesserThanOrEqual = s.query.Until.Add(listMargin).Unix()
	}
	var found []string
	listed, err := s.pages(func(page stripego.ListParams) error {
		return s.adapter.intents.List(&stripego.PaymentIntentListParams{ListParams: page, CreatedRange: created}).Err()
	}, func(raw json.RawMessage) (string, error) {
		pi, err := decodeIntent(raw)
		if err != nil {
			return "", err
		}
		if paymentOf(pi.Metadata) == s.query.PaymentID {
			found = append(found, pi.ID)
		}
		return pi.ID, nil
	})
	s.note("payment_intents created since %d: listed %d, matching %d, complete %t", since, listed, len(found), err == nil)
	return found, err
}

// intent retrieves one PaymentIntent and takes its facts. The charge that comes along says
// whether there are disputes to list.
func (s *search) intent(reference string) (disputed bool, err error) {
	x := s.get(func(ctx context.Context) error {
		_, err := s.adapter.intents.Get(reference, &stripego.PaymentIntentParams{
			Params: stripego.Params{Context: ctx}, Expand: latestCharge(),
		})
		return err
	})
	s.note("%s", kept.Reply(x.Body))
	if err := x.Failed(); err != nil {
		return false, err
	}
	pi, err := decodeIntent(x.Body)
	if err != nil {
		return false, err
	}
	if pi.ID != reference || paymentOf(pi.Metadata) != s.query.PaymentID {
		return false, fmt.Errorf("PaymentIntent %s: %w", pi.ID, errForeign)
	}
	facts, err := intentFacts(pi, s.adapter.now())
	if err != nil {
		return false, err
	}
	s.facts = append(s.facts, facts...)
	return pi.LatestCharge != nil && pi.LatestCharge.Disputed, nil
}

// refunds lists the refunds of one PaymentIntent and takes their facts.
func (s *search) refunds(reference string) error {
	listed, err := s.pages(func(page stripego.ListParams) error {
		return s.adapter.refunds.List(&stripego.RefundListParams{ListParams: page, PaymentIntent: stripego.String(reference)}).Err()
	}, func(raw json.RawMessage) (string, error) {
		s.note("%s", kept.Reply(raw))
		re, err := decodeRefund(raw)
		if err != nil {
			return "", err
		}
		if re.PaymentIntent == nil || re.PaymentIntent.ID != reference {
			return "", fmt.Errorf("refund %s is not of %s", re.ID, reference)
		}
		facts, err := refundFacts(re, s.adapter.now())
		if err != nil {
			return "", err
		}
		s.facts = append(s.facts, facts...)
		return re.ID, nil
	})
	s.note("refunds of %s: listed %d, complete %t", reference, listed, err == nil)
	return err
}

// pages reads a listing to its end, page by page: request asks for one, each takes an
// element and returns its id.
func (s *search) pages(request func(stripego.ListParams) error, each func(json.RawMessage) (string, error)) (listed int, err error) {
	var after *string
	for range maxPages {
		x := s.get(func(ctx context.Context) error { return request(pageAfter(ctx, after)) })
		if err := x.Failed(); err != nil {
			s.note("%s", kept.Reply(x.Body))
			return listed, err
		}
		elements, more, err := decodeList(x.Body)
		if err != nil {
			return listed, err
		}
		for _, raw := range elements {
			last, err := each(raw)
			if err != nil {
				return listed, err
			}
			listed++
			after = &last
		}
		if !more {
			return listed, nil
		}
	}
	return listed, fmt.Errorf("the listing has more than %d pages", maxPages)
}

// pageAfter chooses the one page of a listing that follows an object; nil: the first.
// stripe-go's own iteration would take an empty object for an empty list, and a page
// that promises more but holds nothing for the end.
func pageAfter(ctx context.Context, object *string) stripego.ListParams {
	return stripego.ListParams{Context: ctx, Single: true, Limit: stripego.Int64(pageSize), StartingAfter: object}
}

// decodeList reads one page of a listing, strictly enough that nothing else passes for
// one.
func decodeList(body []byte) (elements []json.RawMessage, more bool, err error) {
	var page struct {
		Object  string             `json:"object"`
		Data    *[]json.RawMessage `json:"data"`
		HasMore *bool              `json:"has_more"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, false, fmt.Errorf("not a list: %w", err)
	}
	if page.Object != "list" || page.Data == nil || page.HasMore == nil {
		return nil, false, fmt.Errorf("not a list but %.40q", page.Object)
	}
	if *page.HasMore && len(*page.Data) == 0 {
		return nil, false, errors.New("a page without elements promises more")
	}
	return *page.Data, *page.HasMore, nil
}

func (s *search) get(send func(context.Context) error) *wire.Exchange {
	x := s.adapter.exchange(s.ctx, send)
	s.last.Status, s.last.Header, s.last.Err, s.last.TimedOut = x.Status, x.Header, x.Err, x.TimedOut
	return x
}

func (s *search) note(format string, args ...any) {
	s.seen = append(s.seen, fmt.Sprintf(format, args...))
}
