package providersim_test

import "testing"

// BenchmarkCreate is one sale over HTTP by Stripe's client, webhooks included.
func BenchmarkCreate(b *testing.B) {
	s := newBench(b)
	for b.Loop() {
		s.create(payment(500, "pm_card_visa"))
	}
	s.quiesce()
}
