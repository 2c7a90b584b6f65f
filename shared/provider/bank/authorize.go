package bank

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tollgate/tollgate/shared/provider"
)

// authorize makes a billing request, and a page at which the payer authorizes it. The
// billing request alone moves nothing, because nobody but us knows of it.
func (d *dialogue) authorize(o order) verdict {
	raw, t := d.create("billing_requests", o.key, o.billingRequest())
	if t != nil {
		return d.judge(o, t)
	}
	br, err := decodeBillingRequest(raw)
	if err != nil {
		return unknown("", err)
	}
	reference, err := o.echoedBy(br)
	if err != nil {
		return unknown(reference, err)
	}
	o.Reference = reference
	if br.open() {
		return d.openFlow(o, br)
	}
	s, err := d.storyOf(br) // the key made it before: the payer may have been there
	if err != nil {
		return unknown(reference, err)
	}
	facts, err := s.facts(d.adapter.now())
	if err != nil {
		return unknown(reference, err)
	}
	v := verdict{outcome: s.outcome(), facts: facts, reference: reference}
	if v.outcome == provider.Declined {
		if v.refusal = facts[0].Refusal; v.refusal == nil {
			v.refusal = &canceledAtProvider
		}
	}
	return v
}

// maxFlows is how many keys are tried for the page. GoCardless can't tell the address
// of a page that an earlier try made, so another one is made; the billing request can
// be paid once, through whichever.
const maxFlows = 5

// openFlow makes the page for a billing request that waits for its payer.
func (d *dialogue) openFlow(o order, br *billingRequest) verdict {
	f, err := authorizationFact(br, d.adapter.now())
	if err != nil {
		return unknown(br.ID, err)
	}
	v := verdict{outcome: provider.RequiresAction, facts: []provider.Fact{f}, reference: br.ID}
	for n := 1; n <= maxFlows; n++ {
		x := d.do(http.MethodPost, "/billing_request_flows", fmt.Sprintf("%s-flow-%d", o.key, n), map[string]any{"billing_request_flows": o.flow(br.ID)})
		t := troubleOf(x)
		switch {
		case t == nil:
			address, err := readFlow(x.Body, br.ID)
			if err != nil {
				return unknown(br.ID, err)
			}
			v.facts[0].NextAction = &provider.NextAction{Type: "redirect_to_url", RedirectURL: address}
			return v
		case t.refusal.conflict() != "":
			d.replayed = true
			continue
		}
		return d.withoutFlow(o, v, t)
	}
	return v // nobody can be sent anywhere; the saga gives up on the payer, and voids
}

// withoutFlow judges the trouble with the page. On a first call a refusal of the page
// means that there is none, and so nobody who could pay: the payment has failed. The
// fact names the billing request, so that it is cancelled.
func (d *dialogue) withoutFlow(o order, v verdict, t *trouble) verdict {
	if t.refusal == nil || refusedAs(o.Step, t.refusal) != provider.Rejected {
		return unknown(v.reference, fmt.Errorf("the billing request was made, its page was not: %w", t.err))
	}
	if d.first {
		v.outcome, v.refusal = provider.Rejected, refusalOf(t.refusal)
		v.facts[0].State, v.facts[0].Refusal = provider.StateFailed, v.refusal
	}
	return v // an earlier try may have made a page, so it waits, as the billing request says
}

// readFlow takes the payer's address out of a flow.
func readFlow(body []byte, reference string) (string, error) {
	raw, t := member(body, "billing_request_flows")
	if t != nil {
		return "", t.err
	}
	var f struct {
		URL   string `json:"authorisation_url"`
		Links struct {
			BillingRequest string `json:"billing_request"`
		} `json:"links"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return "", fmt.Errorf("not a billing request flow: %w", err)
	}
	if f.Links.BillingRequest != reference {
		return "", fmt.Errorf("echo: the flow is of %.40q, asked for %s", f.Links.BillingRequest, reference)
	}
	if u, err := url.Parse(f.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("the flow of %s has no address", reference)
	}
	return f.URL, nil
}

// echoedBy checks that a billing request is the one of the order, by our id, amount
// and currency. The reference is returned even when amounts differ, as soon as our id
// is there.
func (o order) echoedBy(br *billingRequest) (reference string, err error) {
	if paymentOf(br.Metadata) != o.PaymentID {
		return o.Reference, fmt.Errorf("echo: billing request %s: %w", br.ID, errForeign)
	}
	if o.Reference != "" && br.ID != o.Reference {
		return o.Reference, fmt.Errorf("echo: the reply is about %s, asked about %s", br.ID, o.Reference)
	}
	if br.PaymentRequest.Currency != o.currency {
		return br.ID, fmt.Errorf("echo: currency is %.8q, sent %q", br.PaymentRequest.Currency, o.currency)
	}
	// A refund may be of less.
	if o.Step != provider.Refund && o.units != 0 && br.PaymentRequest.Amount != o.units {
		return br.ID, fmt.Errorf("echo: amount is %d, sent %d", br.PaymentRequest.Amount, o.units)
	}
	return br.ID, nil
}
