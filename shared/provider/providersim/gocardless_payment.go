package providersim

import (
	"encoding/json"
	"slices"
	"time"
)

// gcPayment is the transfer that a fulfilled billing request made.
type gcPayment struct {
	head
	request  *gcRequest
	status   string // pending_submission, submitted, confirmed, paid_out, failed, charged_back
	before   string // the status that a chargeback has changed
	refunded int64
	metadata map[string]string
}

func (p *gcPayment) header() *head { return &p.head }

// gcRefund gives money of a payment back.
type gcRefund struct {
	head
	payment   *gcPayment
	amount    int64
	status    string // created, paid, bounced
	metadata  map[string]string
	reference string
}

func (r *gcRefund) header() *head { return &r.head }

// fulfil is what the payer's authorization does. The caller holds the lock.
func (s *GoCardless) fulfil(f *gcFlow) {
	br := f.request
	p := &gcPayment{request: br, status: "pending_submission", metadata: br.paymentMetadata}
	s.keep("PM", p)
	s.payments = append(s.payments, p)
	br.status, br.payment = "fulfilled", p
	s.effect(br.cause, EffectAuthorize, br, p.id, br.amount, nil)
	fulfilled := br.news("fulfilled")
	fulfilled.links = object{"billing_request": br.id, "billing_request_flow": f.id, "payment_request_payment": p.id}
	s.tell(br, fulfilled, br.news("bank_authorisation_authorised"), p.news("created", "payment_created"))
	s.later(s.cfg.SubmitDelay, func() { s.submit(p) })
}

// later does something to the account at a later time.
func (s *GoCardless) later(after time.Duration, do func()) {
	s.schedule(s.now().Add(after), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		do()
	})
}

func (s *GoCardless) submit(p *gcPayment) {
	p.status = "submitted"
	s.tell(p.request, p.news("submitted", "payment_submitted"))
	wait := s.cfg.ConfirmDelay
	if p.request.amount == GoCardlessSlow {
		wait += goCardlessSlowness
	}
	s.later(wait, func() { s.confirm(p) })
}

func (s *GoCardless) confirm(p *gcPayment) {
	if p.request.amount == GoCardlessFails {
		p.status = "failed"
		s.tell(p.request, p.news("failed", "insufficient_funds"))
		return
	}
	p.status = "confirmed"
	s.effect(cause{}, EffectCapture, p.request, p.id, p.request.amount, nil)
	s.charge(p)
	s.tell(p.request, p.news("confirmed", "payment_confirmed"))
	s.later(s.cfg.PayOutDelay, func() { s.conclude(p) })
}

// conclude pays out, or takes a confirmed payment back.
func (s *GoCardless) conclude(p *gcPayment) {
	if p.status != "confirmed" {
		return // it was charged back before
	}
	switch p.request.amount {
	case GoCardlessFailsLate:
		p.status = "failed"
		s.takeBack(moveLateFailure, p)
		s.effect(cause{}, EffectCaptureReversed, p.request, p.id, p.request.amount, nil)
		s.tell(p.request, p.news("failed", "bank_account_closed"), p.news("late_failure_settled", "late_failure_settled"))
	case GoCardlessChargedBack:
		s.chargeBack(p, "authorisation_disputed")
	default:
		p.status = "paid_out"
		s.tell(p.request, p.news("paid_out", "payment_paid_out"))
	}
}

func (s *GoCardless) createRefund(c *gcCall) (any, *gcError) {
	var in struct {
		Amount                  int64             `json:"amount"`
		TotalAmountConfirmation *int64            `json:"total_amount_confirmation"`
		Reference               string            `json:"reference"`
		Metadata                map[string]string `json:"metadata"`
		Links                   map[string]string `json:"links"`
	}
	if problem := c.read("refunds", &in); problem != nil {
		return nil, problem
	}
	if problem := checkGCMetadata(in.Metadata); problem != nil {
		return nil, problem
	}
	p, ok := s.objects[in.Links["payment"]].(*gcPayment)
	switch {
	case !ok:
		return nil, gcInvalid("links", "payment does not exist")
	case in.Amount < 1:
		return nil, gcInvalid("amount", "must be greater than 0")
	case in.TotalAmountConfirmation == nil:
		return nil, gcInvalid("total_amount_confirmation", "must be given")
	case p.status != "confirmed" && p.status != "paid_out":
		return nil, gcState("refund_payment_invalid_state", "A payment that is %s can't be refunded", p.status)
	case p.refunded+in.Amount != *in.TotalAmountConfirmation:
		problem := gcInvalid("total_amount_confirmation", "does not match the total amount refunded")
		problem.reason = "total_amount_confirmation_invalid"
		return nil, problem
	case *in.TotalAmountConfirmation > p.request.amount:
		return nil, gcInvalid("amount", "is more than the payment has left")
	}
	r := &gcRefund{payment: p, amount: in.Amount, status: "created", metadata: merged(in.Metadata, nil), reference: in.Reference}
	s.keep("RF", r)
	s.refunds = append(s.refunds, r)
	p.refunded += r.amount
	s.effect(c.cause(), EffectRefund, p.request, r.id, r.amount, r.metadata)
	s.move(moveRefund, p.request, r.id, -r.amount, 0, 0)
	s.tell(p.request, r.news("created", "refund_created"))
	s.later(s.cfg.RefundDelay, func() { s.pay(r) })
	return r.render(), nil
}

func (s *GoCardless) pay(r *gcRefund) {
	r.status = "paid"
	s.tell(r.payment.request, r.news("paid", "refund_paid"))
	if r.payment.request.amount == GoCardlessRefundBounces {
		s.later(s.cfg.RefundDelay, func() { s.bounce(r) })
	}
}

func (s *GoCardless) bounce(r *gcRefund) {
	r.status = "bounced"
	r.payment.refunded -= r.amount
	s.effect(cause{}, EffectRefundReversed, r.payment.request, r.id, r.amount, r.metadata)
	s.move(moveRefundFailed, r.payment.request, r.id, r.amount, 0, 0)
	s.tell(r.payment.request, r.news("funds_returned", "refund_funds_returned"))
}

func (s *GoCardless) listPayments(c *gcCall) (any, *gcError) {
	status := c.query.Get("status")
	return gcPage(s, c, s.payments, []string{"status"}, func(p *gcPayment) bool { return status == "" || p.status == status })
}

func (s *GoCardless) listRefunds(c *gcCall) (any, *gcError) {
	payment := c.query.Get("payment")
	return gcPage(s, c, s.refunds, []string{"payment"}, func(r *gcRefund) bool { return payment == "" || r.payment.id == payment })
}

func (s *GoCardless) listEvents(c *gcCall) (any, *gcError) {
	return gcPage(s, c, s.events, []string{"payment", "billing_request", "refund", "resource_type", "action"}, func(e *gcEvent) bool {
		for _, name := range []string{"payment", "billing_request", "refund"} {
			if want := c.query.Get(name); want != "" && str(e.links[name]) != want {
				return false
			}
		}
		kind, action := c.query.Get("resource_type"), c.query.Get("action")
		return (kind == "" || e.kind == kind) && (action == "" || e.action == action)
	})
}

func (p *gcPayment) render() any {
	return object{
		"id": p.id, "created_at": p.created.UTC().Format(goCardlessTime), "charge_date": p.created.UTC().Format(time.DateOnly),
		"amount": p.request.amount, "amount_refunded": p.refunded, "currency": p.request.currency, "status": p.status,
		"description": orNil(p.request.description), "reference": nil, "scheme": p.request.scheme, "metadata": p.metadata,
		"fx": object{"exchange_rate": nil}, "retry_if_possible": false, "links": object{"creditor": "CR123"},
	}
}

func (r *gcRefund) render() any {
	return object{
		"id": r.id, "created_at": r.created.UTC().Format(goCardlessTime), "amount": r.amount, "currency": r.payment.request.currency,
		"status": r.status, "reference": orNil(r.reference), "metadata": r.metadata, "fx": object{"exchange_rate": nil},
		"links": object{"payment": r.payment.id},
	}
}

// gcNews is an event to be: something that happened to an object.
type gcNews struct {
	kind, action, cause string
	links               object
	metadata            map[string]string // of the object
}

func (br *gcRequest) news(action string) gcNews {
	return gcNews{"billing_requests", action, "billing_request_" + action, object{"billing_request": br.id}, br.metadata}
}

func (p *gcPayment) news(action, cause string) gcNews {
	return gcNews{"payments", action, cause, object{"payment": p.id}, p.metadata}
}

func (r *gcRefund) news(action, cause string) gcNews {
	return gcNews{"refunds", action, cause, object{"refund": r.id, "payment": r.payment.id}, r.metadata}
}

// gcEvent is something that happened. It says of which object, and nothing of its
// state.
type gcEvent struct {
	head
	gcNews
}

func (e *gcEvent) header() *head { return &e.head }

// tell records what happened at one instant about a billing request, and sends it as
// one webhook. The caller holds the lock, so that webhooks are in order.
func (s *GoCardless) tell(br *gcRequest, news ...gcNews) {
	var rendered []any
	for _, n := range news {
		e := &gcEvent{gcNews: n}
		s.keep("EV", e)
		s.events = append(s.events, e)
		rendered = append(rendered, e.render())
	}
	payload, err := json.Marshal(object{"events": rendered, "meta": object{"webhook_id": s.ids.next("WB")}})
	if err != nil {
		panic("providersim: " + err.Error()) // only our own types come here
	}
	s.sender.send(hook{lane: br.id, event: news[0].kind + "." + news[0].action, payload: payload, created: s.now()}, br.metadata)
}

func (e *gcEvent) render() any {
	origins := []string{"paid_out", "confirmed", "submitted", "paid"}
	origin := "api"
	if slices.Contains(origins, e.action) {
		origin = "gocardless"
	}
	return object{
		"id": e.id, "created_at": e.created.UTC().Format(goCardlessTime), "resource_type": e.kind, "action": e.action,
		"details":  object{"origin": origin, "cause": e.cause, "description": "Simulated: " + e.cause},
		"metadata": object{}, "resource_metadata": e.metadata, "links": e.links,
	}
}
