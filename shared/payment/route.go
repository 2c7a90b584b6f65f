package payment

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// Route is where a payment goes and why, as it is stored with it.
type Route struct {
	Reason     string      `json:"reason"`     // why the provider is the one it is now
	Candidates []Candidate `json:"candidates"` // in the order in which they are tried
}

// Candidate is one provider that may take a payment, with the payment method it would
// take it by.
type Candidate struct {
	Provider      string         `json:"provider"`
	Account       string         `json:"account"`
	PaymentMethod string         `json:"payment_method"`
	Type          string         `json:"type"`
	State         CandidateState `json:"state"`
	Reason        string         `json:"reason,omitempty"`    // why it was left, or put behind others
	Reference     string         `json:"reference,omitempty"` // the payment object it made before it was left
}

// CandidateState says how far a candidate got.
type CandidateState string

// The states of a candidate.
const (
	Waiting  CandidateState = "waiting"  // to be tried if those before it can't
	Chosen   CandidateState = "chosen"   // the payment is there
	NotSent  CandidateState = "not_sent" // left: provably nothing was sent to it
	Declined CandidateState = "declined" // left: it refused for a reason of its own
)

// The reasons of a route.
const (
	routeRequested = "requested"           // the request names the provider
	routeMethod    = "payment_method"      // it is the one that takes the payment method
	routePreferred = "merchant_preference" // the merchant prefers it
	routeOrder     = "request_order"       // it stands first in the request
	routeHealth    = "health"              // those before it are not to be called now
	routeFailover  = "failover"            // those before it were tried, and left
)

// reasonUnavailable is all that a merchant is told of why a provider was not called. What
// is stored may name our machines, and what an operator wrote.
const reasonUnavailable = "unavailable"

// RouteView is a route as its merchant sees it.
type RouteView struct {
	Reason     string          `json:"reason"`
	Candidates []CandidateView `json:"candidates"`
}

// CandidateView is a candidate as its merchant sees it.
type CandidateView struct {
	Provider          string         `json:"provider"`
	PaymentMethodType string         `json:"payment_method_type"`
	State             CandidateState `json:"state"`
	Reason            *string        `json:"reason"`
}

func (r *Route) view() *RouteView {
	if r == nil {
		return nil
	}
	v := &RouteView{Reason: r.Reason}
	for _, c := range r.Candidates {
		why := c.Reason
		if why != "" && c.State != Declined {
			why = reasonUnavailable
		}
		v.Candidates = append(v.Candidates, CandidateView{c.Provider, c.Type, c.State, optional(why)})
	}
	return v
}

// at is the route's candidate at a provider, nil if it has none there.
func (r *Route) at(name string) *Candidate {
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.Candidates, func(c Candidate) bool { return c.Provider == name })
	if i < 0 {
		return nil
	}
	return &r.Candidates[i]
}

// waits reports whether a candidate has not been tried yet.
func (r *Route) waits() bool {
	return r != nil && slices.ContainsFunc(r.Candidates, func(c Candidate) bool { return c.State == Waiting })
}

func (r *Route) methodType() *string {
	if r == nil {
		return nil
	}
	for _, c := range r.Candidates {
		if c.State == Chosen {
			return optional(c.Type)
		}
	}
	return nil
}

// accountAt is the account that the payment uses, or used, at a provider.
func (p *Payment) accountAt(name string) string {
	if c := p.Route.at(name); c != nil {
		return c.Account
	}
	return p.ProviderAccount
}

// referenceAt is the payment's object at a provider, "" while none is known.
func (p *Payment) referenceAt(name string) string {
	if name == p.Provider {
		return p.Reference()
	}
	if c := p.Route.at(name); c != nil {
		return c.Reference
	}
	return ""
}

// route chooses who takes a payment: by the type of each payment method given, then by
// the merchant's preference, then by health. What a provider can't take is a fault of
// the request that names the field; every candidate could take the payment.
func (s *Service) route(ctx context.Context, in *CreateParams, prefer []string, currency money.Currency) (*Route, error) {
	var bad refusals
	r := &Route{Reason: routeMethod}
	options := append([]Alternative{{in.Provider, in.PaymentMethod}}, in.Alternatives...)
	for i, o := range options {
		at := ""
		if i > 0 {
			at = fmt.Sprintf("alternatives[%d].", i-1)
			r.Reason = routeOrder
		}
		r.Candidates = append(r.Candidates, s.candidates(&bad, at, o, in, currency, r)...)
	}
	if err := bad.fault(); err != nil {
		return nil, err
	}
	if in.Provider != "" {
		r.Reason = routeRequested
	} else if r.prefer(prefer) {
		r.Reason = routePreferred
	}
	s.healthiest(ctx, r)
	r.Candidates[0].State = Chosen
	return r, nil
}

// refusals are problems, with the code that the provider's table gives one that is alone.
type refusals struct {
	problems
	code fault.Code
}

func (r refusals) fault() error {
	err := r.problems.fault()
	if err != nil && len(r.problems) == 1 && r.code != "" {
		fault.As(err).Code = r.code
	}
	return err
}

// candidates are the providers that can take one of the payment methods given.
func (s *Service) candidates(bad *refusals, at string, o Alternative, in *CreateParams, currency money.Currency, known *Route) (found []Candidate) {
	names := s.providerNames()
	if o.Provider != "" {
		if s.Providers[o.Provider] == nil {
			bad.add(at+"provider", "%q is not a provider of this gateway; send one of %s", o.Provider, strings.Join(names, ", "))
			return nil
		}
		names = []string{o.Provider}
	}
	var refused *refusals
	for _, name := range names {
		caps := s.Providers[name].Capabilities()
		kind := caps.Type(o.PaymentMethod)
		if kind == "" {
			continue
		}
		var why refusals
		takes(&why, at, name, caps, in, currency)
		if at != "" && known.at(name) != nil {
			why.add(at+"provider", "%s is a candidate already; an alternative is for another provider", name)
		}
		if len(why.problems) > 0 {
			refused = &why
			continue
		}
		found = append(found, Candidate{
			Provider: name, Account: s.Providers[name].Account(), PaymentMethod: o.PaymentMethod, Type: kind, State: Waiting,
		})
	}
	switch {
	case len(found) > 0:
	case refused != nil:
		bad.problems, bad.code = append(bad.problems, refused.problems...), refused.code
	default:
		bad.add(at+"payment_method", "is of no form that %s takes; send the provider's token, such as pm_… of Stripe, or paypal, or bank_transfer",
			strings.Join(names, ", "))
	}
	return found
}

// takes says why a provider can't take a payment.
func takes(bad *refusals, at, name string, caps provider.Capabilities, in *CreateParams, currency money.Currency) {
	if in.CaptureMethod == string(Manual) && !caps.ManualCapture {
		bad.add("capture_method", "%s has no separate capture; send automatic, or another payment_method", name)
	}
	if in.Amount > caps.MaxAmount {
		bad.add("amount", "%d is above the limit of %s, %d minor units; split the payment", in.Amount, name, caps.MaxAmount)
		return
	}
	if err := representable(caps, money.Money{Minor: in.Amount, Currency: currency}); err != nil {
		bad.code = fault.As(err).Code
		for _, f := range fault.As(err).Fields {
			if at != "" {
				f.Detail = name + ": " + f.Detail
			}
			bad.problems = append(bad.problems, f)
		}
	}
}

// prefer puts those that the merchant prefers in front, and reports whether that chose
// the first.
func (r *Route) prefer(order []string) bool {
	rank := func(c Candidate) int {
		if i := slices.Index(order, c.Provider); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(r.Candidates, func(a, b Candidate) int { return rank(a) - rank(b) })
	return len(r.Candidates) > 1 && rank(r.Candidates[0]) < len(order)
}

// healthiest puts those that are not to be called now behind the others. If none is,
// the order stays.
func (s *Service) healthiest(ctx context.Context, r *Route) {
	var ready, ill []Candidate
	for _, c := range r.Candidates {
		ok, why := s.ready(ctx, c.Provider)
		if ok {
			ready = append(ready, c)
			continue
		}
		c.Reason = why
		ill = append(ill, c)
	}
	if len(ready) == 0 || len(ill) == 0 {
		return
	}
	if ready[0].Provider != r.Candidates[0].Provider {
		r.Reason = routeHealth
	}
	r.Candidates = append(ready, ill...)
}

func (s *Service) ready(ctx context.Context, name string) (ok bool, why string) {
	if g, gated := s.Providers[name].(provider.Gate); gated {
		return g.Ready(ctx)
	}
	return true, ""
}

// next is the candidate that takes the place of the chosen one: the first that waits and
// is ready, or else the first that waits, where one that is not ready will do. nil: there
// is none.
func (s *Service) next(ctx context.Context, r *Route, unready bool) *Candidate {
	var first *Candidate
	if r == nil {
		return nil
	}
	for i := range r.Candidates {
		c := &r.Candidates[i]
		if c.State != Waiting || s.Providers[c.Provider] == nil {
			continue
		}
		if ok, _ := s.ready(ctx, c.Provider); ok {
			return c
		}
		if first == nil && unready {
			first = c
		}
	}
	return first
}

// leave is the route after the chosen candidate was left for another.
func (r *Route) leave(from string, state CandidateState, reason, reference, to string) *Route {
	left := &Route{Reason: routeFailover, Candidates: slices.Clone(r.Candidates)}
	for i := range left.Candidates {
		c := &left.Candidates[i]
		switch c.Provider {
		case from:
			c.State, c.Reason, c.Reference = state, reason, reference
		case to:
			c.State, c.Reason = Chosen, ""
		}
	}
	return left
}
