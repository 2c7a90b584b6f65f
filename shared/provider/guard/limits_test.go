package guard

import (
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/config"
)

func someLimits() Limits {
	return Limits{Concurrency: DefaultConcurrency, Timeouts: Timeouts{
		Connect: 2 * time.Second, Authorize: 5 * time.Second, Capture: 10 * time.Second, Void: 10 * time.Second,
		Refund: 10 * time.Second, LookUp: 5 * time.Second,
	}}
}

func TestLimitsAreReadOverTheDefaults(t *testing.T) {
	t.Parallel()
	l := someLimits()
	if wrong := l.Read(config.Map(nil), "STRIPE_"); wrong != nil || l != someLimits() {
		t.Errorf("nothing set: %+v, %v", l, wrong)
	}
	wrong := l.Read(config.Map(map[string]string{
		"STRIPE_CONNECT_TIMEOUT": "1s", "STRIPE_AUTHORIZE_TIMEOUT": "2s", "STRIPE_CAPTURE_TIMEOUT": "3s", "STRIPE_VOID_TIMEOUT": "4s",
		"STRIPE_REFUND_TIMEOUT": "5s", "STRIPE_LOOKUP_TIMEOUT": "6s", "STRIPE_CONCURRENCY": "7", "PAYPAL_CONCURRENCY": "9",
	}), "STRIPE_")
	want := Limits{Concurrency: 7, Timeouts: Timeouts{
		Connect: time.Second, Authorize: 2 * time.Second, Capture: 3 * time.Second, Void: 4 * time.Second,
		Refund: 5 * time.Second, LookUp: 6 * time.Second,
	}}
	if wrong != nil || l != want {
		t.Errorf("all set: %+v, %v", l, wrong)
	}
	for operation, most := range map[string]time.Duration{"authorize": 3, "capture": 4, "void": 5, "refund": 6, "lookup": 7} {
		if got := l.of(operation); got != most*time.Second {
			t.Errorf("%s may take %v", operation, got)
		}
	}
	if l.Longest() != 6*time.Second {
		t.Errorf("the longest takes %v", l.Longest())
	}
}

func TestLimitsAreChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  map[string]string
		says []string // one mistake each
	}{
		"no time to connect":   {map[string]string{"B_CONNECT_TIMEOUT": "0s"}, []string{"B_CONNECT_TIMEOUT is 0s"}},
		"no time":              {map[string]string{"B_LOOKUP_TIMEOUT": "0s"}, []string{"B_LOOKUP_TIMEOUT is 0s"}},
		"less than none":       {map[string]string{"B_VOID_TIMEOUT": "-1s"}, []string{"B_VOID_TIMEOUT is -1s"}},
		"a hasty capture":      {map[string]string{"B_CAPTURE_TIMEOUT": "4s"}, []string{"B_CAPTURE_TIMEOUT is 4s: it must not be less than B_AUTHORIZE_TIMEOUT, 5s"}},
		"a hasty refund":       {map[string]string{"B_REFUND_TIMEOUT": "4999ms"}, []string{"B_REFUND_TIMEOUT"}},
		"above the lease":      {map[string]string{"B_REFUND_TIMEOUT": "23s"}, []string{"B_REFUND_TIMEOUT is 23s: with B_CONNECT_TIMEOUT, 2s, it must stay below 25s"}},
		"just below the lease": {map[string]string{"B_REFUND_TIMEOUT": "22999ms"}, nil},
		"no places":            {map[string]string{"B_CONCURRENCY": "0"}, []string{"B_CONCURRENCY is 0"}},
		"too many places":      {map[string]string{"B_CONCURRENCY": "101"}, []string{"B_CONCURRENCY is 101"}},
		"not a duration":       {map[string]string{"B_VOID_TIMEOUT": "10"}, []string{"B_VOID_TIMEOUT"}},
		"all at once":          {map[string]string{"B_VOID_TIMEOUT": "0s", "B_CONCURRENCY": "-3"}, []string{"B_VOID_TIMEOUT", "B_CONCURRENCY"}},
	} {
		l := someLimits()
		wrong := l.Read(config.Map(c.set), "B_")
		if len(wrong) != len(c.says) {
			t.Errorf("%s: %v", name, wrong)
			continue
		}
		for i, m := range wrong {
			if !strings.HasPrefix(m.String(), c.says[i]) || m.Who != "terraform" {
				t.Errorf("%s: %s, want %s", name, m, c.says[i])
			}
		}
	}
}
