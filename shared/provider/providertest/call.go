package providertest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Payment is the request for a new payment that goes a way. A sale is captured by itself,
// and so is every payment of a provider that can't capture later.
func (b *Bench) Payment(way Way, sale bool) provider.Request {
	method, amount := b.Account.Payment(way)
	return provider.Request{
		Step: provider.Authorize, Account: b.Adapter.Account(), MerchantID: b.NewID(), PaymentID: b.NewID(), Amount: amount,
		AutoCapture: sale || !b.Adapter.Capabilities().ManualCapture, PaymentMethod: method, Description: "order 17",
		ReturnURL: returnURL,
	}
}

// Follow is a later step of a payment.
func (b *Bench) Follow(r provider.Request, reference string, step provider.Step, minor int64) provider.Request {
	next := provider.Request{
		Step: step, Account: r.Account, MerchantID: r.MerchantID, PaymentID: r.PaymentID, Reference: reference,
		Amount: money.New(minor, r.Amount.Currency),
	}
	if step == provider.Refund {
		next.RefundID = b.NewID()
	}
	return next
}

// Attempt is the first attempt of a request, made now.
func (b *Bench) Attempt(r provider.Request) provider.Attempt {
	return provider.NewAttempt(b.NewID(), 1, r, b.Now())
}

func (b *Bench) adapter() provider.Adapter {
	if b.Wrap != nil {
		return b.Wrap(b.Adapter)
	}
	return b.Adapter
}

// First makes the first call of an attempt.
func (b *Bench) First(a provider.Attempt) provider.Result {
	b.t.Helper()
	return b.FirstBy(b.t.Context(), b.adapter(), a)
}

// FirstBy is First with another adapter, within a context.
func (b *Bench) FirstBy(ctx context.Context, by provider.Adapter, a provider.Attempt) provider.Result {
	b.t.Helper()
	call, err := provider.FirstCall(a)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.know(by.Execute(ctx, call))
}

// Replay makes another call of an attempt, within its key window.
func (b *Bench) Replay(a provider.Attempt) provider.Result {
	b.t.Helper()
	return b.ReplayBy(b.adapter(), a)
}

// ReplayBy is Replay with another adapter.
func (b *Bench) ReplayBy(by provider.Adapter, a provider.Attempt) provider.Result {
	b.t.Helper()
	call, ok := provider.Replay(a, by.Capabilities(), b.Now())
	if !ok {
		b.t.Fatal("the key window is closed")
	}
	return b.know(by.Execute(b.t.Context(), call))
}

// know keeps the pages that payers are sent to.
func (b *Bench) know(r provider.Result) provider.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range r.Facts {
		if f.NextAction != nil {
			b.pages[r.Reference] = f.NextAction.RedirectURL
		}
	}
	return r
}

// Do makes a first call and expects its outcome.
func (b *Bench) Do(r provider.Request, want provider.Outcome) provider.Result {
	b.t.Helper()
	got := b.First(b.Attempt(r))
	b.Expect(string(r.Step), got, want)
	return got
}

// Expect ends the test if the outcome is another.
func (b *Bench) Expect(what string, got provider.Result, want provider.Outcome) {
	b.t.Helper()
	if got.Outcome != want {
		b.t.Fatalf("%s: %s, want %s (status %d, %q, refusal %+v)", what, got.Outcome, want, got.Evidence.Status, got.Evidence.Error, got.Refusal)
	}
}

// Look looks a payment up, by its reference if there is one.
func (b *Bench) Look(r provider.Request, reference string) provider.Finding {
	return b.adapter().Find(b.t.Context(), provider.Query{
		Account: r.Account, PaymentID: r.PaymentID, Reference: reference, Since: r.PaymentID.Time(),
	})
}

// Find is Look that must be complete.
func (b *Bench) Find(r provider.Request, reference string) []provider.Fact {
	b.t.Helper()
	got := b.Look(r, reference)
	if !got.Complete {
		b.t.Fatalf("the look-up is not complete: %s", got.Evidence.Error)
	}
	return got.Facts
}

// Did is what really happened to a payment.
func (b *Bench) Did(r provider.Request) []providersim.Effect {
	b.quiet()
	return b.EffectsFor(b.PaymentKey, id.Payment.External(r.PaymentID))
}

// Answer goes to the page of a payment object, as its payer does.
func (b *Bench) Answer(reference string, way Way) {
	b.t.Helper()
	if err := b.Visit(reference, b.Word(way)); err != nil {
		b.t.Fatal(err)
	}
}

// Visit goes to the page of a payment object and answers with a word.
func (b *Bench) Visit(reference, word string) error {
	b.mu.Lock()
	page := b.pages[reference]
	b.mu.Unlock()
	if page == "" {
		return fmt.Errorf("the payer of %q was sent to no page", reference)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Get(page + "?outcome=" + word)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if back := resp.Header.Get("Location"); !strings.HasPrefix(back, returnURL) {
		return fmt.Errorf("the payer comes back to %q, status %d", back, resp.StatusCode)
	}
	return nil
}

// Start makes the payment object, which its payer has not answered yet if there is one.
func (b *Bench) Start(r provider.Request) provider.Result {
	b.t.Helper()
	got := b.First(b.Attempt(r))
	if got.Outcome != provider.Approved && got.Outcome != provider.RequiresAction && got.Outcome != provider.Pending {
		b.Expect("authorize", got, provider.Approved)
	}
	return got
}

// Pay brings a payment as far as it goes without a later step: authorized, or captured if
// that is what it is for, or refused. It returns its reference.
func (b *Bench) Pay(r provider.Request, way Way) (reference string, last provider.Result) {
	b.t.Helper()
	got := b.First(b.Attempt(r))
	if got.Outcome == provider.RequiresAction {
		b.Answer(got.Reference, way)
		if b.Adapter.Capabilities().PayerFirst {
			next := r
			next.Reference = got.Reference
			got = b.First(b.Attempt(next))
		}
	}
	if got.Outcome == provider.Pending || got.Outcome == provider.RequiresAction {
		b.Advance(time.Hour)
	}
	return got.Reference, got
}

// Paid is Pay of a plain payment, which must have succeeded.
func (b *Bench) Paid(way Way, sale bool) (r provider.Request, reference string) {
	b.t.Helper()
	r = b.Payment(way, sale)
	reference, last := b.Pay(r, way)
	want := "authorized"
	if r.AutoCapture {
		want = "captured"
	}
	if got := Summary(b.Find(r, reference)); !strings.HasPrefix(got, want) {
		b.t.Fatalf("the payment is %s, want %s (%s, %q, %+v)", got, want, last.Outcome, last.Evidence.Error, last.Refusal)
	}
	return r, reference
}

// Inject has a fault befall the next request of an operation.
func (b *Bench) Inject(op providersim.Operation, skip int, text string) {
	b.t.Helper()
	fault, err := providersim.ParseFault(text)
	if err == nil {
		err = b.Account.Inject(providersim.Rule{Operation: op, Skip: skip, Fault: fault})
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
