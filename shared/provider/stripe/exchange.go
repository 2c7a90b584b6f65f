package stripe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// Timeouts of one request. Connecting covers DNS, TCP and TLS together; reading covers
// everything after it, to the last byte of the body.
const (
	defaultConnectTimeout = 2 * time.Second
	defaultReadTimeout    = 5 * time.Second
)

// maxReplyBytes bounds a reply. A page of a hundred objects is below 1 MiB.
const maxReplyBytes = 4 << 20

var (
	errConnectTimeout = errors.New("no connection within the connect timeout")
	errReadTimeout    = errors.New("no complete reply within the read timeout")
	errReplyTooLarge  = fmt.Errorf("the reply is larger than %d bytes", maxReplyBytes)
	errBodyless       = errors.New("a POST without a body is refused: net/http would feel free to send it twice")
)

// exchange is one HTTP request and what became of it, kept apart from stripe-go,
// whose errors don't say what was received.
type exchange struct {
	// connected says that a connection was handed over for the request. Before that,
	// no byte of it can have left; from then on, any may have.
	connected atomic.Bool

	status   int
	header   http.Header
	body     []byte
	err      error // of the transport; status may be known even so
	timedOut bool
	duration time.Duration
}

func (x *exchange) answered() bool { return x.err == nil }

// replayed reports whether Stripe says that it repeats a stored answer.
func (x *exchange) replayed() bool { return x.header.Get("Idempotent-Replayed") == "true" }

type exchangeKey struct{}

// recorder is the http.RoundTripper under stripe-go. It fills in the exchange that
// travels in the request's context.
type recorder struct {
	next          http.RoundTripper
	connect, read time.Duration
}

func (t *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errors.New("stripe: a request without an exchange in its context")
	}
	resp, err := t.roundTrip(req, x)
	if err != nil {
		x.err = err
		var timeout net.Error
		x.timedOut = errors.Is(err, errConnectTimeout) || errors.Is(err, errReadTimeout) ||
			errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
		return nil, err
	}
	return resp, nil
}

func (t *recorder) roundTrip(req *http.Request, x *exchange) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	timer := time.AfterFunc(t.connect, func() {
		if x.connected.Load() {
			cancel(errReadTimeout)
		} else {
			cancel(errConnectTimeout)
		}
	})
	defer timer.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		x.connected.Store(true)
		timer.Reset(t.read)
	}})

	out, err := sendOnce(req.Clone(ctx))
	if err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(out)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	x.status, x.header = resp.StatusCode, resp.Header
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes+1))
	_ = resp.Body.Close() // after reading, closing tells nothing new
	if err != nil {
		x.body = body // kept as evidence; it decides nothing
		return nil, causeOf(ctx, err)
	}
	if len(body) > maxReplyBytes {
		return nil, errReplyTooLarge
	}
	x.body = body
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
			return nil, errBodyless
		}
		req.Body, req.ContentLength = http.NoBody, 0
		return req, nil
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(payload)), int64(len(payload))
	return req, nil
}

// causeOf prefers our timeout to the "context canceled" that it causes.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errConnectTimeout) || errors.Is(cause, errReadTimeout) {
		return cause
	}
	return err
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport is the only transport: that nothing left is proven by its trace, which
// another RoundTripper need not call. It speaks HTTP/1.1 alone, where a connection
// carries one request at a time and nothing is retried below us, and takes no proxy
// from the environment.
func newTransport(dial dialFunc, connect, read time.Duration) *http.Transport {
	if dial == nil {
		dial = (&net.Dialer{Timeout: connect}).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            dial,
		Protocols:              protocols,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    connect,
		ResponseHeaderTimeout:  read,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    32,
		// Shorter than servers keep idle connections, and measured on the wall clock by
		// net/http, so that an instance that was frozen does not try a dead one.
		IdleConnTimeout:    30 * time.Second,
		DisableCompression: true,
	}
}
