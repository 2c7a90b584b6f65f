package providertest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/provider"
)

// recorder takes down what a test complains of, in place of failing.
type recorder struct {
	testing.TB
	found []string
}

func (r *recorder) Error(args ...any) { r.found = append(r.found, fmt.Sprint(args...)) }

func (r *recorder) Errorf(format string, args ...any) {
	r.found = append(r.found, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// complaints runs part of the suite on a bench and returns what it complains of.
func complaints(t *testing.T, b *Bench, part func(*Bench)) string {
	t.Helper()
	r := &recorder{TB: t}
	b.t = r
	done := make(chan struct{})
	go func() {
		defer close(done)
		part(b)
	}()
	<-done
	b.t = t
	return strings.Join(r.found, "\n")
}

// forger is an adapter whose reports are wrong in one way.
type forger struct {
	provider.Adapter
	forge func(provider.EntryPage) provider.EntryPage
}

func (f forger) Entries(ctx context.Context, q provider.EntryQuery) provider.EntryPage {
	return f.forge(f.Adapter.Entries(ctx, q))
}

// each changes the entries of one kind.
func each(kind provider.EntryKind, change func(e provider.Entry) []provider.Entry) func(provider.EntryPage) provider.EntryPage {
	return func(p provider.EntryPage) provider.EntryPage {
		var all []provider.Entry
		for _, e := range p.Entries {
			if e.Kind != kind {
				all = append(all, e)
				continue
			}
			all = append(all, change(e)...)
		}
		p.Entries = all
		return p
	}
}

func one(change func(*provider.Entry)) func(provider.Entry) []provider.Entry {
	return func(e provider.Entry) []provider.Entry {
		change(&e)
		return []provider.Entry{e}
	}
}

// A suite that finds nothing shows nothing: each of these reports is found to be wrong.
func TestTheSuiteFindsForgedReports(t *testing.T) {
	t.Parallel()
	trusting := func(b *Bench) { b.strikeReport(Stripe().Reports[0], "html_after") }
	for name, c := range map[string]struct {
		subject Subject
		forge   func(provider.EntryPage) provider.EntryPage
		part    func(*Bench)
		finds   string
	}{
		"a refund is missing": {Stripe(), each(provider.EntryRefund, func(provider.Entry) []provider.Entry { return nil }), everyMovementOnce, "reported are"},
		"a charge is there twice": {PayPal(), each(provider.EntryCharge, func(e provider.Entry) []provider.Entry {
			again := e
			again.ID += "/again"
			return []provider.Entry{e, again}
		}), everyMovementOnce, "reported are"},
		"a refund that failed is a charge": {Bank(), each(provider.EntryRefundFailed, one(func(e *provider.Entry) { e.Kind = provider.EntryCharge })), everyMovementOnce, "reported are"},
		"a refund is positive":             {PayPal(), each(provider.EntryRefund, one(func(e *provider.Entry) { e.Gross = -e.Gross })), everyMovementOnce, "reported are"},
		"a charge has another object's id": {Stripe(), each(provider.EntryCharge, one(func(e *provider.Entry) { e.ObjectID = e.Reference })), everyMovementOnce, "reported are"},
		"a charge has no id of ours":       {Stripe(), each(provider.EntryCharge, one(func(e *provider.Entry) { e.PaymentID = e.RefundID })), everyMovementOnce, "names the payment"},
		"a fee is left out":                {PayPal(), each(provider.EntryCharge, one(func(e *provider.Entry) { e.Fee, e.Net = 0, e.Gross })), everyMovementOnce, "the fee of"},
		"a sum is wrong":                   {Stripe(), each(provider.EntryCharge, one(func(e *provider.Entry) { e.Net++ })), everyMovementOnce, "an entry {"},
		"payouts have no members":          {Stripe(), each(provider.EntryCharge, one(func(e *provider.Entry) { e.PayoutID = "" })), payouts, "paid out"},
		"a page that failed counts": {Stripe(), func(p provider.EntryPage) provider.EntryPage {
			p.OK = true
			return p
		}, trusting, "0 of"},
		"a page is never the last": {Bank(), func(p provider.EntryPage) provider.EntryPage {
			p.Next = "payouts/"
			return p
		}, everyMovementOnce, "does not end"},
		"the credential is in the evidence": {Stripe(), func(p provider.EntryPage) provider.EntryPage {
			p.Evidence.Body += "sk_test_conformance"
			return p
		}, trusting, "shows the credential"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if found := complaints(t, New(t, c.subject), c.part); found != "" {
				t.Fatalf("without the forgery it finds %q", found)
			}
			b := New(t, c.subject)
			b.Wrap = func(a provider.Adapter) provider.Adapter { return forger{a, c.forge} }
			if found := complaints(t, b, c.part); !strings.Contains(found, c.finds) {
				t.Errorf("it finds %q, want %q", found, c.finds)
			}
		})
	}
}
