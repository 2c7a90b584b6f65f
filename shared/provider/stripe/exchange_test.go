package stripe

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// What never had a connection was not sent; to a replay that proves nothing.
func TestNothingLeftWithoutAConnection(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := closed.Addr().String()
	_ = closed.Close()
	notTLS := cut(t, "SSH-2.0-OpenSSH\r\n")

	for _, c := range []struct {
		name, base string
		dial       wire.Dialer
	}{
		{name: "connection refused", base: "http://" + refusing},
		{name: "DNS", base: "http://api.stripe.com", dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "api.stripe.com", IsNotFound: true}}
		}},
		{name: "TLS", base: "https://" + notTLS.listener.Addr().String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAdapter(t, c.base, Options{Dial: c.dial})
			got := a.Execute(t.Context(), firstCall(t, request(authorize)))
			if got.Outcome != provider.NotSent || got.TimedOut || got.Evidence.Error == "" {
				t.Errorf("%s, timed out %t: %q", got.Outcome, got.TimedOut, got.Evidence.Error)
			}
			if got := a.Execute(t.Context(), replay(t, request(authorize))); got.Outcome != provider.Unknown {
				t.Errorf("a replay: %s", got.Outcome)
			}
		})
	}
}

func TestTheCallerGivesUp(t *testing.T) {
	t.Parallel()
	received := make(chan struct{})
	server := newRawServer(t, func(int) (string, bool) {
		close(received)
		return "", false
	})
	a := newAdapter(t, server.base(), Options{})

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if got := a.Execute(gone, firstCall(t, request(authorize))); got.Outcome != provider.NotSent {
		t.Errorf("before: %s, %q", got.Outcome, got.Evidence.Error)
	}
	leaving, cancel := context.WithCancel(t.Context())
	go func() {
		<-received
		cancel()
	}()
	if got := a.Execute(leaving, firstCall(t, request(authorize))); got.Outcome != provider.Unknown {
		t.Errorf("after: %s, %q", got.Outcome, got.Evidence.Error)
	}
}

// After a connection, silence of any kind proves nothing.
func TestCutRepliesAreUnknown(t *testing.T) {
	t.Parallel()
	whole := ok(intentIn("requires_capture"))
	for name, raw := range map[string]string{
		"no byte":               "",
		"part of a status line": "HTTP/1.1 200 OK\r\nConte",
		"garbage":               "\x15\x03\x01\x00\x02\x02(",
		"half of the body":      whole[:len(whole)-100],
		"broken chunks":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"headers without end":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 128<<10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAdapter(t, cut(t, raw).base(), Options{})
			got := a.Execute(t.Context(), firstCall(t, request(authorize)))
			if got.Outcome != provider.Unknown || got.TimedOut || got.Evidence.Error == "" || len(got.Facts) > 0 {
				t.Errorf("%s, timed out %t, facts %v: %q", got.Outcome, got.TimedOut, got.Facts, got.Evidence.Error)
			}
			if strings.Contains(got.Evidence.Body, "hush") {
				t.Errorf("the evidence shows the client secret: %s", got.Evidence.Body)
			}
		})
	}
}

func TestHugeReplyIsUnknown(t *testing.T) {
	t.Parallel()
	body := string(intentIn("requires_capture").bytes()) + strings.Repeat(" ", wire.MaxReplyBytes)
	a := newAdapter(t, always(t, reply(200, body)).base(), Options{})
	got := a.Execute(t.Context(), firstCall(t, request(authorize)))
	if got.Outcome != provider.Unknown || got.Evidence.Error != wire.ErrReplyTooLarge.Error() {
		t.Errorf("%s: %q", got.Outcome, got.Evidence.Error)
	}
}

// net/http sends a request again by itself when a kept-alive connection breaks and the
// request has an Idempotency-Key and a GetBody, as all of stripe-go's have.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	server := newRawServer(t, func(n int) (string, bool) {
		if n == 0 {
			return ok(intentIn("requires_capture")), false
		}
		return "", true
	})
	a := newAdapter(t, server.base(), Options{})
	if got := a.Execute(t.Context(), firstCall(t, request(authorize))); got.Outcome != provider.Approved {
		t.Fatalf("first: %s, %q", got.Outcome, got.Evidence.Error)
	}
	if got := a.Execute(t.Context(), firstCall(t, request(capture))); got.Outcome != provider.Unknown {
		t.Errorf("second: %s", got.Outcome)
	}
	if requests, _ := server.seen(); len(requests) != 2 {
		t.Errorf("%d requests arrived, want 2", len(requests))
	}
	// The same holds after a redirect, and after every status that stripe-go retries.
	for _, raw := range []string{
		reply(308, "", "Location: /elsewhere"), reply(409, "{}"), reply(500, "{}"), reply(503, "{}", "Stripe-Should-Retry: true"),
	} {
		server := always(t, raw)
		newAdapter(t, server.base(), Options{}).Execute(t.Context(), firstCall(t, request(void)))
		if requests, _ := server.seen(); len(requests) != 1 {
			t.Errorf("%d requests for %.20q", len(requests), raw)
		}
	}
}

// What goes over the wire, and what does not.
func TestRequestsOnTheWire(t *testing.T) {
	t.Parallel()
	server := always(t, ok(intentIn("requires_capture")))
	a := newAdapter(t, server.base(), Options{})
	call := firstCall(t, request(authorize))
	a.Execute(t.Context(), call)
	a.Execute(t.Context(), call)
	requests, bodies := server.seen()
	if len(requests) != 2 {
		t.Fatalf("%d requests", len(requests))
	}
	for i, req := range requests {
		if got := req.Header.Get("Idempotency-Key"); got != call.Attempt().Key {
			t.Errorf("Idempotency-Key %q, want %q", got, call.Attempt().Key)
		}
		if got := req.Header.Get("Authorization"); got != "Bearer "+testKey {
			t.Errorf("Authorization %q", got)
		}
		if got := req.Header.Get("Stripe-Version"); got != "2023-10-16" {
			t.Errorf("Stripe-Version %q", got)
		}
		for _, name := range []string{"X-Stripe-Client-Telemetry", "X-Stripe-Client-User-Agent", "Accept-Encoding"} {
			if got := req.Header.Get(name); got != "" {
				t.Errorf("%s: %q", name, got)
			}
		}
		if req.ContentLength != int64(len(bodies[i])) || len(req.TransferEncoding) > 0 {
			t.Errorf("length %d of %d, encoding %v", req.ContentLength, len(bodies[i]), req.TransferEncoding)
		}
	}
}

// pipes are connections within a synctest bubble.
type pipes struct {
	serve func(net.Conn) // nil never connects
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if p.serve == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, theirs)
	p.wg.Go(func() { p.serve(theirs) })
	return ours, nil
}

func (p *pipes) close() {
	p.mu.Lock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	readRequest := func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err == nil {
			_, _ = io.Copy(io.Discard, req.Body)
		}
	}
	drain := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for _, c := range []struct {
		name   string
		scheme string
		serve  func(net.Conn)
		want   provider.Outcome
		after  time.Duration
	}{
		{name: "connect", scheme: "http", want: provider.NotSent, after: 2 * time.Second},
		{name: "TLS handshake", scheme: "https", serve: drain, want: provider.NotSent, after: 2 * time.Second},
		{name: "the request is not taken", scheme: "http", serve: func(net.Conn) {}, want: provider.Unknown, after: 5 * time.Second},
		{name: "no reply", scheme: "http", serve: drain, want: provider.Unknown, after: 5 * time.Second},
		{name: "headers only", scheme: "http", serve: func(conn net.Conn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
		}, want: provider.Unknown, after: 5 * time.Second},
		{name: "a trickle", scheme: "http", serve: func(conn net.Conn) {
			readRequest(conn)
			_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			for ; err == nil; <-time.After(time.Second) {
				_, err = io.WriteString(conn, " ")
			}
		}, want: provider.Unknown, after: 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{serve: c.serve}
				a := newAdapter(t, c.scheme+"://api.stripe.test", Options{
					Now: time.Now, Dial: p.dial, ConnectTimeout: 2 * time.Second, ReadTimeout: 5 * time.Second, // by the bubble's clock
				})
				began := time.Now()
				got := a.Execute(t.Context(), firstCall(t, request(authorize)))
				if got.Outcome != c.want || !got.TimedOut {
					t.Errorf("%s, timed out %t: %q", got.Outcome, got.TimedOut, got.Evidence.Error)
				}
				if took := time.Since(began); took != c.after || got.Evidence.Duration != took {
					t.Errorf("took %v, reported %v, want %v", took, got.Evidence.Duration, c.after)
				}
				p.close()
				a.Close()
			})
		})
	}
}

// One line a call, with what identifies it and without what it carried.
func TestCallsAreLogged(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	server := always(t, reply(402, errorBody(cardError().with(fields{"payment_intent": declinedIntent()}))))
	a := newAdapter(t, server.base(), Options{Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	a.Execute(t.Context(), firstCall(t, request(authorize)))
	line := out.String()
	if strings.Count(line, "\n") != 1 {
		t.Errorf("not one line: %s", line)
	}
	for _, want := range []string{"step=authorize", "outcome=declined", "status=402", "provider_request_id=req_raw"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %s", want, line)
		}
	}
	for _, secret := range []string{testKey, "hush", "pm_card_visa"} {
		if strings.Contains(line, secret) {
			t.Errorf("%q is in %s", secret, line)
		}
	}
}
