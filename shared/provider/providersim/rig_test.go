package providersim_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stripe/stripe-go/v76"
)

func TestCredentialsAreReplaced(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	accepted := func() bool {
		_, err := b.intents.New(payment(500, "pm_card_visa"))
		var problem *stripe.Error
		if err != nil && (!errors.As(err, &problem) || problem.HTTPStatusCode != 401) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, c := range []struct {
		keys []string
		want bool
	}{
		{[]string{secretKey}, true}, {[]string{"sk_test_next", secretKey}, true}, {[]string{"sk_test_next"}, false}, {nil, false},
	} {
		if b.SetCredentials(c.keys...); accepted() != c.want {
			t.Errorf("with %q it is accepted: %t", c.keys, !c.want)
		}
	}
}

// By the time that the caller is told of, the simulator has done whatever it will.
func TestAHangingRequestIsTold(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for fault, acts := range map[string]bool{"hang_before": false, "hang_after": true} {
		ctx, cancel := context.WithCancel(t.Context())
		before, at := len(b.Effects()), -1
		b.OnHang(func() {
			at = len(b.Effects())
			cancel()
		})
		p := payment(500, "pm_card_visa", faulty(fault))
		p.Context = ctx
		if _, err := b.intents.New(p); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", fault, err)
		}
		b.quiesce()
		if at < 0 || (at > before) != acts {
			t.Errorf("%s: %d effects when it hangs, %d before", fault, at, before)
		}
	}
}
