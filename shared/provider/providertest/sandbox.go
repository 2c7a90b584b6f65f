package providertest

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
)

// Sandbox puts an adapter before its provider's own sandbox, in real time: nobody hears
// its events, no fault can be asked for, and nothing shows what happened but the look-up.
func Sandbox(t testing.TB, s Subject, a provider.Adapter, now func() time.Time) *Bench {
	t.Helper()
	simulated := s.Open(func() time.Time { return start })
	t.Cleanup(simulated.Close)
	return &Bench{
		t: t, subject: s, real: now, Adapter: a, pages: map[string]string{},
		Account: &Account{Payment: simulated.Payment}, // what is paid, and with what, is the same
	}
}

// Page is a payment whose payer never comes: it is made once, however often it is asked
// for, and waits; what can be voided is.
func (b *Bench) Page(voids bool) {
	b.t.Helper()
	a := b.Attempt(b.Payment(Plain, false))
	made := b.First(a)
	b.Expect("authorize", made, provider.RequiresAction)
	if next := made.Facts[0].NextAction; next == nil || next.RedirectURL == "" {
		b.t.Errorf("the next action is %+v", next)
	}
	again := b.Replay(a)
	b.Expect("authorize, replayed", again, provider.RequiresAction)
	if again.Reference != made.Reference {
		b.t.Errorf("two payment objects: %s and %s", made.Reference, again.Reference)
	}
	r := a.Request
	if got := Summary(b.Agree(r, made.Reference)); got != "requires action" {
		b.t.Errorf("the look-up shows it %s", got)
	}
	if !voids {
		return
	}
	b.Do(b.Follow(r, made.Reference, provider.Void, r.Amount.Minor), provider.Approved)
	if got := Summary(b.Agree(r, made.Reference)); got != "canceled" {
		b.t.Errorf("voided, the look-up shows it %s", got)
	}
}
