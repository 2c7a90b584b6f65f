package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

func TestAPostWithoutABodyIsRefused(t *testing.T) {
	t.Parallel()
	req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sendOnce(req); !errors.Is(err, ErrBodyless) {
		t.Errorf("sendOnce = %v", err)
	}
}

// net/http ignores a proxy for loopback, so the wire itself can't show this.
func TestThereIsNoProxy(t *testing.T) {
	t.Parallel()
	if New(nil, Limits{time.Second, time.Second}).next.Proxy != nil {
		t.Error("the transport takes a proxy")
	}
}

func TestARequestNeedsAnExchange(t *testing.T) {
	t.Parallel()
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:1/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := New(nil, Limits{time.Second, time.Second})
	if _, err := transport.Client().Do(req); err == nil {
		t.Error("a request was sent unrecorded")
	}
	x := &Exchange{}
	if _, err := transport.Client().Do(req.WithContext(With(t.Context(), x))); err == nil || x.Err == nil || x.Answered() || x.Connected() || x.Failed() == nil {
		t.Errorf("%v; exchange: %v, answered %t, connected %t", err, x.Err, x.Answered(), x.Connected())
	}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	for status, fails := range map[int]bool{200: false, 201: true, 404: true, 0: true} {
		if err := (&Exchange{Status: status}).Failed(); (err != nil) != fails {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{Clip("éé", 2), "éé"}, {Clip("ééé", 2), "éé"}, {ClipBytes("éé", 3), "é"}, {ClipBytes("éé", 4), "éé"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// A deadline of the caller's is a timeout, and proves nothing once a connection was
// handed over. Without one, nothing left.
func TestTheCallersDeadline(t *testing.T) {
	t.Parallel()
	reason := fmt.Errorf("the operation's time is up: %w", context.DeadlineExceeded)
	for name, c := range map[string]struct {
		dial      func(ctx context.Context, requested chan<- struct{}) (net.Conn, error)
		connected bool
	}{
		"while it connects": {func(ctx context.Context, requested chan<- struct{}) (net.Conn, error) {
			close(requested)
			<-ctx.Done()
			return nil, ctx.Err()
		}, false},
		"while it reads": {func(_ context.Context, requested chan<- struct{}) (net.Conn, error) {
			return mute(requested), nil
		}, true},
	} {
		for _, how := range []struct {
			name     string
			cause    error
			timedOut bool
		}{{"out of time", reason, true}, {"gone", context.Canceled, false}} {
			requested := make(chan struct{})
			transport := New(func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, requested) }, Limits{})
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-requested
				cancel(how.cause)
			}()
			var seen atomic.Bool
			x := &Exchange{}
			req, err := http.NewRequestWithContext(With(WatchTimeouts(ctx, &seen), x), http.MethodGet, "http://provider.example/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := transport.Client().Do(req); err == nil {
				t.Errorf("%s, %s: answered", name, how.name)
			}
			if !errors.Is(x.Err, how.cause) || x.TimedOut != how.timedOut || seen.Load() != how.timedOut || x.Connected() != c.connected || x.Answered() {
				t.Errorf("%s, %s: %v, timed out %t, seen %t, connected %t", name, how.name, x.Err, x.TimedOut, seen.Load(), x.Connected())
			}
			transport.Close()
		}
	}
}

// mute is a connection whose other end reads one request and says nothing.
func mute(requested chan<- struct{}) net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
			close(requested)
		}
	}()
	return ours
}

func TestTheTransportsOwnLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits Limits
		dial   Dialer
	}{
		"connect": {Limits{Connect: 20 * time.Millisecond}, func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		"read": {Limits{Connect: time.Hour, Read: 20 * time.Millisecond}, func(context.Context, string, string) (net.Conn, error) {
			return mute(make(chan struct{})), nil
		}},
	} {
		transport := New(c.dial, c.limits)
		x := &Exchange{}
		req, err := http.NewRequestWithContext(With(t.Context(), x), http.MethodGet, "http://provider.example/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := transport.Client().Do(req); err == nil || !x.TimedOut || x.Connected() != (name == "read") {
			t.Errorf("%s: %v, timed out %t, connected %t", name, x.Err, x.TimedOut, x.Connected())
		}
		transport.Close()
	}
}
