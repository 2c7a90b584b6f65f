package crash

import (
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// operation is something that a function does with a provider, with what must be true in the end.
type operation struct {
	name, function string
	prepare        func(*rig) trigger
	points         []string
	patience       time.Duration // by when it is done, although nobody asks again
	effect         providersim.EffectKind
	status         string // of the payment
	event          string
}

// trigger is what sets an operation off: a merchant's request, or what the payer of a payment does.
type trigger struct {
	request   request
	payer     func()
	paymentID string
}

const (
	soon   = 3 * time.Minute  // the sweep comes each minute; a lease lasts half of one
	inTime = 20 * time.Minute // the bank's refunds take ten minutes
)

var points = []string{
	payment.PointClaiming, payment.PointClaimed, payment.PointCalled, payment.PointRecording, payment.PointRecorded, payment.PointPublish,
}

// A task claims nothing: its saga is there.
var taskPoints = []string{payment.PointCalled, payment.PointRecording, payment.PointRecorded}

var operations = []operation{
	{"create", "createpayment", func(r *rig) trigger {
		return trigger{request: r.newRequest("/v1/payments", card("manual"))}
	}, points, soon, providersim.EffectAuthorize, "AUTHORIZED", event.PaymentAuthorized},
	{"capture", "capturepayment", func(r *rig) trigger {
		return r.operate(r.do(r.newRequest("/v1/payments", card("manual"))).ID, "capture")
	}, points, soon, providersim.EffectCapture, "CAPTURED", event.PaymentCaptured},
	{"cancel", "cancelpayment", func(r *rig) trigger {
		return r.operate(r.do(r.newRequest("/v1/payments", card("manual"))).ID, "cancel")
	}, points, soon, providersim.EffectVoid, "CANCELED", event.PaymentCanceled},
	{"refund", "refundpayment", func(r *rig) trigger {
		return r.operate(r.do(r.newRequest("/v1/payments", card("automatic"))).ID, "refund")
	}, points, soon, providersim.EffectRefund, "REFUNDED", event.PaymentRefunded},

	{"PayPal approval", "resumepayment", func(r *rig) trigger {
		p := r.do(r.newRequest("/v1/payments", withPayPal))
		return trigger{paymentID: p.ID, payer: func() { r.visit(p, providersim.PayPalApproves) }}
	}, taskPoints, soon, providersim.EffectAuthorize, "AUTHORIZED", event.PaymentAuthorized},
	{"PayPal capture", "capturepayment", func(r *rig) trigger {
		p := r.do(r.newRequest("/v1/payments", withPayPal))
		r.visit(p, providersim.PayPalApproves)
		r.advance(soon)
		return r.operate(p.ID, "capture")
	}, points, soon, providersim.EffectCapture, "CAPTURED", event.PaymentCaptured},
	{"transfer", "createpayment", func(r *rig) trigger {
		return trigger{request: r.newRequest("/v1/payments", transfer)}
	}, points, soon, "", "PENDING", event.PaymentRequiresAction},
	{"bank refund", "refundpayment", func(r *rig) trigger {
		p := r.do(r.newRequest("/v1/payments", transfer))
		r.visit(p, "authorise")
		r.advance(inTime)
		return r.operate(p.ID, "refund")
	}, points, inTime, providersim.EffectRefund, "REFUNDED", event.PaymentRefunded},
}

const (
	withPayPal = `{"amount":5000,"currency":"JPY","payment_method":"paypal","capture_method":"manual","return_url":"https://shop.example/back"}`
	transfer   = `{"amount":12000,"currency":"GBP","payment_method":"bank_transfer","return_url":"https://shop.example/back"}`
)

func card(capture string) string {
	return `{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","capture_method":"` + capture + `"}`
}

// operate is a merchant's request about all of a payment.
func (r *rig) operate(paymentID, verb string) trigger {
	return trigger{request: r.newRequest("/v1/payments/"+paymentID+"/"+verb, `{}`), paymentID: paymentID}
}

// visit answers for the payer at the provider's page.
func (r *rig) visit(p view, outcome string) {
	r.t.Helper()
	if a, err := shop.Visit(r.t.Context(), p.NextAction.RedirectURL, outcome); err != nil || a.Status != http.StatusSeeOther {
		r.t.Fatalf("the payer's page answered %d %s, %v", a.Status, a.Body, err)
	}
}

func TestKilledAtEveryRecoveryPoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, op := range operations {
		for _, point := range op.points {
			if ok := t.Run(op.name+"/"+point, func(t *testing.T) { r.crash(t, op, point) }); !ok {
				t.FailNow() // what follows would stumble over it
			}
		}
	}
	r.t = t
	r.foldAudit()
}

func (r *rig) crash(t *testing.T, op operation, point string) {
	r.t = t
	by := op.prepare(r)
	if err := r.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := r.count(op.effect)
	if err := os.WriteFile(r.trap, []byte(op.function+" "+point), 0o600); err != nil {
		t.Fatal(err)
	}
	r.setOff(by, point)
	r.awaitDeath()
	r.revive()
	r.advance(op.patience)

	if point != payment.PointClaiming || by.payer != nil {
		// Nobody asked again, and all the same it is carried to its end.
		if n := r.working(); n != 0 {
			t.Errorf("%d operations are still open after the sweep", n)
		}
		r.wantEffect(op, before)
	}
	if by.payer == nil {
		by.paymentID = r.askAgain(by.request)
		r.wantEffect(op, before)
	}
	r.advance(op.patience)
	if got := r.statusOf(by.paymentID); got != op.status {
		t.Errorf("the payment is %s, want %s", got, op.status)
	}
	if !slices.Contains(r.received.of(by.paymentID), op.event) {
		t.Errorf("the merchant was told %v, want %s among it", r.received.of(by.paymentID), op.event)
	}
	r.wantEffect(op, before)
}

// setOff has the operation begin, which kills the functions at the point.
func (r *rig) setOff(by trigger, point string) {
	r.t.Helper()
	if by.payer != nil {
		by.payer()
		r.advance(time.Minute)
		return
	}
	if status, answered := r.send(by.request); point != payment.PointPublish && status != 0 {
		r.t.Fatalf("killed at %s, it had answered %d %s", point, status, answered)
	}
}

// askAgain is the merchant, with the same key. It returns the payment's id.
func (r *rig) askAgain(q request) string {
	r.t.Helper()
	first := r.do(q)
	if again := r.do(q); again != first {
		r.t.Errorf("two repeats differ: %+v and %+v", first, again)
	}
	if first.PaymentID != "" {
		return first.PaymentID
	}
	return first.ID
}

// wantEffect wants the provider to have done the operation once, or not at all if there is nothing to do.
func (r *rig) wantEffect(op operation, before int) {
	r.t.Helper()
	want := 1
	if op.effect == "" {
		want = 0
	}
	if got := r.count(op.effect) - before; got != want {
		r.t.Errorf("the provider did it %d times, want %d", got, want)
	}
}
