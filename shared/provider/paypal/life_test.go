package paypal_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

func TestLife(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	a := b.attempt(r)
	made := b.first(a)
	b.expect("create", made, provider.RequiresAction)
	next := made.Facts[0].NextAction
	if next == nil || next.Type != "redirect_to_url" || !strings.Contains(next.RedirectURL, made.Reference) {
		t.Fatalf("next action %+v", next)
	}
	b.expect("create again, before the payer", b.replay(a), provider.RequiresAction)
	noRedirect := *http.DefaultClient
	noRedirect.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := noRedirect.Get(next.RedirectURL + "?outcome=approve")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if back := resp.Header.Get("Location"); back != "https://shop.example/back?token="+made.Reference {
		t.Errorf("the payer comes back to %q", back)
	}
	if got := summary(b.find(r, made.Reference)); got != "authorization.approved JPY 5000" {
		t.Errorf("an approved order is %s", got)
	}
	done := b.replay(a) // the same attempt goes on where the payer left it
	b.expect("authorize", done, provider.Approved)
	if before := done.Facts[0].CaptureBefore; !before.Equal(b.now().AddDate(0, 0, 29)) {
		t.Errorf("capture before %v", before)
	}
	part := authorized + ", capture.succeeded JPY 3000"
	ref := made.Reference
	b.do(follow(r, ref, provider.Capture, 3000), provider.Approved, part)
	b.do(b.refundOf(r, ref, 1000), provider.Approved, "refund.succeeded JPY 1000")
	tooMuch := b.do(b.refundOf(r, ref, 2001), provider.Declined, "refund.failed JPY 2001")
	if tooMuch.Refusal.Code != "amount_not_accepted" {
		t.Errorf("refusal %+v", tooMuch.Refusal)
	}
	obliged := follow(r, ref, provider.Refund, 2000)
	obliged.ObligationID = b.newID()
	got := b.do(obliged, provider.Approved, "refund.succeeded JPY 2000")
	if f := got.Facts[0]; f.ObligationID != obliged.ObligationID || !f.RefundID.IsZero() || f.PaymentID != r.PaymentID {
		t.Errorf("the refund names %+v", f)
	}
	b.do(follow(r, ref, provider.Capture, 3000), provider.Approved, part+", refund.succeeded JPY 1000, refund.succeeded JPY 2000")
	// What is there is not what this one asks for: it decides nothing by itself.
	b.do(follow(r, ref, provider.Capture, 2000), provider.Unknown, "")
	b.agree(r, ref)
}

// agree compares what webhooks told with what the look-up shows.
func (b *bench) agree(r provider.Request, reference string) {
	b.t.Helper()
	known := map[string]provider.Fact{}
	for _, f := range b.find(r, reference) {
		known[f.ObjectID] = f
	}
	events := b.heard(r.PaymentID)
	if len(events) < 4 {
		b.t.Errorf("%d events", len(events))
	}
	for _, e := range events {
		for _, f := range e.Facts {
			if k, ok := known[f.ObjectID]; !ok || k.Kind != f.Kind || k.RefundID != f.RefundID {
				b.t.Errorf("%s told %+v, which the look-up does not know", e.Type, f)
			}
		}
		if e.LookUp != (len(e.Facts) > 0) {
			b.t.Errorf("%s with %s asks for a look-up: %t", e.Type, summary(e.Facts), e.LookUp)
		}
	}
}

func TestAutomaticCaptureAndVoid(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	r.AutoCapture = true
	ref := b.authorized(r, providersim.PayPalApproves)
	b.do(b.refundOf(r, ref, 5000), provider.Approved, "refund.succeeded JPY 5000")
	refused := b.first(b.attempt(follow(r, ref, provider.Void, 5000)))
	b.expect("void of what was captured", refused, provider.Declined)

	r = b.authorization()
	ref = b.authorized(r, providersim.PayPalApproves)
	b.do(follow(r, ref, provider.Void, 5000), provider.Approved, canceled)
	b.do(follow(r, ref, provider.Capture, 5000), provider.Declined, canceled)
	b.do(follow(r, ref, provider.Void, 0), provider.Approved, canceled) // as an obligation does
	b.do(b.refundOf(r, ref, 1), provider.Declined, "refund.failed JPY 1")
	if got := summary(b.find(r, ref)); got != canceled {
		t.Errorf("look-up: %s", got)
	}
}

// An order that nobody authorized holds nothing, whether PayPal remembers it or not.
func TestVoidOfWhatWasNeverAuthorized(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	made := b.do(r, provider.RequiresAction, waiting)
	b.do(follow(r, made.Reference, provider.Void, 0), provider.Approved, canceled)
	b.advance(3 * time.Hour)
	b.do(follow(r, made.Reference, provider.Void, 0), provider.Approved, "authorization.canceled JPY 0")
	b.do(follow(r, made.Reference, provider.Void, 5000), provider.Rejected, "")
	if got := b.find(r, made.Reference); len(got) > 0 {
		t.Errorf("a forgotten order is %s", summary(got))
	}
	old := b.adapter.Find(t.Context(), provider.Query{PaymentID: r.PaymentID, Reference: made.Reference, Since: b.now().AddDate(0, 0, -45)})
	if old.Complete {
		t.Error("the silence about an old order is taken for proof")
	}
	if got := b.find(r, ""); len(got) > 0 {
		t.Errorf("no order is %s", summary(got))
	}
	late := r
	late.Reference = made.Reference
	b.do(late, provider.Declined, canceled)
}

func TestWhatBecomesOfAnApproval(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer      string
		automatic   bool
		want        provider.Outcome
		facts, then string
		code        string
	}{
		{answer: providersim.PayPalDeclined, want: provider.Declined, facts: "authorization.failed JPY 5000", then: "authorization.approved JPY 5000", code: "card_declined"},
		{answer: providersim.PayPalDenied, want: provider.Declined, facts: "authorization.failed JPY 5000", then: "authorization.failed JPY 5000", code: "card_declined"},
		{answer: providersim.PayPalDenied, automatic: true, want: provider.Declined, facts: "authorization.failed JPY 5000, capture.failed JPY 5000", then: "authorization.failed JPY 5000, capture.failed JPY 5000", code: "card_declined"},
		{answer: providersim.PayPalReview, want: provider.Pending, facts: "authorization.pending JPY 5000", then: authorized},
		{answer: providersim.PayPalReview, automatic: true, want: provider.Pending, facts: "authorization.pending JPY 5000, capture.pending JPY 5000", then: captured},
		{answer: providersim.PayPalReviewDenied, want: provider.Pending, facts: "authorization.pending JPY 5000", then: "authorization.failed JPY 5000"},
	} {
		t.Run(c.answer, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := b.authorization()
			r.AutoCapture = c.automatic
			next := r
			next.Reference = b.approved(r, c.answer)
			got := b.do(next, c.want, c.facts)
			if c.code != "" && got.Refusal.Code != c.code {
				t.Errorf("refusal %+v", got.Refusal)
			}
			b.advance(10 * time.Minute)
			if found := summary(b.find(r, next.Reference)); found != c.then {
				t.Errorf("later: %s, want %s", found, c.then)
			}
			if c.want == provider.Declined { // as the core does, so that nobody can complete it
				b.expect("void", b.first(b.attempt(follow(r, next.Reference, provider.Void, 0))), provider.Approved)
			}
		})
	}
}

func TestRefundsThatTakeTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for answer, states := range map[string][2]provider.State{
		providersim.PayPalRefundPending: {provider.StatePending, provider.StateSucceeded},
		providersim.PayPalRefundFails:   {provider.StateSucceeded, provider.StateFailed},
	} {
		r := b.authorization()
		r.AutoCapture = true
		ref := b.authorized(r, answer)
		a := b.attempt(b.refundOf(r, ref, 5000))
		made := b.first(a)
		if len(made.Facts) != 1 || made.Facts[0].State != states[0] {
			t.Errorf("%s: %s", answer, summary(made.Facts))
		}
		b.advance(10 * time.Minute)
		found := b.find(r, ref)
		last := found[len(found)-1]
		if last.State != states[1] || last.ObjectID != made.Facts[0].ObjectID || last.Rank() <= made.Facts[0].Rank() {
			t.Errorf("%s, later: %+v", answer, last)
		}
		events := b.heard(r.PaymentID)
		if told := events[len(events)-1].Facts; len(told) != 1 || told[0].State != states[1] || told[0].ObjectID != last.ObjectID {
			t.Errorf("%s: the last event told %s", answer, summary(told))
		}
		if again := b.replay(a); len(again.Facts) != 1 || again.Facts[0].State != states[1] {
			t.Errorf("%s: a replay shows %s", answer, summary(again.Facts))
		}
	}
}

// After the honor period a capture authorizes anew first, and a replay of it captures the
// same authorization.
func TestHonorPeriodAndExpiry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization()
	ref := b.authorized(r, providersim.PayPalApproves)
	b.advance(71 * time.Hour)
	early := b.attempt(follow(r, ref, provider.Capture, 5000))
	b.advance(2 * time.Hour)
	b.inject("capture", "drop_before")
	b.expect("a capture from before the period's end", b.replay(early), provider.Unknown)
	if n := b.sim.Counters()["reauthorize.requests"]; n != 0 {
		t.Errorf("it was authorized anew %d times", n)
	}
	late := b.attempt(follow(r, ref, provider.Capture, 5000))
	b.inject("capture", "drop_after")
	b.expect("a capture from after it", b.first(late), provider.Unknown)
	b.expect("replayed", b.replay(late), provider.Approved)
	if n := b.sim.Counters()["reauthorize.requests"]; n != 1 {
		t.Errorf("it was authorized anew %d times", n)
	}
	b.count(follow(r, ref, provider.Capture, 5000), 1)
	b.count(r, 1)

	r = b.authorization()
	ref = b.authorized(r, providersim.PayPalApproves)
	b.advance(29 * 24 * time.Hour)
	b.do(follow(r, ref, provider.Capture, 5000), provider.Declined, canceled)
	events := b.heard(r.PaymentID)
	if last := events[len(events)-1]; last.Type != "PAYMENT.AUTHORIZATION.VOIDED" || summary(last.Facts) != canceled || last.Facts[0].ObjectID != ref {
		t.Errorf("the last event of an expiry: %s, %s", last.Type, summary(last.Facts))
	}
}
