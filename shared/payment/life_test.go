package payment

import (
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func TestLifeOfAManualPayment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	if p.Status != Authorized || p.AuthorizedAmount != 5000 || p.Version != 2 || p.PendingOperation != nil || p.ProviderTransactionID == nil {
		t.Fatalf("created: %+v", p)
	}
	a := r.must(r.capture(p, minor(3000)))
	if p = decode[View](t, a); a.Status != http.StatusOK || p.Status != Captured || p.CapturedAmount != 3000 || *p.PreviousStatus != Authorized {
		t.Fatalf("captured: %d %+v", a.Status, p)
	}
	a = r.must(r.refundOf(p, minor(1000)))
	if re := decode[RefundView](t, a); a.Status != http.StatusCreated || re.Status != RefundSucceeded || re.Amount != 1000 {
		t.Fatalf("refunded: %d %s", a.Status, a.Body)
	}
	r.must(r.refundOf(p, nil))
	p = r.get(p)
	if p.Status != Refunded || p.RefundedAmount != 3000 || p.RefundableAmount != 0 || len(*p.Refunds) != 2 {
		t.Errorf("in the end: %+v", p)
	}
	r.wantEvents(p, event.PaymentAuthorized, event.PaymentCaptured, event.RefundCreated, event.RefundSucceeded,
		event.RefundCreated, event.RefundSucceeded, event.PaymentRefunded)
	if got := r.effects(p); got[providersim.EffectAuthorize] != 1 || got[providersim.EffectCapture] != 1 || got[providersim.EffectRefund] != 2 {
		t.Errorf("effects at the provider: %v", got)
	}
	r.fold()
	r.gapless()
}

func TestAutomaticCaptureIsOneVersion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Automatic))
	if p.Status != Captured || p.Version != 2 || p.CapturedAmount != 5000 || *p.PreviousStatus != Pending {
		t.Fatalf("created: %+v", p)
	}
	r.wantEvents(p, event.PaymentCaptured)
	if got := r.strings(`SELECT action FROM transaction_audit_log WHERE kind = 'change' AND version = 2`); len(got) != 1 || got[0] != "authorization.authorized,capture.succeeded" {
		t.Errorf("the audit row names %v, want both moves", got)
	}
	r.fold()
}

func TestADeclineIsAnAnswerAndItsObjectIsCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Manual)
	in.PaymentMethod = "pm_card_chargeDeclinedInsufficientFunds"
	a := r.must(r.Create(t.Context(), r.caller, r.key("/v1/payments"), in))
	p := decode[View](t, a)
	if a.Status != http.StatusCreated || p.Status != Failed || p.Failure == nil || p.Failure.Code != "insufficient_funds" {
		t.Fatalf("declined: %d %s", a.Status, a.Body)
	}
	r.wantEvents(p, event.PaymentFailed)
	if n := r.count(`SELECT count(*) FROM obligations WHERE state = 'open'`); n != 1 {
		t.Fatalf("%d open obligations, want the one to cancel the provider's object", n)
	}
	r.carryOn()
	if n := r.count(`SELECT count(*) FROM obligations WHERE state = 'done' AND proof_id IS NOT NULL`); n != 1 {
		t.Errorf("the obligation is not proven done")
	}
	if r.get(p).Status != Failed {
		t.Error("the cancellation of the provider's object moved the payment")
	}
	r.fold()
}

func TestCancelVoidsTheAuthorization(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	a := r.must(r.cancel(p))
	if p = decode[View](t, a); a.Status != http.StatusOK || p.Status != Canceled {
		t.Fatalf("cancelled: %d %s", a.Status, a.Body)
	}
	if got := r.effects(p); got[providersim.EffectVoid] != 1 {
		t.Errorf("effects at the provider: %v", got)
	}
	_, err := r.capture(p, nil)
	if !fault.Is(err, fault.InvalidState) || fault.As(err).Extra["current_status"] != Canceled {
		t.Errorf("capturing it then: %v", err)
	}
	if n := r.count(`SELECT count(*) FROM transaction_audit_log WHERE kind = 'refused'`); n != 1 {
		t.Errorf("%d audit rows of refused moves, want 1", n)
	}
	r.wantEvents(p, event.PaymentAuthorized, event.PaymentCanceled)
	r.fold()
}

func TestThreeDSecure(t *testing.T) {
	t.Parallel()
	for name, success := range map[string]bool{"success": true, "failure": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			in := r.params(Manual)
			in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
			req := r.key("/v1/payments")
			a := r.must(r.Create(t.Context(), r.caller, req, in))
			p := decode[View](t, a)
			if a.Status != http.StatusAccepted || p.Status != Pending || p.NextAction == nil || p.NextAction.RedirectURL == "" {
				t.Fatalf("created: %d %s", a.Status, a.Body)
			}
			if err := r.sim.CompleteAuthentication(*p.ProviderTransactionID, success); err != nil {
				t.Fatal(err)
			}
			r.pass(time.Minute, 10*time.Second)
			want := map[bool]Status{true: Authorized, false: Failed}[success]
			if p = r.get(p); p.Status != want || p.NextAction != nil || p.PendingOperation != nil {
				t.Errorf("after the payer came back: %+v", p)
			}
			again := r.must(r.Create(t.Context(), r.caller, req, in))
			if again.Status != http.StatusCreated || !again.Replayed || decode[View](t, again).Status != want {
				t.Errorf("the same request again: %d %s", again.Status, again.Body)
			}
			r.fold()
		})
	}
}

func TestAPayersPaymentCanBeCancelledMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Automatic)
	in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
	req := r.key("/v1/payments")
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, req, in)))
	if a := r.must(r.cancel(p)); a.Status != http.StatusOK || decode[View](t, a).Status != Canceled {
		t.Fatalf("cancelled: %d %s", a.Status, a.Body)
	}
	if err := r.sim.CompleteAuthentication(*p.ProviderTransactionID, true); err == nil {
		t.Error("the payer could still confirm")
	}
	again := r.must(r.Create(t.Context(), r.caller, req, in))
	if again.Status != http.StatusCreated || decode[View](t, again).Status != Canceled {
		t.Errorf("the create again: %d %s", again.Status, again.Body)
	}
	r.fold()
}

func TestAnAuthorizationExpiresAtTheProvider(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	if p.CaptureBefore == nil {
		t.Fatal("the provider's capture_before is not shown")
	}
	if err := r.clock.Advance(t.Context(), 8*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	r.sim.RunDue(t.Context())
	a := r.must(r.capture(p, nil))
	if a.Status != http.StatusUnprocessableEntity {
		t.Errorf("capturing after expiry: %d %s", a.Status, a.Body)
	}
	if p = r.get(p); p.CapturedAmount != 0 || p.PendingOperation != nil {
		t.Errorf("after it: %+v", p)
	}
	r.fold()
}

func TestRefundThatFailsLaterGivesTheMoneyBackToThePayment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Automatic)
	in.PaymentMethod = "pm_card_pendingRefund"
	p := r.pay(in)
	a := r.must(r.refundOf(p, nil))
	if a.Status != http.StatusAccepted || decode[RefundView](t, a).Status != RefundPending {
		t.Fatalf("refund: %d %s", a.Status, a.Body)
	}
	if _, err := r.refundOf(p, minor(1)); !fault.Is(err, fault.AmountExceeds) {
		t.Errorf("refunding beyond the reservation: %v", err)
	}
	r.pass(2*time.Hour, 10*time.Minute)
	if p = r.get(p); p.Status != Refunded || (*p.Refunds)[0].Status != RefundSucceeded {
		t.Errorf("in the end: %+v", p)
	}
	r.fold()
}

func TestAPayerWhoNeverComesBackIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := r.params(Automatic)
	in.PaymentMethod, in.ReturnURL = "pm_card_authenticationRequired", "https://shop.example/back"
	req := r.key("/v1/payments")
	p := decode[View](t, r.must(r.Create(t.Context(), r.caller, req, in)))
	r.pass(23*time.Hour, time.Hour)
	if got := r.get(p); got.Status != Pending {
		t.Fatalf("given up after 23 hours: %+v", got)
	}
	r.pass(3*time.Hour, time.Hour)
	if got := r.get(p); got.Status != Canceled || got.PendingOperation != nil {
		t.Errorf("after 26 hours: %+v", got)
	}
	if err := r.sim.CompleteAuthentication(*p.ProviderTransactionID, true); err == nil {
		t.Error("the payer could still confirm")
	}
	if a := r.must(r.Create(t.Context(), r.caller, req, in)); a.Status != http.StatusCreated {
		t.Errorf("the create again: %d %s", a.Status, a.Body)
	}
	r.fold()
}
