package isolation

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// bodies create a payment at a provider.
var bodies = map[string]string{
	stripe.Name: `{"amount":1000,"currency":"USD","payment_method":"pm_card_visa","capture_method":"manual"}`,
	paypal.Name: `{"amount":1000,"currency":"USD","payment_method":"paypal","capture_method":"manual","return_url":"https://shop.example/back"}`,
	bank.Name:   `{"amount":1000,"currency":"GBP","payment_method":"bank_transfer","return_url":"https://shop.example/back"}`,
}

// A sample is one payment.
type sample struct {
	Provider string
	Due      time.Time     // when it was to be sent
	Late     time.Duration // when it was: what the load itself adds
	Took     time.Duration // from Due to the end of the answer
	Answer   string
}

// What a create is answered, but for problems, which are their status and code.
const (
	authorized = "201 authorized"
	payersTurn = "202 requires action"
	unknown    = "202 unknown"
	noAnswer   = "no answer"
)

// A load makes payments, and keeps a sample of each.
type load struct {
	world  *world
	client *http.Client

	mu      sync.Mutex
	next    int // instance
	samples []sample
}

func newLoad(w *world) *load {
	return &load{world: w, client: &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: concurrency, DisableCompression: true},
	}}
}

// stream sends payments to a provider, so many a second, until it is stopped or ctx ends, which waits for the answers.
//
// Each is sent when it is due, however long the earlier ones take, and its time counts from then on. A system that
// stalls is thus not measured by the few payments that it lets through (which would be coordinated omission).
func (l *load) stream(ctx context.Context, provider string, rate int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var under sync.WaitGroup
		defer under.Wait()
		begun, every := time.Now(), time.Second/time.Duration(rate)
		for n := 1; ; n++ {
			due := begun.Add(time.Duration(n) * every)
			if !measure.Pause(ctx, time.Until(due)) {
				return
			}
			under.Go(func() { l.pay(provider, due) })
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// crowd has so many payers make payments at a provider, each one after the other, until they are stopped, which waits for
// the answers. Unlike a stream they wait while the system does, so they ask nothing of the machine that it can't do.
func (l *load) crowd(ctx context.Context, provider string, payers int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for n := range payers {
		all.Go(func() {
			for wait := breath * time.Duration(n) / time.Duration(payers); measure.Pause(ctx, wait); wait = breath {
				l.pay(provider, time.Now())
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// breath is how long a payer waits between payments.
const breath = 2 * time.Second

func (l *load) pay(provider string, due time.Time) {
	s := sample{Provider: provider, Due: due, Late: time.Since(due)}
	to := l.enter()
	s.Answer = l.send(to, provider)
	<-to.requests
	s.Took = time.Since(due)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, s)
}

// enter finds an instance, as the platform does: the next in turn that is not full, or else the next that has room.
func (l *load) enter() *target {
	all := l.world.instances
	l.mu.Lock()
	l.next++
	first := l.next
	l.mu.Unlock()
	for n := range all {
		i := all[(first+n)%len(all)]
		select {
		case i.requests <- struct{}{}:
			return i
		default:
		}
	}
	i := all[first%len(all)]
	i.requests <- struct{}{}
	return i
}

func (l *load) send(to *target, provider string) string {
	req, err := http.NewRequest(http.MethodPost, to.Host.URL("createpayment")+"/v1/payments", bytes.NewReader([]byte(bodies[provider])))
	if err != nil {
		return noAnswer
	}
	req.Header.Set("Authorization", "Bearer "+l.world.apiKey)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "load-"+rand.Text())
	resp, err := l.client.Do(req)
	if err != nil {
		return noAnswer
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return noAnswer
	}
	var a struct {
		Status     any // a payment's is text, a problem's a number
		Code       string
		NextAction any `json:"next_action"`
	}
	if json.Unmarshal(body, &a) != nil {
		return fmt.Sprintf("%d unreadable", resp.StatusCode)
	}
	switch {
	case resp.StatusCode == http.StatusCreated && a.Status == "AUTHORIZED":
		return authorized
	case resp.StatusCode == http.StatusAccepted && a.NextAction != nil:
		return payersTurn
	case resp.StatusCode == http.StatusAccepted:
		return unknown
	case a.Code != "":
		return fmt.Sprintf("%d %s", resp.StatusCode, a.Code)
	}
	return fmt.Sprintf("%d %v", resp.StatusCode, a.Status)
}

// of is the samples of a provider that were due from one time to another.
func (l *load) of(provider string, from, to time.Time) (some []sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.samples {
		if s.Provider == provider && !s.Due.Before(from) && s.Due.Before(to) {
			some = append(some, s)
		}
	}
	return some
}
