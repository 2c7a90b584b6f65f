package bank

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tollgate/tollgate/shared/provider"
)

// void cancels a billing request, which is possible until the payer has authorized it.
// If GoCardless refuses, the billing request itself says why.
func (d *dialogue) void(o order) verdict {
	x := d.do(http.MethodPost, "/billing_requests/"+url.PathEscape(o.Reference)+"/actions/cancel", o.key, map[string]any{"data": struct{}{}})
	t := troubleOf(x)
	if t == nil {
		raw, t := member(x.Body, "billing_requests")
		if t != nil {
			return unknown(o.Reference, t.err)
		}
		v, err := d.voided(o, raw)
		if err == nil && v.outcome == "" {
			err = fmt.Errorf("a void left the billing request open")
		}
		if err != nil {
			return unknown(o.Reference, err)
		}
		return v
	}
	if t.refusal == nil || refusedAs(o.Step, t.refusal) == provider.NotSent ||
		t.refusal.status == http.StatusUnauthorized || t.refusal.status == http.StatusForbidden {
		return d.judge(o, t)
	}
	raw, missed := d.get("billing_requests", o.Reference)
	if missed != nil {
		return d.judge(o, t)
	}
	v, err := d.voided(o, raw)
	switch {
	case err != nil:
		return unknown(o.Reference, err)
	case v.outcome == "":
		return d.judge(o, t)
	}
	return v
}

// voided says what a billing request proves of its void: done, or impossible because
// the payer has authorized. No outcome means that it is still open.
func (d *dialogue) voided(o order, raw json.RawMessage) (verdict, error) {
	br, err := decodeBillingRequest(raw)
	if err != nil {
		return verdict{}, err
	}
	if _, err := o.echoedBy(br); err != nil {
		return verdict{}, err
	}
	v := verdict{reference: br.ID}
	if br.open() || br.Status == fulfilling {
		return v, nil
	}
	s, err := d.storyOf(br)
	if err != nil {
		return v, err
	}
	if v.facts, err = s.facts(d.adapter.now()); err != nil {
		return v, err
	}
	if s.over() {
		// The transfer failed or was canceled. It can't come back, and holds nothing.
		v.outcome, v.facts = provider.Approved, v.facts[:1]
		v.facts[0].State, v.facts[0].Refusal = provider.StateCanceled, nil
		return v, nil
	}
	v.outcome, v.refusal = provider.Declined, &refusedByState
	return v, nil
}
