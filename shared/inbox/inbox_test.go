package inbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// signed signs a body as Stripe does.
func (r *rig) signed(body string) webhook {
	at := r.Now().Unix()
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at, body)
	h := http.Header{}
	h.Set(stripe.SignatureHeader, fmt.Sprintf("t=%d,v1=%s", at, hex.EncodeToString(mac.Sum(nil))))
	return webhook{h, []byte(body)}
}

// intent is an event about a PaymentIntent that names the payment, or none.
func intent(eventID string, payment id.ID) string {
	metadata := "{}"
	if !payment.IsZero() {
		metadata = fmt.Sprintf(`{"tollgate_payment":%q}`, id.Payment.External(payment))
	}
	return fmt.Sprintf(`{"id":%q,"object":"event","type":"payment_intent.canceled","created":1803891600,"livemode":false,
		"data":{"object":{"id":"pi_1","object":"payment_intent","status":"canceled","amount":5000,"currency":"jpy",
		"capture_method":"manual","metadata":%s,"created":1803891600}}}`, eventID, metadata)
}

func TestAnEventIsStoredPublishedAndMerged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.succeeded(r.pay())
	r.ingest(w)
	row := r.only()
	if row.state != stored || row.transaction.IsZero() || row.due == nil || !row.due.Equal(r.Now().Add(grace)) {
		t.Errorf("stored as %+v", row)
	}
	published := r.pubsub.Published()
	if len(published) != 1 || published[0].Key != row.transaction.String() || published[0].Data != fmt.Sprintf(`{"id":%q}`, row.id) ||
		published[0].Attributes["provider"] != "stripe" || published[0].Attributes["request-id"] != "req_ingest" {
		t.Errorf("published %+v", published)
	}

	r.ingest(w) // not dealt with yet: published again
	if n := len(r.pubsub.Published()); n != 2 || len(r.rows()) != 1 {
		t.Errorf("a repeat made %d messages and %d rows", n, len(r.rows()))
	}
	r.apply(row.id)
	if row = r.only(); row.state != applied && row.state != ignored || row.reason == "" || row.due != nil {
		t.Errorf("after it was applied: %+v", row)
	}
	r.apply(row.id) // a repeated message
	r.ingest(w)     // dealt with: not published any more
	if n := len(r.pubsub.Published()); n != 2 {
		t.Errorf("%d messages in the end", n)
	}
}

func TestEventsInAnyOrderAndRepeatedEndTheSame(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sent := r.pay()
	for _, w := range slices.Backward(sent) {
		r.ingest(w)
	}
	again := sent[0]
	again.body = []byte(strings.Replace(string(r.succeeded(sent).body), `"id":"evt_`, `"id":"evt_again_`, 1)) // the same fact in another event
	r.ingest(r.signed(string(again.body)))
	for _, row := range r.rows() {
		r.apply(row.id)
	}
	var repeated bool
	for _, row := range r.rows() {
		if row.state != applied && row.state != ignored || row.reason == "" {
			t.Errorf("left as %+v", row)
		}
		repeated = repeated || row.state == ignored && strings.Contains(row.reason, "repeated")
	}
	if !repeated {
		t.Errorf("no event was set aside as a repeat: %+v", r.rows())
	}
	var captured, captures int64
	err := r.Pool.QueryRow(t.Context(), `SELECT max(captured_minor), count(*) FROM transactions`).Scan(&captured, &captures)
	if err != nil || captured != 5000 || captures != 1 {
		t.Errorf("captured %d in %d payments, %v", captured, captures, err)
	}
}

func TestOneEventAtOnceIsOneRow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.succeeded(r.pay())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := r.Ingest(t.Context(), stripe.Name, w.header, w.body); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r.only()
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.signed(intent("evt_1", id.ID{}))
	tampered := webhook{good.header, []byte(strings.Replace(string(good.body), "5000", "5001", 1))}
	for name, c := range map[string]struct {
		provider string
		w        webhook
		want     fault.Code
	}{
		"tampered":     {stripe.Name, tampered, fault.SignatureInvalid},
		"unsigned":     {stripe.Name, webhook{http.Header{}, good.body}, fault.SignatureInvalid},
		"who is that?": {"striipe", good, fault.NotFound},
	} {
		if _, err := r.Ingest(t.Context(), c.provider, c.w.header, c.w.body); !fault.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.advance(301 * time.Second)
	if _, err := r.Ingest(t.Context(), stripe.Name, good.header, good.body); !fault.Is(err, fault.SignatureInvalid) {
		t.Errorf("old: %v", err)
	}
	if rows := r.rows(); len(rows) != 0 {
		t.Errorf("kept %+v", rows)
	}
}

func TestWhatCantBeReadIsKeptAndSetAside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.signed(`{"object":"event"`)
	r.ingest(w)
	r.ingest(w)
	if row := r.only(); row.state != ignored || !strings.HasPrefix(row.reason, "unparsable: ") {
		t.Errorf("kept %+v", row)
	}
	if len(r.pubsub.Published()) != 0 {
		t.Error("published")
	}
	// Readable when it came in, and not any more: the code changed meanwhile.
	r.ingest(r.signed(intent("evt_1", r.NewID())))
	row := r.find(func(k kept) bool { return k.state == stored })
	r.Sources[stripe.Name] = Source{Parse: func([]byte) (provider.Event, error) {
		return provider.Event{}, errors.New("a field\x00 with 4242424242424242 in it")
	}}
	r.apply(row.id)
	if row = r.find(func(k kept) bool { return k.id == row.id }); row.state != ignored || row.reason != "unparsable: a field with [masked] in it" {
		t.Errorf("set aside as %+v", row)
	}
}

func TestEventsThatAreNotOursAreSetAside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ingest(r.signed(intent("evt_1", id.ID{})))
	row := r.only()
	if key := r.pubsub.Published()[0].Key; key != "stripe:pi_1" {
		t.Errorf("published under %q", key)
	}
	r.apply(row.id)
	if row = r.only(); row.state != ignored || row.reason != "not about a payment of ours" {
		t.Errorf("set aside as %+v", row)
	}
}

func TestAnEventWaitsForItsPayment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	payment := r.NewID()
	known := false
	r.Payments = applyFunc(func(provider.Event) (string, error) {
		if known {
			return "authorization.canceled: applied", nil
		}
		return "", fault.New(fault.NotFound, "no such payment")
	})
	r.ingest(r.signed(intent("evt_1", payment)))
	row := r.only()
	var waits []time.Duration
	for range 9 {
		r.apply(row.id)
		row = r.only()
		if row.state != parked || row.due == nil {
			t.Fatalf("parked as %+v", row)
		}
		if n := r.sweep(); n != 0 {
			t.Fatalf("published before its time, after %v", waits)
		}
		waits = append(waits, row.due.Sub(r.Now()))
		r.advance(row.due.Sub(r.Now()))
		if n := r.sweep(); n != 1 {
			t.Fatalf("not published when due, after %v", waits)
		}
	}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}
	for i := range want {
		if waits[i] != want[i]*time.Minute {
			t.Fatalf("waited %v", waits)
		}
	}
	known = true
	r.apply(row.id)
	if row = r.only(); row.state != applied || row.reason != "authorization.canceled: applied" {
		t.Errorf("when the payment is there: %+v", row)
	}
	if n := len(r.pubsub.Published()); n != 1+9 {
		t.Errorf("%d messages", n)
	}
}

func TestAnEventDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		event  string
		after  time.Duration
		reason string
	}{
		"named by our id":   {intent("evt_1", id.ID{1}), waitForPayment, "names a payment that does not exist"},
		"named by Stripe's": {strangeRefund, waitForReference, "not about a payment of ours"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.ingest(r.signed(c.event))
			row := r.only()
			r.advance(c.after - time.Second)
			r.apply(row.id)
			if row = r.only(); row.state != parked {
				t.Errorf("before its time: %+v", row)
			}
			r.advance(time.Second)
			r.apply(row.id)
			if row = r.only(); row.state != ignored || row.reason != c.reason {
				t.Errorf("after it: %+v", row)
			}
		})
	}
}

// strangeRefund is of a PaymentIntent that no payment of ours has.
const strangeRefund = `{"id":"evt_2","object":"event","type":"refund.updated","created":1803891600,"livemode":false,
	"data":{"object":{"id":"re_1","object":"refund","status":"succeeded","amount":500,"currency":"jpy",
	"payment_intent":"pi_other","balance_transaction":"txn_1","metadata":{},"created":1803891600}}}`

func TestOurOwnTroubleLeavesTheEventToBeTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Payments = applyFunc(func(provider.Event) (string, error) { return "", errors.New("deadlock") })
	r.ingest(r.signed(intent("evt_1", r.NewID())))
	row := r.only()
	if err := r.Apply(t.Context(), row.id); err == nil {
		t.Error("the trouble is not reported")
	}
	if row = r.only(); row.state != stored || row.due == nil {
		t.Errorf("left as %+v", row)
	}
	if err := r.Apply(t.Context(), r.NewID()); err != nil {
		t.Errorf("an event that is not there can't be mended by repetition: %v", err)
	}
}

func TestTheSweepPublishesWhatWasMissed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	away := func(context.Context, *pubsubpb.PublishRequest) error { return errors.New("Pub/Sub is away") }
	r.pubsub.Fail(away, nil)
	first, second := r.NewID(), r.NewID()
	for i, p := range []id.ID{first, second, first} {
		r.advance(time.Millisecond)
		r.ingest(r.signed(intent(fmt.Sprintf("evt_%d", i), p)))
	}
	if n := r.sweep(); n != 0 {
		t.Errorf("published %d before the first try had its time", n)
	}
	r.advance(grace)
	if n, err := r.DueAgain(t.Context(), 100); n != 0 || err == nil {
		t.Errorf("published %d, %v while Pub/Sub is away", n, err)
	}
	if open, err := r.Unapplied(t.Context()); err != nil || open != 3 {
		t.Errorf("%d are open, %v", open, err)
	}
	r.pubsub.Fail(nil, nil)
	if n := r.sweep(); n != 0 {
		t.Errorf("%d are claimed twice", n)
	}
	r.advance(grace)
	if n := r.sweep(); n != 3 {
		t.Errorf("published %d when Pub/Sub was back", n)
	}
	rows, byKey := r.rows(), map[string][]string{}
	for _, m := range r.pubsub.Published() {
		byKey[m.Key] = append(byKey[m.Key], m.Data)
	}
	message := func(k kept) string { return fmt.Sprintf(`{"id":%q}`, k.id) }
	if !slices.Equal(byKey[first.String()], []string{message(rows[0]), message(rows[2])}) ||
		!slices.Equal(byKey[second.String()], []string{message(rows[1])}) {
		t.Errorf("published %v", byKey)
	}
	for _, row := range rows {
		if row.tries != 1 || !row.due.Equal(r.Now().Add(2*time.Minute)) {
			t.Errorf("then %+v", row)
		}
	}
}

func TestTheSweepIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 5 {
		if _, err := r.Ingest(t.Context(), stripe.Name, r.signed(intent(fmt.Sprintf("evt_%d", i), r.NewID())).header,
			[]byte(intent(fmt.Sprintf("evt_%d", i), id.ID{}))); err == nil {
			t.Error("a signature of another body was taken")
		}
		r.ingest(r.signed(intent(fmt.Sprintf("evt_%d", i), r.NewID())))
	}
	r.advance(grace)
	for _, want := range []int{2, 2, 1, 0} {
		if n, err := r.DueAgain(t.Context(), 2); err != nil || n != want {
			t.Errorf("published %d, %v, want %d", n, err, want)
		}
	}
}

func TestStatementsArePrepared(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := r.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range []string{insertEvent, selectEvent, finishEvent, parkEvent, claimDue, republished, countOpen} {
		if _, err := conn.Conn().Prepare(t.Context(), sql, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
