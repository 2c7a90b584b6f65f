package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"
)

// MaxReplyBytes bounds a reply. A page of a hundred objects is below 1 MiB.
const MaxReplyBytes = 4 << 20

// What can be wrong with a request or a reply before its content is looked at.
var (
	ErrConnectTimeout = errors.New("no connection within the connect timeout")
	ErrReadTimeout    = errors.New("no complete reply within the read timeout")
	ErrReplyTooLarge  = fmt.Errorf("the reply is larger than %d bytes", MaxReplyBytes)
	ErrBodyless       = errors.New("a POST without a body is refused: net/http would feel free to send it twice")
)

// Exchange is one HTTP request and what became of it, kept apart from client
// libraries, whose errors don't say what was received.
type Exchange struct {
	// connected says that a connection was handed over for the request. Before that,
	// no byte of it can have left; from then on, any may have.
	connected atomic.Bool

	Status   int // 0 if none came
	Header   http.Header
	Body     []byte
	Err      error // of the transport; Status may be known even so
	TimedOut bool
	Duration time.Duration // for the adapter to measure
}

// Answered reports whether a whole reply came. Only then do Status, Header and Body
// decide anything.
func (x *Exchange) Answered() bool { return x.Err == nil && x.Status != 0 }

// Connected reports whether any byte of the request may have left.
func (x *Exchange) Connected() bool { return x.connected.Load() }

// Failed says why a reply to a look-up shows nothing; nil for a whole 200.
func (x *Exchange) Failed() error {
	if x.Err != nil {
		return x.Err
	}
	if x.Status != http.StatusOK {
		return fmt.Errorf("status %d", x.Status)
	}
	return nil
}

// longestRetryAfter bounds what is believed of a header.
const longestRetryAfter = time.Hour

// RetryAfter is how long the reply asks to be left alone, by Retry-After or by a header
// of the provider's own that holds a time; 0 if it does not say.
func (x *Exchange) RetryAfter(now time.Time, own ...string) time.Duration {
	for _, name := range append([]string{"Retry-After"}, own...) {
		text := x.Header.Get(name)
		wait := time.Duration(0)
		if seconds, err := strconv.Atoi(text); err == nil {
			wait = time.Duration(min(seconds, int(longestRetryAfter/time.Second))) * time.Second
		} else if at, err := http.ParseTime(text); err == nil {
			wait = at.Sub(now)
		}
		if wait > 0 {
			return min(wait, longestRetryAfter)
		}
	}
	return 0
}

type exchangeKey struct{}

// With has the one request made under the returned context recorded in x.
func With(ctx context.Context, x *Exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

// Dialer connects; it has the signature of net.Dialer.DialContext.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Limits are how long one request may take. Connecting covers DNS, TCP and TLS
// together; reading covers everything after it, to the last byte of the body. 0 is no
// limit but the one of the request's context.
type Limits struct {
	Connect, Read time.Duration
}

// Transport is the http.RoundTripper of an adapter. It fills in the exchange that
// travels in the request's context, and refuses requests without one.
type Transport struct {
	next   *http.Transport
	limits Limits
}

// New makes a transport; a nil dial is TCP.
//
// It is the only transport that adapters may use: that nothing left is proven by its
// trace, which another RoundTripper need not call. It speaks HTTP/1.1 alone, where a
// connection carries one request at a time and nothing is retried below us, and takes
// no proxy from the environment.
func New(dial Dialer, limits Limits) *Transport {
	if dial == nil {
		dial = (&net.Dialer{Timeout: limits.Connect}).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &Transport{limits: limits, next: &http.Transport{
		Proxy:                  nil,
		DialContext:            dial,
		Protocols:              protocols,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    limits.Connect,
		ResponseHeaderTimeout:  limits.Read,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    32,
		// Shorter than servers keep idle connections, and measured on the wall clock by
		// net/http, so that an instance that was frozen does not try a dead one.
		IdleConnTimeout:    30 * time.Second,
		DisableCompression: true,
	}}
}

// Client is an http.Client over the transport that follows no redirects.
func (t *Transport) Client() *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close closes idle connections. Requests under way go on.
func (t *Transport) Close() { t.next.CloseIdleConnections() }

// RoundTrip sends a request once and reads the whole reply.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*Exchange)
	if !ok {
		return nil, errors.New("wire: a request without an exchange in its context")
	}
	resp, err := t.roundTrip(req, x)
	if err != nil {
		x.Err = err
		if x.TimedOut = isTimeout(err); x.TimedOut {
			if seen, ok := req.Context().Value(timeoutsKey{}).(*atomic.Bool); ok {
				seen.Store(true)
			}
		}
		return nil, err
	}
	return resp, nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, ErrConnectTimeout) || errors.Is(err, ErrReadTimeout) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

type timeoutsKey struct{}

// WatchTimeouts has seen set when a request made under the returned context times out,
// whatever becomes of the operation that it is a part of.
func WatchTimeouts(ctx context.Context, seen *atomic.Bool) context.Context {
	return context.WithValue(ctx, timeoutsKey{}, seen)
}

func (t *Transport) roundTrip(req *http.Request, x *Exchange) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	timer := time.AfterFunc(orForever(t.limits.Connect), func() {
		if x.connected.Load() {
			cancel(ErrReadTimeout)
		} else {
			cancel(ErrConnectTimeout)
		}
	})
	defer timer.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		x.connected.Store(true)
		timer.Reset(orForever(t.limits.Read))
	}})

	out, err := sendOnce(req.Clone(ctx))
	if err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(out)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	x.Status, x.Header = resp.StatusCode, resp.Header
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxReplyBytes+1))
	_ = resp.Body.Close() // after reading, closing tells nothing new
	if err != nil {
		x.Body = body // kept as evidence; it decides nothing
		return nil, causeOf(ctx, err)
	}
	if len(body) > MaxReplyBytes {
		return nil, ErrReplyTooLarge
	}
	x.Body = body
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// sendOnce makes net/http unable to send the request again by itself, which it does
// with any request that has an Idempotency-Key and a GetBody when a kept-alive
// connection breaks: sending is for the saga to decide. It also drops the header in
// which stripe-go tells Stripe about this machine.
func sendOnce(req *http.Request) (*http.Request, error) {
	req.Header.Del("X-Stripe-Client-User-Agent")
	req.GetBody = nil
	var payload []byte
	if req.Body != nil {
		var err error
		if payload, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close() // it is in memory
	}
	if len(payload) == 0 {
		if req.Method == http.MethodPost {
			return nil, ErrBodyless
		}
		req.Body, req.ContentLength = http.NoBody, 0
		return req, nil
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(payload)), int64(len(payload))
	return req, nil
}

// causeOf prefers the reason for which the request was given up to what it looks like
// from a socket: "context canceled", "i/o timeout".
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func orForever(d time.Duration) time.Duration {
	if d == 0 {
		return math.MaxInt64
	}
	return d
}
