package paypal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// amount is money as PayPal writes it.
type amount struct {
	CurrencyCode string `json:"currency_code"`
	Value        string `json:"value"`
}

type link struct {
	Href string `json:"href"`
	Rel  string `json:"rel"`
}

// object has what orders' payments have in common.
type object struct {
	ID            string `json:"id"`
	Status        string `json:"status"`
	StatusDetails struct {
		Reason string `json:"reason"`
	} `json:"status_details"`
	Amount            amount `json:"amount"`
	CustomID          string `json:"custom_id"`
	InvoiceID         string `json:"invoice_id"`
	CreateTime        string `json:"create_time"`
	UpdateTime        string `json:"update_time"`
	ExpirationTime    string `json:"expiration_time"` // of authorizations
	SupplementaryData struct {
		RelatedIDs struct {
			OrderID string `json:"order_id"`
		} `json:"related_ids"`
	} `json:"supplementary_data"`
}

// order is an order of one purchase unit, which all of ours are.
type order struct {
	ID            string `json:"id"`
	Intent        string `json:"intent"`
	Status        string `json:"status"`
	CreateTime    string `json:"create_time"`
	UpdateTime    string `json:"update_time"`
	Links         []link `json:"links"`
	PurchaseUnits []unit `json:"purchase_units"`
}

type unit struct {
	Amount    amount `json:"amount"`
	CustomID  string `json:"custom_id"`
	InvoiceID string `json:"invoice_id"`
	Payments  struct {
		Authorizations []object `json:"authorizations"`
		Captures       []object `json:"captures"`
		Refunds        []object `json:"refunds"`
	} `json:"payments"`
}

func (o *order) unit() *unit { return &o.PurchaseUnits[0] }

// decodeOrder reads an order, strictly enough that no other object passes for one.
func decodeOrder(raw []byte) (*order, error) {
	var o order
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, fmt.Errorf("not an order: %w", err)
	}
	if o.ID == "" || o.Status == "" || o.Intent != intentAuthorize && o.Intent != intentCapture || len(o.PurchaseUnits) != 1 {
		return nil, errors.New("not an order with an id, a status, an intent and one purchase unit")
	}
	u := o.unit()
	for _, list := range [][]object{u.Payments.Authorizations, u.Payments.Captures, u.Payments.Refunds} {
		for i := range list {
			if err := list[i].check(); err != nil {
				return nil, err
			}
		}
	}
	return &o, nil
}

// decodeObject reads an authorization, a capture or a refund.
func decodeObject(raw []byte) (*object, error) {
	var p object
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("not a payment: %w", err)
	}
	return &p, p.check()
}

func (p *object) check() error {
	if p.ID == "" || p.Status == "" {
		return errors.New("not a payment with an id and a status")
	}
	return nil
}

// authorization is the one that counts: the newest, since PayPal appends those that
// were made anew. nil if there is none.
func (o *order) authorization() *object {
	all := o.unit().Payments.Authorizations
	var newest *object
	for i := range all {
		if newest == nil || !instant(all[i].CreateTime).Before(instant(newest.CreateTime)) {
			newest = &all[i]
		}
	}
	return newest
}

// capture is the one that counts: one that moved or may move money before one that
// failed. nil if there is none.
func (o *order) capture() *object {
	all := o.unit().Payments.Captures
	var found *object
	for i := range all {
		if found == nil || failedCapture(found) {
			found = &all[i]
		}
	}
	return found
}

func failedCapture(c *object) bool { return c.Status == "DECLINED" || c.Status == "FAILED" }

// refund finds a refund of ours.
func (o *order) refund(customID string) *object {
	all := o.unit().Payments.Refunds
	for i := range all {
		if all[i].CustomID == customID {
			return &all[i]
		}
	}
	return nil
}

// approvePage is where the payer approves the order.
func (o *order) approvePage() string {
	for _, l := range o.Links {
		if l.Rel == "payer-action" || l.Rel == "approve" {
			return l.Href
		}
	}
	return ""
}

// instant reads a time of PayPal's; zero if it is none.
func instant(s string) time.Time {
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t.UTC()
}
