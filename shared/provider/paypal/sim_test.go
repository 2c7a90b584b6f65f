package paypal_test

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/providertest"
)

// What all providers have in common is in providertest; what is here only PayPal has.

const (
	waiting    = "authorization.requires_action JPY 5000"
	authorized = "authorization.authorized JPY 5000"
	captured   = authorized + ", capture.succeeded JPY 5000"
	canceled   = "authorization.canceled JPY 5000"
)

type bench struct {
	*providertest.Bench
	t   *testing.T
	sim *providersim.PayPal
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := providertest.New(t, providertest.PayPal())
	return &bench{Bench: b, t: t, sim: b.Simulator.(*providersim.PayPal)}
}

// do makes a first call and expects its outcome and facts.
func (b *bench) do(r provider.Request, want provider.Outcome, facts string) provider.Result {
	b.t.Helper()
	got := b.Do(r, want)
	if s := providertest.Facts(got.Facts); s != facts {
		b.t.Errorf("%s: facts %q, want %q", r.Step, s, facts)
	}
	return got
}

// approved makes an order that its payer has answered, and returns its reference.
func (b *bench) approved(r provider.Request, answer string) string {
	b.t.Helper()
	made := b.do(r, provider.RequiresAction, waiting)
	if err := b.sim.Approve(made.Reference, answer); err != nil {
		b.t.Fatal(err)
	}
	return made.Reference
}

// completed makes a payment that is authorized, or captured if that is asked for.
func (b *bench) completed(answer string, sale bool) (r provider.Request, reference string) {
	b.t.Helper()
	r = b.Payment(providertest.Plain, sale)
	reference = b.approved(r, answer)
	next := r
	next.Reference = reference
	b.Do(next, provider.Approved)
	return r, reference
}

// The attempt that made the order goes on where the payer left it.
func TestOneAttemptForTheWholeAuthorization(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.Payment(providertest.Plain, false)
	a := b.Attempt(r)
	made := b.First(a)
	b.Expect("before the payer", b.Replay(a), provider.RequiresAction)
	b.Answer(made.Reference, providertest.Plain)
	b.Expect("after the payer", b.Replay(a), provider.Approved)
	b.Expect("once more", b.Replay(a), provider.Approved)
	if did := b.Did(r); len(did) != 1 {
		t.Errorf("%d effects", len(did))
	}
}

// A token is used until it is about to expire.
func TestTokens(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	asked := func() int64 { return b.Counters()["token.requests"] }
	r, reference := b.completed(providersim.PayPalApproves, false)
	if asked() != 1 {
		t.Errorf("%d tokens for three steps", asked())
	}
	b.Advance(9*time.Hour - time.Minute)
	b.Find(r, reference)
	if asked() != 2 {
		t.Errorf("%d tokens after one ran out", asked())
	}
	b.sim.ExpireTokens()
	b.do(b.Follow(r, reference, provider.Capture, 5000), provider.Approved, captured)
	if asked() != 3 {
		t.Errorf("%d tokens after they were revoked", asked())
	}
}

// A second payment under an invoice_id that was paid is no decline.
func TestDuplicateInvoiceIsNoDecline(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, _ := b.completed(providersim.PayPalApproves, false)
	b.do(r, provider.Unknown, "") // another attempt of the same payment
}

func TestVerifyByAPI(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.sim.CA())
	byAPI, err := paypal.NewVerifier(paypal.WebhookConfig{WebhookID: providertest.PayPalWebhook, Verify: "api", CertBase: b.Base}, paypal.VerifierOptions{
		Now: b.Now, Roots: roots, API: b.Adapter.(*paypal.Adapter), ConnectTimeout: time.Minute, ReadTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(byAPI.Close)
	checked := make(chan error, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		checked <- byAPI.Verify(r.Context(), r.Header, body)
		checked <- byAPI.Verify(r.Context(), r.Header, bytes.Replace(body, []byte(`"1.0"`), []byte(`"1.1"`), 1))
	}))
	t.Cleanup(receiver.Close)
	b.SetWebhook(receiver.URL)
	b.approved(b.Payment(providertest.Plain, false), providersim.PayPalApproves)
	if err := <-checked; err != nil {
		t.Errorf("a true webhook: %v", err)
	}
	if err := <-checked; err == nil {
		t.Error("a webhook with another byte in it is taken for true")
	}
}

// An order that nobody authorized holds nothing, whether PayPal remembers it or not.
func TestVoidOfWhatWasNeverAuthorized(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.Payment(providertest.Plain, false)
	made := b.do(r, provider.RequiresAction, waiting)
	void := func(minor int64) provider.Request { return b.Follow(r, made.Reference, provider.Void, minor) }
	b.do(void(0), provider.Approved, canceled)
	b.Advance(3 * time.Hour)
	b.do(void(0), provider.Approved, "authorization.canceled JPY 0")
	b.do(void(5000), provider.Rejected, "")
	if got := b.Find(r, made.Reference); len(got) > 0 {
		t.Errorf("a forgotten order is %s", providertest.Facts(got))
	}
	old := b.Adapter.Find(t.Context(), provider.Query{PaymentID: r.PaymentID, Reference: made.Reference, Since: b.Now().AddDate(0, 0, -45)})
	if old.Complete {
		t.Error("the silence about an old order is taken for proof")
	}
	if got := b.Find(r, ""); len(got) > 0 {
		t.Errorf("no order is %s", providertest.Facts(got))
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
		{answer: providersim.PayPalReview, automatic: true, want: provider.Pending, facts: "authorization.pending JPY 5000, capture.pending JPY 5000", then: captured},
		{answer: providersim.PayPalReviewDenied, want: provider.Pending, facts: "authorization.pending JPY 5000", then: "authorization.failed JPY 5000"},
	} {
		t.Run(c.answer, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := b.Payment(providertest.Plain, c.automatic)
			next := r
			next.Reference = b.approved(r, c.answer)
			got := b.do(next, c.want, c.facts)
			if c.code != "" && got.Refusal.Code != c.code {
				t.Errorf("refusal %+v", got.Refusal)
			}
			b.Advance(10 * time.Minute)
			if found := providertest.Facts(b.Find(r, next.Reference)); found != c.then {
				t.Errorf("later: %s, want %s", found, c.then)
			}
			if c.want == provider.Declined { // as the core does, so that nobody can complete it
				b.Do(b.Follow(r, next.Reference, provider.Void, 0), provider.Approved)
			}
		})
	}
}

func TestPendingRefund(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, reference := b.completed(providersim.PayPalRefundPending, true)
	a := b.Attempt(b.Follow(r, reference, provider.Refund, 5000))
	b.Expect("refund", b.First(a), provider.Pending)
	b.Advance(10 * time.Minute)
	b.Expect("refund, replayed", b.Replay(a), provider.Approved)
	b.Agree(r, reference)
}

// After the honor period a capture authorizes anew first, and a replay of it captures the
// same authorization.
func TestHonorPeriod(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, reference := b.completed(providersim.PayPalApproves, false)
	b.Advance(71 * time.Hour)
	early := b.Attempt(b.Follow(r, reference, provider.Capture, 5000))
	b.Advance(2 * time.Hour)
	anew := func() int64 { return b.Counters()["reauthorize.requests"] }
	b.Inject(providersim.Capture, 0, "drop_before")
	b.Expect("a capture from before the period's end", b.Replay(early), provider.Unknown)
	if anew() != 0 {
		t.Errorf("it was authorized anew %d times", anew())
	}
	late := b.Attempt(b.Follow(r, reference, provider.Capture, 5000))
	b.Inject(providersim.Capture, 0, "drop_after")
	b.Expect("a capture from after it", b.First(late), provider.Unknown)
	b.Expect("replayed", b.Replay(late), provider.Approved)
	if anew() != 1 {
		t.Errorf("it was authorized anew %d times", anew())
	}
	b.Agree(r, reference)
}
