package providertest

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

// liar is an adapter that is wrong in one way.
type liar struct {
	provider.Adapter
	execute func(provider.Result) provider.Result
	rekey   bool // sends every replay under a key of its own
	find    func(provider.Finding) provider.Finding
}

func (l liar) Execute(ctx context.Context, call provider.Call) provider.Result {
	if l.rekey && !call.First() {
		a := call.Attempt()
		a.Key, a.Unsent = a.Key+"-again", true
		call, _ = provider.FirstCall(a)
	}
	r := l.Adapter.Execute(ctx, call)
	if l.execute != nil {
		r = l.execute(r)
	}
	return r
}

func (l liar) Find(ctx context.Context, q provider.Query) provider.Finding {
	f := l.Adapter.Find(ctx, q)
	if l.find != nil {
		f = l.find(f)
	}
	return f
}

// as makes every unknown outcome another one.
func as(o provider.Outcome) func(provider.Result) provider.Result {
	return func(r provider.Result) provider.Result {
		if r.Outcome == provider.Unknown {
			r.Outcome, r.Refusal = o, &provider.Refusal{Code: "declined", Message: "A lie."}
		}
		return r
	}
}

func withFacts(change func(*provider.Fact)) func([]provider.Fact) []provider.Fact {
	return func(facts []provider.Fact) (all []provider.Fact) {
		for _, f := range facts {
			change(&f)
			all = append(all, f)
		}
		return all
	}
}

func named(t *testing.T, spot string) (Subject, Spot) {
	for _, s := range []Subject{Stripe(), PayPal()} {
		for _, each := range s.Spots {
			if each.Name == spot {
				return s, each
			}
		}
	}
	t.Fatalf("there is no %q", spot)
	return Subject{}, Spot{}
}

// A suite that finds nothing shows nothing: each of these lies is found.
func TestTheSuiteFindsLies(t *testing.T) {
	t.Parallel()
	nameless := withFacts(func(f *provider.Fact) { f.PaymentID = id.ID{} })
	unitless := withFacts(func(f *provider.Fact) { f.Units++ })
	for name, c := range map[string]struct {
		lie         liar
		spot, fault string
		finds       string
	}{
		"a timeout is a decline":          {liar{execute: as(provider.Declined)}, "capture", "hang_after", "although only the way there was disturbed"},
		"a timeout is an approval":        {liar{execute: as(provider.Approved)}, "capture", "hang_before", "without facts"},
		"a timeout is nothing sent":       {liar{execute: as(provider.NotSent)}, "capture", "drop_after", "but it was done 1 times"},
		"a replay is nothing sent":        {liar{execute: as(provider.NotSent)}, "capture", "500_before", "not_sent"},
		"a replay is a new request":       {liar{rekey: true}, "refund", "drop_after", "it was done 2 times"},
		"a new payment for every replay":  {liar{rekey: true}, "authorize", "drop_after", "it was done 2 times"},
		"a new order for every replay":    {liar{rekey: true}, "authorize: creating the order", "delay_after; for=1ms", "two payment objects"},
		"facts of nobody":                 {liar{execute: func(r provider.Result) provider.Result { r.Facts = nameless(r.Facts); return r }}, "capture", "429", "names another payment"},
		"facts of another amount":         {liar{find: func(f provider.Finding) provider.Finding { f.Facts = unitless(f.Facts); return f }}, "capture", "drop_after", "the look-up shows 1 captures of 5001"},
		"what was not read is not there":  {liar{find: func(f provider.Finding) provider.Finding { f.Complete = true; return f }}, "look-up: the PaymentIntent", "drop_after", "does not show the authorization"},
		"the key in the evidence":         {liar{execute: func(r provider.Result) provider.Result { r.Evidence.Error += "sk_test_conformance"; return r }}, "void", "drop_after", "shows the credential"},
		"a hanging request is no timeout": {liar{execute: func(r provider.Result) provider.Result { r.TimedOut = false; return r }}, "void", "hang_before", "not timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, spot := named(t, c.spot)
			b := New(t, s)
			// Until the fault is to strike, it tells the truth.
			honest := strike(New(t, s), spot, c.fault).violations()
			if len(honest) > 0 {
				t.Fatalf("without the lie it finds %q", honest)
			}
			b.Wrap = func(a provider.Adapter) provider.Adapter {
				lie := c.lie
				lie.Adapter = a
				return lie
			}
			if found := strings.Join(strike(b, spot, c.fault).violations(), "\n"); !strings.Contains(found, c.finds) {
				t.Errorf("it finds %q, want %q", found, c.finds)
			}
		})
	}
}

// What runs before the sandboxes runs before the simulators too, so that it is known to
// work when there are keys.
func TestWhatTheSandboxesGet(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, s Subject) *Bench {
		account := s.Open(time.Now)
		t.Cleanup(account.Close)
		server := httptest.NewServer(account)
		t.Cleanup(server.Close)
		a, err := account.Adapter(server.URL, account.Credential, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.(interface{ Close() }).Close)
		return Sandbox(t, s, a, time.Now)
	}
	lives := 0
	for _, life := range Lives() {
		if life.Sandbox {
			lives++
			t.Run(life.Name, func(t *testing.T) { life.Live(open(t, Stripe())) })
		}
	}
	if lives < 4 {
		t.Errorf("%d lives", lives)
	}
	t.Run("an order", func(t *testing.T) { open(t, PayPal()).Page(false) })
	t.Run("a billing request", func(t *testing.T) { open(t, Bank()).Page(true) })
}
