package paypal

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

func eventOf(kind string, resource fields) []byte {
	return []byte(text(fields{"id": "WH-1", "event_type": kind, "create_time": "2026-11-23T11:59:00.123Z", "resource": resource}))
}

func related(f fields) fields {
	return with(f, fields{"supplementary_data": fields{"related_ids": fields{"order_id": ourOrder}}})
}

func TestParseEvent(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, "https://api-m.sandbox.paypal.com", Options{})
	for name, c := range map[string]struct {
		body              []byte
		object, reference string
		facts             string
		payment           id.ID
	}{
		"approved":        {eventOf("CHECKOUT.ORDER.APPROVED", orderIn("APPROVED", nil)), ourOrder, ourOrder, "authorization.approved " + ourOrder, ourPayment},
		"completed":       {eventOf("CHECKOUT.ORDER.COMPLETED", orderIn("COMPLETED", nil)), ourOrder, ourOrder, "", ourPayment},
		"authorized":      {eventOf("PAYMENT.AUTHORIZATION.CREATED", related(paid("AU", "CREATED"))), "AU", ourOrder, "authorization.authorized " + ourOrder, ourPayment},
		"voided":          {eventOf("PAYMENT.AUTHORIZATION.VOIDED", related(paid("AU", "VOIDED"))), "AU", ourOrder, "authorization.canceled " + ourOrder, ourPayment},
		"of no order":     {eventOf("PAYMENT.AUTHORIZATION.VOIDED", paid("AU", "VOIDED")), "AU", "", "", ourPayment},
		"captured":        {eventOf("PAYMENT.CAPTURE.COMPLETED", related(paid("CA", "COMPLETED"))), "CA", ourOrder, "capture.succeeded CA", ourPayment},
		"capture denied":  {eventOf("PAYMENT.CAPTURE.DENIED", related(paid("CA", "DECLINED"))), "CA", ourOrder, "capture.failed CA", ourPayment},
		"refunded":        {eventOf("PAYMENT.CAPTURE.REFUNDED", refundIn("COMPLETED")), "RE", "", "refund.succeeded RE", ourPayment},
		"refund failed":   {eventOf("PAYMENT.REFUND.FAILED", refundIn("FAILED")), "RE", "", "refund.failed RE", ourPayment},
		"somebody else's": {eventOf("PAYMENT.CAPTURE.COMPLETED", with(paid("CA", "COMPLETED"), fields{"custom_id": "cart-7"})), "CA", "", "", id.ID{}},
		"something else":  {eventOf("BILLING.SUBSCRIPTION.CREATED", fields{"id": "I-1", "status": 7}), "I-1", "", "", id.ID{}},
	} {
		e, err := a.ParseEvent(c.body)
		if err != nil || e.ObjectID != c.object || e.Reference != c.reference || shown(e.Facts) != c.facts || e.PaymentID != c.payment {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
		if e.ID != "WH-1" || e.Account != "sandbox" || !e.OccurredAt.Equal(time.Date(2026, 11, 23, 11, 59, 0, 123e6, time.UTC)) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	for name, body := range map[string][]byte{
		"no JSON":        []byte("<html>"),
		"no id":          []byte(`{"event_type":"X","create_time":"2026-11-23T11:59:00Z"}`),
		"no time":        []byte(`{"id":"WH-1","event_type":"X"}`),
		"strange status": eventOf("PAYMENT.CAPTURE.COMPLETED", related(paid("CA", "SHINY"))),
		"strange amount": eventOf("PAYMENT.CAPTURE.COMPLETED", related(with(paid("CA", "COMPLETED"), fields{"amount": worth("1.5")}))),
		"no order":       eventOf("CHECKOUT.ORDER.APPROVED", fields{"id": "O"}),
	} {
		if e, err := ParseEvent(body); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add(eventOf("CHECKOUT.ORDER.APPROVED", capturedIn("COMPLETED")))
	f.Add(eventOf("PAYMENT.AUTHORIZATION.CREATED", related(paid("AU", "CREATED"))))
	f.Add(eventOf("PAYMENT.CAPTURE.REFUNDED", refundIn("PENDING")))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := ParseEvent(body)
		if err != nil {
			return
		}
		if e.ID == "" || e.Type == "" || e.OccurredAt.IsZero() {
			t.Errorf("an event without its id, type or time: %+v", e)
		}
		for _, fact := range e.Facts {
			if fact.Rank() == 0 || fact.ObjectID == "" || fact.PaymentID != e.PaymentID && fact.Kind != provider.KindRefund || fact.Amount.Minor < 0 {
				t.Errorf("an impossible fact: %+v", fact)
			}
		}
	})
}
