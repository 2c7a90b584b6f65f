package payment

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Each fault of the provider at each operation: whatever the caller was told, the
// payment ends where the provider says it is, with one effect, and with proof.
func TestFaultsAtEveryOperation(t *testing.T) {
	t.Parallel()
	faults := []providersim.FaultKind{
		providersim.DropBefore, providersim.DropAfter, providersim.Error500Before, providersim.Error500After,
		providersim.RateLimited, providersim.Conflict, providersim.HTMLBefore, providersim.HTMLAfter, providersim.BadJSON,
		providersim.WrongAmount, providersim.LateError, providersim.LateDrop,
	}
	for _, op := range []providersim.Operation{providersim.Authorize, providersim.Capture, providersim.Void, providersim.Refund} {
		for _, f := range faults {
			t.Run(fmt.Sprintf("%s/%s", op, f), func(t *testing.T) {
				t.Parallel()
				faultAt(t, op, f)
			})
		}
	}
}

func faultAt(t *testing.T, op providersim.Operation, kind providersim.FaultKind) {
	r := newRig(t)
	var p View
	if op != providersim.Authorize {
		p = r.pay(r.params(Manual))
	}
	if op == providersim.Refund {
		r.must(r.capture(p, nil))
	}
	r.inject(op, kind)
	switch op {
	case providersim.Authorize:
		a := r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual)))
		if a.Status == http.StatusServiceUnavailable {
			p.ID = decode[struct {
				PaymentID string `json:"payment_id"`
			}](t, a).PaymentID
		} else {
			p = decode[View](t, a)
		}
		if kind != providersim.WrongAmount && p.Status == Failed {
			t.Errorf("a doubtful answer made the payment FAILED: %s", a.Body)
		}
	case providersim.Capture:
		r.must(r.capture(p, minor(3000)))
	case providersim.Void:
		r.must(r.cancel(p))
	case providersim.Refund:
		r.must(r.refundOf(p, minor(2000)))
	}
	r.pass(3*time.Hour, 5*time.Minute)
	r.pass(24*time.Hour, time.Hour) // past the key window
	got := r.get(p)
	kindOf := map[providersim.Operation]providersim.EffectKind{
		providersim.Authorize: providersim.EffectAuthorize, providersim.Capture: providersim.EffectCapture,
		providersim.Void: providersim.EffectVoid, providersim.Refund: providersim.EffectRefund,
	}
	done := r.effects(p)[kindOf[op]]
	if got.PendingOperation != nil || done > 1 {
		t.Fatalf("in the end %s is pending, the provider did it %d times: %+v", deref(got.PendingOperation), done, got)
	}
	booked := map[providersim.Operation]bool{
		providersim.Authorize: got.Status == Authorized, providersim.Capture: got.CapturedAmount == 3000,
		providersim.Void: got.Status == Canceled, providersim.Refund: got.RefundedAmount == 2000,
	}[op]
	if booked != (done == 1) {
		t.Errorf("booked %v, but the provider did it %d times: %+v", booked, done, got)
	}
	if n := r.count(`SELECT count(*) FROM transaction_saga WHERE rule IS NOT NULL AND evidence_id IS NULL`); n > 0 {
		t.Errorf("%d resolutions without evidence", n)
	}
	r.fold()
	r.gapless()
}

// Done-when 4: a tenth of the replies is lost after the provider acted.
func TestTwoThousandPaymentsWithLostReplies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.sim.SetPlan(providersim.Plan{Seed: 7, Rules: []providersim.Rule{
		{Probability: 0.1, Fault: providersim.Fault{Kind: providersim.DropAfter}},
	}}); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(16)
	for range 2000 {
		req := r.key("/v1/payments")
		g.Go(func() error {
			a, err := r.Create(t.Context(), r.caller, req, r.params(Automatic))
			if err != nil {
				return err
			}
			if a.Status != http.StatusCreated && a.Status != http.StatusAccepted {
				return fmt.Errorf("answered %d %s", a.Status, a.Body)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := r.count(`SELECT count(*) FROM transaction_saga WHERE state = 'unknown'`); n < 100 {
		t.Fatalf("only %d outcomes were in doubt: the faults did not bite", n)
	}
	r.pass(time.Hour, 10*time.Minute)
	if n := r.count(`SELECT count(*) FROM transactions WHERE status = 'CAPTURED'`); n != 2000 {
		t.Errorf("%d payments CAPTURED, want all 2000: %v", n, r.strings(`SELECT status || ' ' || count(*) FROM transactions GROUP BY status`))
	}
	if n := r.count(`SELECT count(*) FROM transaction_saga WHERE state <> 'done'`); n != 0 {
		t.Errorf("%d operations still open", n)
	}
	charges := map[string]int{}
	for _, e := range r.sim.Effects() {
		if e.Kind == providersim.EffectCapture {
			charges[e.Metadata["tollgate_payment"]]++
		}
	}
	for p, n := range charges {
		if n != 1 {
			t.Errorf("payment %s was charged %d times", p, n)
		}
	}
	if len(charges) != 2000 {
		t.Errorf("%d payments were charged", len(charges))
	}
	r.fold()
	r.gapless()
}

// offline is a rig whose provider can't be connected to until online is called.
func offline(t *testing.T) (r *rig, online func()) {
	t.Helper()
	c := clock.NewFrozen(epoch)
	sim := providersim.NewStripe(providersim.StripeConfig{Now: c.Now, SecretKeys: []string{"sk_test_sim"}})
	t.Cleanup(sim.Close)
	reserved, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := reserved.Addr().String()
	if err := reserved.Close(); err != nil { // from here on, connections are refused
		t.Fatal(err)
	}
	r = newRigOn(t, c, sim, "http://"+addr, pgtest.Pool(t))
	return r, func() {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: sim}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close() })
	}
}

type unavailable struct {
	Code      string    `json:"code"`
	PaymentID string    `json:"payment_id"`
	WillRetry bool      `json:"will_retry"`
	ExpiresAt time.Time `json:"expires_at"`
	Links     struct {
		Cancel string `json:"cancel"`
	} `json:"links"`
}

func TestWhatProvablyNeverLeftIsSentLater(t *testing.T) {
	t.Parallel()
	r, online := offline(t)
	req := r.key("/v1/payments")
	a := r.must(r.Create(t.Context(), r.caller, req, r.params(Manual)))
	u := decode[unavailable](t, a)
	if a.Status != http.StatusServiceUnavailable || u.Code != "STRIPE_UNAVAILABLE" || !u.WillRetry ||
		u.Links.Cancel != "/v1/payments/"+u.PaymentID+"/cancel" || !u.ExpiresAt.Equal(epoch.Add(15*time.Minute)) {
		t.Fatalf("while the provider is away: %d %s", a.Status, a.Body)
	}
	p := r.get(View{ID: u.PaymentID})
	if p.Status != Pending || deref(p.PendingOperation) != "authorize" {
		t.Errorf("meanwhile: %+v", p)
	}
	again := r.must(r.Create(t.Context(), r.caller, req, r.params(Manual)))
	if again.Status != http.StatusAccepted {
		t.Errorf("the same request meanwhile: %d %s", again.Status, again.Body)
	}
	online()
	r.pass(5*time.Minute, 30*time.Second)
	if p = r.get(p); p.Status != Authorized || r.effects(p)[providersim.EffectAuthorize] != 1 {
		t.Errorf("when the provider was back: %+v, effects %v", p, r.effects(p))
	}
	r.fold()
}

func TestWhatNeverLeftExpiresUnsent(t *testing.T) {
	t.Parallel()
	r, _ := offline(t)
	u := decode[unavailable](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	r.pass(16*time.Minute, time.Minute)
	p := r.get(View{ID: u.PaymentID})
	if p.Status != Canceled || p.Failure == nil || p.Failure.Code != "expired" {
		t.Errorf("after expires_at: %+v", p)
	}
	r.wantEvents(p, event.PaymentCanceled)
	r.fold()
}

func TestAnUnsentPaymentIsCancelledAtOnce(t *testing.T) {
	t.Parallel()
	r, online := offline(t)
	u := decode[unavailable](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	p := View{ID: u.PaymentID}
	if a := r.must(r.cancel(p)); a.Status != http.StatusOK || decode[View](t, a).Status != Canceled {
		t.Fatalf("cancelled: %d %s", a.Status, a.Body)
	}
	online()
	r.pass(time.Hour, 10*time.Minute)
	if got := r.sim.Effects(); len(got) != 0 {
		t.Errorf("the provider did %v after the cancellation", got)
	}
	r.fold()
}

// A success that comes for a payment that has ended is undone, and proven undone.
func TestLateSuccessIsReleased(t *testing.T) {
	t.Parallel()
	for _, method := range []CaptureMethod{Manual, Automatic} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			p := r.pay(r.params(method))
			// As if the payment had ended before its success was heard of.
			r.rewind(Failed)
			r.webhook(p)
			if got := r.get(p); got.Status != Failed {
				t.Fatalf("the late success moved the payment: %+v", got)
			}
			if n := r.count(`SELECT count(*) FROM obligations WHERE state = 'open'`); n == 0 {
				t.Fatal("no obligation was opened")
			}
			r.carryOn()
			r.pass(time.Hour, 10*time.Minute)
			want := map[CaptureMethod]providersim.EffectKind{Manual: providersim.EffectVoid, Automatic: providersim.EffectRefund}[method]
			if got := r.effects(p)[want]; got != 1 {
				t.Errorf("the provider's %s was done %d times", want, got)
			}
			if open := r.count(`SELECT count(*) FROM obligations WHERE state = 'open'`); open != 0 {
				t.Errorf("%d obligations still open", open)
			}
			if n := r.count(`SELECT count(*) FROM obligations WHERE proof_id IS NULL`); n != 0 {
				t.Errorf("%d obligations without proof", n)
			}
		})
	}
}

// rewind sets a payment to a final status as if its success had not been heard of,
// past all triggers: what it stands for can't be brought about on purpose.
func (r *rig) rewind(to Status) {
	r.t.Helper()
	_, err := r.Pool.Exec(r.t.Context(), `
		SET session_replication_role = replica;
		DELETE FROM provider_facts; DELETE FROM unsettled_entries; DELETE FROM ledger_entries; DELETE FROM ledger_postings;
		UPDATE transactions SET status = '`+string(to)+`', authorized_minor = 0, captured_minor = 0;
		SET session_replication_role = origin`)
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestAnUnknownPredecessorIsResolvedFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(providersim.Authorize, providersim.DropAfter)
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	if p.Status != Pending {
		t.Fatalf("created: %+v", p)
	}
	a := r.must(r.capture(p, nil)) // resolves the authorization by itself, then captures
	if v := decode[View](t, a); a.Status != http.StatusOK || v.Status != Captured {
		t.Errorf("captured: %d %s", a.Status, a.Body)
	}

	r.inject(providersim.Authorize, providersim.DropAfter)
	q := decode[View](t, r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), r.params(Manual))))
	if err := r.sim.SetPlan(providersim.Plan{Rules: []providersim.Rule{{Fault: providersim.Fault{Kind: providersim.DropBefore}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.cancel(q); !fault.Is(err, fault.OutcomeUnknown) || fault.As(err).Retry == 0 {
		t.Errorf("cancelling what is not known: %v", err)
	}
}

// When the bytes of an answer have expired, it is rebuilt from the payment, and the
// key still never charges again.
func TestAnswersAreRebuiltWhenTheirBytesHaveExpired(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	req := r.key("/v1/payments")
	first := r.must(r.Create(t.Context(), r.caller, req, r.params(Manual)))
	p := decode[View](t, first)
	captureKey := r.key("/capture")
	captured := r.must(r.Capture(t.Context(), r.caller, captureKey, paymentID(t, p), CaptureParams{}))
	refundKey := r.key("/refund")
	refunded := r.must(r.Refund(t.Context(), r.caller, refundKey, paymentID(t, p), RefundParams{Amount: minor(100)}))
	if n, err := idempotency.ExpireBodies(t.Context(), r.Pool, r.Now().Add(25*time.Hour), 100); n != 3 || err != nil {
		t.Fatalf("%d bodies expired, %v", n, err)
	}
	before := len(r.sim.Effects())
	again := r.must(r.Create(t.Context(), r.caller, req, r.params(Manual)))
	if again.Status != first.Status || !again.Replayed || decode[View](t, again).ID != p.ID {
		t.Errorf("the create again: %d %s", again.Status, again.Body)
	}
	again = r.must(r.Capture(t.Context(), r.caller, captureKey, paymentID(t, p), CaptureParams{}))
	if again.Status != captured.Status || !again.Replayed || decode[View](t, again).CapturedAmount != 5000 {
		t.Errorf("the capture again: %d %s", again.Status, again.Body)
	}
	again = r.must(r.Refund(t.Context(), r.caller, refundKey, paymentID(t, p), RefundParams{Amount: minor(100)}))
	if again.Status != refunded.Status || !again.Replayed || string(again.Body) != string(refunded.Body) {
		t.Errorf("the refund again: %d %s", again.Status, again.Body)
	}
	if got := len(r.sim.Effects()); got != before {
		t.Errorf("the provider did %d more things", got-before)
	}
}
