package providertest_test

import (
	"testing"

	"github.com/tollgate/tollgate/shared/provider/providertest"
)

func subjects() []providertest.Subject {
	return []providertest.Subject{providertest.Stripe(), providertest.PayPal(), providertest.Bank()}
}

func TestTable(t *testing.T) {
	t.Parallel()
	for _, s := range subjects() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			for _, r := range providertest.Table(t, s) {
				t.Logf("%+v", r)
			}
		})
	}
}

func TestLives(t *testing.T) {
	t.Parallel()
	for _, s := range subjects() {
		for _, l := range append(providertest.Lives(), providertest.Scenarios()...) {
			t.Run(s.Name+"/"+l.Name, func(t *testing.T) {
				t.Parallel()
				b := providertest.New(t, s)
				if l.Lacks(b) == "" {
					l.Live(b)
				}
			})
		}
	}
}
