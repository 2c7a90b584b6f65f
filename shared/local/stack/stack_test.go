package stack_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func start(t *testing.T, o stack.Options) *stack.Stack {
	t.Helper()
	if o.DatabaseURL == "" {
		o.DatabaseURL = pgtest.New(t)
	}
	o.Violation = func(err error) { t.Errorf("does not fit openapi.yaml: %v", err) }
	s, err := stack.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

type created struct{ ID, Status string }

// create makes a payment through the gateway, which leads through most of what a stack has.
func create(t *testing.T, s *stack.Stack, apiKey string) (p created) {
	t.Helper()
	post(t, s, apiKey, "/v1/payments",
		`{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","capture_method":"manual"}`, &p)
	return p
}

// post sends a request with a key of its own, and reads a 2xx answer into out.
func post(t *testing.T, s *stack.Stack, apiKey, path, body string, out any) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.GatewayURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Idempotency-Key", "key-"+rand.Text())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if out != nil && resp.StatusCode/100 == 2 {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode
}

func TestSettledMeansThatAllIsQuiet(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	s := start(t, stack.Options{Log: log})
	merchantID, key, err := s.CreateMerchant(t.Context(), "Test")
	if err != nil {
		t.Fatal(err)
	}
	told, err := shop.Open(s.Clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(told.Close)
	secret, err := s.CreateEndpoint(t.Context(), merchantID, told.URL)
	if err != nil {
		t.Fatal(err)
	}
	told.Trust(secret)
	for range 10 {
		p := create(t, s, key)
		if p.Status != "AUTHORIZED" {
			t.Fatalf("%+v", p)
		}
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		// What a function has too little time for, of the real one, it leaves to the sweep.
		if log.takes("left to the sweep") {
			if err := s.Advance(t.Context(), 2*time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		// Without waiting: the event has been published, pushed, made a task and delivered by now.
		if events := told.Events(p.ID); len(events) != 1 || events[0].Type != "payment.authorized" {
			t.Errorf("when all was quiet the shop had %v", events)
		}
		var open int
		const undone = `SELECT count(*) FROM webhook_events WHERE state IN ('stored', 'parked')`
		if err := s.DB.QueryRow(t.Context(), undone).Scan(&open); err != nil || open != 0 {
			t.Errorf("%d of the provider's events were not dealt with, %v\n%s", open, err, log.text())
		}
	}
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// takes reports whether the log has the words, and empties it if so.
func (l *lockedBuffer) takes(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !bytes.Contains(l.b.Bytes(), []byte(words)) {
		return false
	}
	l.b.Reset()
	return true
}

// A request that is being answered when the stack is stopped is answered.
func TestStopLetsRequestsEnd(t *testing.T) {
	t.Parallel()
	reached, goOn := make(chan struct{}), make(chan struct{})
	s := start(t, stack.Options{Hook: func(ctx context.Context, point string) {
		if stack.FunctionOf(ctx) == "createpayment" && point == payment.PointClaimed {
			close(reached)
			<-goOn
		}
	}})
	_, key, err := s.CreateMerchant(t.Context(), "Test")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan created, 1)
	go func() { answered <- create(t, s, key) }()
	<-reached
	stopped := make(chan struct{})
	go func() {
		s.Stop()
		close(stopped)
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C { // until the functions take no new connections: they are being stopped
		conn, err := net.Dial("tcp", s.HostConfig().Addresses["getpayment"])
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(goOn)
	if p := <-answered; p.Status != "AUTHORIZED" {
		t.Errorf("%+v", p)
	}
	<-stopped
}

func TestJobsAndTime(t *testing.T) {
	t.Parallel()
	s := start(t, stack.Options{})
	if err := s.RunJob(t.Context(), "sweep"); err != nil {
		t.Error(err)
	}
	if err := s.RunJob(t.Context(), "none"); err == nil {
		t.Error("a job that does not exist was run")
	}
	if err := s.Advance(t.Context(), 90*time.Second); err != nil {
		t.Error(err)
	}
	if now := s.Clock.Now(); !now.Equal(stack.Epoch.Add(90 * time.Second)) {
		t.Errorf("it is %v", now)
	}
	resp, err := http.Get(s.MetricsURL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if want := `http_requests_total{code="204",function="sweep"} 2`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("the metrics lack %s, %v:\n%s", want, err, text)
	}
}
