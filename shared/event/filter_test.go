package event_test

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/event"
)

func TestFiltersTakeTypesAndWholeObjects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filters string
		name    string
		want    bool
	}{
		{"", event.PaymentCaptured, true},
		{"", event.EndpointDisabled, true},
		{event.PaymentCaptured, event.PaymentCaptured, true},
		{event.PaymentCaptured, event.PaymentCaptureFailed, false},
		{"payment.capture", event.PaymentCaptureFailed, false},
		{"payment.*", event.PaymentCaptureFailed, true},
		{"payment.*", event.RefundCreated, false},
		{"payment", event.PaymentCaptured, false},
		{"*", event.PaymentCaptured, false},
		{"payment.capture*", event.PaymentCaptured, false},
		{"refund.failed payment.*", event.RefundFailed, true},
		{"refund.failed payment.*", event.RefundCreated, false},
	} {
		if got := event.Match(strings.Fields(c.filters), c.name); got != c.want {
			t.Errorf("filters [%s] and %s: %t, want %t", c.filters, c.name, got, c.want)
		}
	}
}

func TestEveryTypeCanBeFilteredBy(t *testing.T) {
	t.Parallel()
	for _, typ := range event.Types() {
		for _, filter := range []string{typ.Name, typ.Object + ".*"} {
			if err := event.CheckFilter(filter); err != nil {
				t.Errorf("%s: %v", filter, err)
			}
			if !event.Match([]string{filter}, typ.Name) {
				t.Errorf("%s does not take %s", filter, typ.Name)
			}
		}
	}
}

func TestAFilterThatTakesNothingIsRefused(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		"payment.capture":       `has "payment.capture", which is no type of event: use payment.captured`,
		"Payment.Captured":      "payment.captured",
		"payments.*":            "payment.*",
		"refunds.created":       "refund.created",
		"refund.succeded":       "refund.succeeded",
		"payment.cancelled":     "payment.canceled",
		"endpoint.enabled":      "endpoint.disabled",
		"payment.settle":        "payment.settled",
		"dispute.closed":        "dispute.lost",
		"":                      "refund.*",
		"*":                     "leave it empty",
		".*":                    "leave it empty",
		"payment.\x00\xff":      "payment.*",
		strings.Repeat("x", 99): `xxx", which is no type`,
	} {
		err := event.CheckFilter(filter)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", filter, err, want)
		}
	}
}

func FuzzCheckFilter(f *testing.F) {
	f.Add("payment.capture")
	f.Add("endpoint.*")
	f.Fuzz(func(t *testing.T, filter string) {
		taken := false
		for _, typ := range event.Types() {
			taken = taken || event.Match([]string{filter}, typ.Name)
		}
		if err := event.CheckFilter(filter); (err == nil) != taken {
			t.Errorf("%q takes something: %t, refused: %v", filter, taken, err)
		}
	})
}
