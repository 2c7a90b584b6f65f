package chaos

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// payer has a payer do something on a page that they were sent to, be it long ago.
func (w *world) payer() {
	w.payments()
	if len(w.pages) == 0 {
		return
	}
	page := pick(w, w.pages)
	if w.chance(0.5) {
		page = w.pages[len(w.pages)-1]
	}
	w.answerPage(page, false)
}

// answerPage answers a page as a payer does, or as one who wants to pay.
func (w *world) answerPage(page string, willing bool) {
	object := path.Base(page)
	var outcome string
	var err error
	switch {
	case strings.Contains(page, "/_sim/3ds/"):
		outcome = w.reply("success", willing, "success", "success", "fail")
		err = w.stripe.CompleteAuthentication(object, outcome == "success")
	case strings.Contains(page, "/_sim/approve/"):
		outcome = w.reply(providersim.PayPalApproves, willing,
			providersim.PayPalApproves, providersim.PayPalApproves, providersim.PayPalCancels, providersim.PayPalDeclined,
			providersim.PayPalDenied, providersim.PayPalReview, providersim.PayPalReviewDenied, providersim.PayPalRefundPending,
			providersim.PayPalRefundFails)
		err = w.paypal.Approve(object, outcome)
	default:
		outcome = w.reply("authorise", willing, "authorise", "authorise", "fail", "exit")
		err = w.bank.CompleteFlow(object, outcome)
	}
	if err != nil {
		outcome += ", in vain"
	}
	w.did("payer at %s: %s", object, outcome)
	w.quiet()
}

// reply is what a payer does, of what there is; one who is willing mostly pays.
func (w *world) reply(pays string, willing bool, others ...string) string {
	if willing && w.chance(0.7) {
		return pays
	}
	return pick(w, others)
}

func (w *world) quiet() {
	for _, h := range w.hosts {
		h.quiet()
	}
	w.doors.mu.Lock()
	defer w.doors.mu.Unlock()
	came := w.doors.came
	w.doors.came = nil
	// Those of different payments come in no order; a schedule needs one.
	slices.SortFunc(came, func(a, b webhook) int { return bytes.Compare(a.body, b.body) })
	w.webhooks = append(w.webhooks, came...)
}

// handIn takes a webhook from those that came, not the oldest first, and hands it in.
func (w *world) handIn() {
	w.quiet()
	if len(w.webhooks) == 0 {
		return
	}
	i := w.rand.IntN(len(w.webhooks))
	h := w.webhooks[i]
	if !w.chance(0.15) { // else it comes again
		w.webhooks = slices.Delete(w.webhooks, i, i+1)
	}
	w.ingest(h)
	for _, e := range w.events() {
		if w.chance(0.9) { // else its message is lost, and the sweep finds it
			w.apply(e)
		}
	}
}

func (w *world) ingest(h webhook) {
	if _, err := w.reads("ingestwebhook").Ingest(w.ctx, h.provider, h.header, h.body); err != nil {
		w.breaks("a webhook of %s was refused: %v", h.provider, err)
	}
}

type event struct {
	ID   id.ID  `db:"id"`
	Type string `db:"type"`
}

// events are those taken in and not looked at yet.
func (w *world) events() []event {
	const stored = `SELECT id, type FROM webhook_events WHERE request_id = $1 AND state = 'stored' ORDER BY received_at, id`
	return query[event](w, stored, w.tag)
}

func (w *world) apply(e event) {
	w.did("apply %s", e.Type)
	if _, err := w.work(func() error { return w.reads("applywebhook").Apply(w.ctx, e.ID) }); err != nil {
		w.breaks("applying %s: %v", e.Type, err)
	}
}

// requestFaults are the faults of requests. The delays are of real time, and say nothing
// that hanging does not.
var requestFaults = []providersim.FaultKind{
	providersim.HangBefore, providersim.HangAfter, providersim.DropBefore, providersim.DropAfter, providersim.Error500Before,
	providersim.Error500After, providersim.RateLimited, providersim.Conflict, providersim.HTMLBefore, providersim.HTMLAfter,
	providersim.BadJSON, providersim.WrongAmount, providersim.LateError, providersim.LateDrop, providersim.LateHang,
}

// late are those after which the provider acts by and by, and doubtful those after which
// nobody knows whether it did or will.
var (
	late     = []providersim.FaultKind{providersim.LateError, providersim.LateDrop, providersim.LateHang}
	doubtful = append(slices.Clone(late), providersim.HangBefore, providersim.HangAfter, providersim.DropBefore, providersim.DropAfter,
		providersim.DropAfter, providersim.Error500Before, providersim.Error500After, providersim.HTMLAfter, providersim.BadJSON)
)

var webhookFaults = []providersim.FaultKind{
	providersim.WebhookDuplicate, providersim.WebhookDelay, providersim.WebhookReorder, providersim.WebhookLose,
}

// lossy are events that may be lost for ever: what they say is asked for until it is
// known. What changes by itself long after it was decided (an authorization that expires,
// a refund that fails, a chargeback) is known by its event alone, until reconciliation.
var lossy = map[string][]string{
	stripe.Name: {
		"payment_intent.succeeded", "payment_intent.amount_capturable_updated", "payment_intent.payment_failed",
		"payment_intent.requires_action", "payment_intent.processing", "charge.refunded", "refund.created",
	},
	paypal.Name: {
		"CHECKOUT.ORDER.APPROVED", "CHECKOUT.ORDER.APPROVED", "PAYMENT.AUTHORIZATION.CREATED", "PAYMENT.AUTHORIZATION.DENIED",
		"PAYMENT.CAPTURE.COMPLETED", "PAYMENT.CAPTURE.PENDING", "PAYMENT.CAPTURE.DENIED", "PAYMENT.CAPTURE.REFUNDED", "PAYMENT.REFUND.PENDING",
	},
	bank.Name: {
		"billing_requests.*", "payments.created", "payments.submitted", "payments.confirmed", "refunds.created", "refunds.paid",
	},
}

// hits are the operations that a fault may befall, by provider.
var hits = map[string][]providersim.Operation{
	stripe.Name: {
		"*", "*", "*", providersim.Authorize, providersim.Capture, providersim.Void, providersim.Refund, providersim.Retrieve, providersim.List,
	},
	paypal.Name: {
		"*", "*", "*", providersim.Authorize, providersim.Confirm, providersim.Confirm, providersim.Capture, providersim.Void, providersim.Refund,
		providersim.Retrieve, providersim.Token, providersim.Reauthorize,
	},
	bank.Name: {
		"*", "*", "*", providersim.Authorize, providersim.Confirm, providersim.Void, providersim.Refund, providersim.Retrieve, providersim.List,
	},
}

// lastLate is the longest that a provider may take to act on a request it did not answer,
// as the port has it: nothing that was sent two hours before a key's window closes is on
// its way after that.
//
// In some worlds providers break this rule, and act up to tooLate after. Then the core may
// have taken the absence of an effect for proven. What comes too late has lost its
// purpose, and must be given back: so nothing that tells of it may be lost there.
const (
	lastLate = 2 * time.Hour
	tooLate  = 60 * time.Hour
)

func (w *world) rule(provider string) providersim.Rule {
	if w.chance(0.2) {
		r := providersim.Rule{Fault: providersim.Fault{Kind: pick(w, webhookFaults)}}
		if w.unruly && r.Fault.Kind == providersim.WebhookLose {
			r.Fault.Kind = providersim.WebhookDelay
		}
		switch r.Fault.Kind {
		case providersim.WebhookLose:
			r.Event = pick(w, lossy[provider])
		case providersim.WebhookDuplicate:
			r.Fault.Copies = 1 + w.rand.IntN(3)
		default:
			r.Fault.For = w.between(time.Second, 48*time.Hour)
		}
		return r
	}
	r := providersim.Rule{Operation: pick(w, hits[provider]), Fault: providersim.Fault{Kind: pick(w, requestFaults)}}
	if w.unruly && w.chance(0.4) {
		r.Fault.Kind = pick(w, late)
	}
	w.harden(&r.Fault)
	return r
}

// harden says when a provider acts that acts late.
func (w *world) harden(f *providersim.Fault) {
	if slices.Contains(late, f.Kind) {
		f.For = w.between(time.Second, lastLate)
		if w.unruly && w.chance(0.6) {
			f.For = w.between(lastLate, tooLate)
		}
	}
}

// fault has something go wrong at a provider a few times.
func (w *world) fault() {
	h := pick(w, w.hosts)
	if p := w.latest(); p != nil && w.chance(0.6) {
		h = w.host(p.Provider)
	}
	r := w.rule(h.name)
	r.Skip, r.Times = w.rand.IntN(2), 1+w.rand.IntN(3)
	w.did("fault at %s: %s %s %s, %d times after %d", h.name, r.Operation, r.Event, r.Fault.Kind, r.Times, r.Skip)
	if err := h.Inject(r); err != nil {
		panic(err)
	}
}

// plan has things go wrong at a provider again and again, or no more.
func (w *world) plan() {
	h := pick(w, w.hosts)
	p := providersim.Plan{Seed: w.rand.Uint64()}
	for range w.rand.IntN(4) {
		r := w.rule(h.name)
		r.Probability = 0.05 + 0.6*w.rand.Float64()
		w.did("plan at %s: %s %s %s, %.2f", h.name, r.Operation, r.Event, r.Fault.Kind, r.Probability)
		p.Rules = append(p.Rules, r)
	}
	if len(p.Rules) == 0 {
		w.did("no plan at %s", h.name)
	}
	if err := h.SetPlan(p); err != nil {
		panic(err)
	}
}

// outage takes a provider away, or brings it back.
func (w *world) outage() {
	h := pick(w, w.hosts)
	h.away = !h.away
	w.did("%s away: %t", h.name, h.away)
}

// slowness has a provider take its time, or no more.
func (w *world) slowness() {
	h := pick(w, w.hosts)
	h.slow = time.Duration(w.rand.IntN(9)) * time.Second
	w.did("%s takes %v more", h.name, h.slow)
}

// shut has webhooks find nobody, or somebody again. Providers send them again for days.
func (w *world) shut() {
	w.doors.down = !w.doors.down
	w.did("webhooks refused: %t", w.doors.down)
}

// release deploys the service anew, now and then with other credentials of the account.
func (w *world) release() {
	if w.chance(0.5) {
		w.deployed++
		for _, h := range w.hosts {
			h.SetCredentials(credential(w.deployed), credential(w.deployed-1))
		}
	}
	if w.chance(0.5) {
		w.paypal.ExpireTokens()
	}
	w.did("deployment, credentials %d", w.deployed)
	if err := w.deploy(); err != nil {
		panic(err)
	}
}

// operator forces a circuit, or lets go of it.
func (w *world) operator() {
	h := pick(w, w.hosts)
	var err error
	switch mode := pick(w, []breaker.Mode{breaker.ForcedOpen, breaker.ForcedClosed, ""}); mode {
	case "":
		w.did("operator: %s reset", h.name)
		err = breaker.Reset(w.ctx, w.control, h.name, "chaos", "it is over", w.now())
	default:
		w.did("operator: %s %s", h.name, mode)
		err = breaker.Force(w.ctx, w.control, h.name, mode, "chaos", "to see what happens", w.now())
	}
	if err != nil {
		panic(err)
	}
}
