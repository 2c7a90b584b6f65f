package shop_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func open(t *testing.T) *shop.Shop {
	t.Helper()
	s, err := shop.Open(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// send sends an event signed with a secret at a time.
func send(t *testing.T, s *shop.Shop, event string, sequence int, with string, at time.Time) (status int) {
	t.Helper()
	body := fmt.Sprintf(`{"id":%q,"type":"payment.captured","sequence":%d,"data":{"payment":{"id":"pay_1"}}}`, event, sequence)
	signer, err := standardwebhooks.NewWebhook(with)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := signer.Sign(event, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("webhook-id", event)
	req.Header.Set("webhook-timestamp", fmt.Sprint(at.Unix()))
	req.Header.Set("webhook-signature", signature)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestOnlyWhatIsSignedAndTimelyIsTrusted(t *testing.T) {
	t.Parallel()
	s := open(t)
	if status := send(t, s, "evt_1", 1, secret, now); status != http.StatusUnauthorized {
		t.Errorf("without a secret of its own the shop answered %d", status)
	}
	s.Trust(secret)
	for name, c := range map[string]struct {
		with string
		at   time.Time
		want int
	}{
		"right":         {secret, now, 200},
		"a bit late":    {secret, now.Add(-shop.Tolerance), 200},
		"another's":     {"whsec_" + strings.Repeat("A", 32), now, 401},
		"stale":         {secret, now.Add(-shop.Tolerance - time.Second), 401},
		"of the future": {secret, now.Add(shop.Tolerance + time.Second), 401},
	} {
		if status := send(t, s, "evt_2", 2, c.with, c.at); status != c.want {
			t.Errorf("%s: answered %d, want %d", name, status, c.want)
		}
	}
	if events := s.Events("pay_1"); len(events) != 1 || events[0].ID != "evt_2" || events[0].Sequence != 2 {
		t.Errorf("events: %+v", events)
	}
}

func TestEventsAreTakenOnceAndInSequence(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.Trust(secret)
	s.Answer(func(shop.Webhook) int { return http.StatusServiceUnavailable })
	if status := send(t, s, "evt_1", 1, secret, now); status != http.StatusServiceUnavailable {
		t.Errorf("while it is down the shop answered %d", status)
	}
	s.Answer(nil)
	for _, e := range []int{2, 1, 2, 3} {
		send(t, s, fmt.Sprintf("evt_%d", e), e, secret, now)
	}
	var sequences []int64
	for _, e := range s.Events("pay_1") {
		sequences = append(sequences, e.Sequence)
	}
	if fmt.Sprint(sequences) != "[1 2 3]" || len(s.Received()) != 5 {
		t.Errorf("sequences %v of %d webhooks", sequences, len(s.Received()))
	}
	err := s.Await(t.Context(), func(all []shop.Webhook) bool { return len(all) == 5 })
	if err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Await(ended, func([]shop.Webhook) bool { return false }); err == nil {
		t.Error("it waited for nothing and found it")
	}
}
