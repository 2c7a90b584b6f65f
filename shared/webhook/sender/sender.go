// Package sender makes the requests to merchants' endpoints: it signs them, and sends
// them where it is safe to, and nowhere else.
//
// It owns no tables and decides nothing about deliveries: whatever an endpoint does is a
// Result. It refuses URLs, addresses and headers that could reach or impersonate
// something other than a merchant's public server.
package sender

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	"github.com/tollgate/tollgate/shared/telemetry"
)

// Bounds on what an endpoint can make us do.
const (
	attemptTimeout   = 10 * time.Second // from the look-up of its name to the end of its answer
	connectTimeout   = 5 * time.Second
	maxResponseBytes = 4 << 10 // what is read of an answer, and kept
	maxHeaderBytes   = 16 << 10

	// An instance makes fewer attempts at a time, and an endpoint fewer still, so it is
	// never one merchant who waits for another's at a host that they share.
	maxConnections = 256 // to one host
	maxIdle        = 256 // kept, of all hosts
	maxIdlePerHost = 32  // of one, as much as an endpoint uses at a time and some
	maxURLBytes    = 2048
)

// UserAgent is the header of that name.
const UserAgent = "Tollgate-Webhooks/1.0"

// Outcome is what came of an attempt.
type Outcome string

// The outcomes. All but OutcomeDelivered are failures.
const (
	OutcomeDelivered  Outcome = "delivered"          // 2xx, and the answer was complete
	OutcomeGone       Outcome = "gone"               // 410: the endpoint wants no more
	OutcomeStatus3xx  Outcome = "status_3xx"         // redirects are not followed
	OutcomeStatus4xx  Outcome = "status_4xx"         //
	OutcomeStatus5xx  Outcome = "status_5xx"         //
	OutcomeOther      Outcome = "status_other"       // no status that ends a request
	OutcomeTimeout    Outcome = "timeout"            // not complete in time
	OutcomeRefused    Outcome = "refused_address"    // we won't connect there; nothing was sent
	OutcomeDNS        Outcome = "dns"                // the name could not be resolved
	OutcomeNotListens Outcome = "connection_refused" //
	OutcomeTLS        Outcome = "tls"                //
	OutcomeConnection Outcome = "connection"         // broken off, or not HTTP
)

// Result is what came of an attempt, as it is kept.
type Result struct {
	Outcome    Outcome
	Code       int    // HTTP status; 0 without an answer
	Body       string // of the answer, cut and masked
	Error      string // for whoever reads the log, with no address that we refused
	RetryAfter time.Duration
}

// Sender makes requests to endpoints, and only where it is safe to: the rules are
// checked on the URL, and again on each address that is really dialled, so that a
// name that resolves differently the second time gains nothing.
type Sender struct {
	client     *http.Client
	guard      *ssrf.Guardian
	allowLocal bool
	timeout    time.Duration
	now        func() time.Time
}

// New makes a sender. With allowLocal it also sends to loopback and by http, for local runs.
func New(allowLocal bool, now func() time.Time) *Sender {
	guard := newGuard(allowLocal)
	dialer := &net.Dialer{Timeout: connectTimeout, Control: guard.Safe}
	return newSender(allowLocal, guard, dialer.DialContext, now)
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func newSender(allowLocal bool, guard *ssrf.Guardian, dial dialFunc, now func() time.Time) *Sender {
	return &Sender{
		guard: guard, allowLocal: allowLocal, timeout: attemptTimeout, now: now,
		client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy:                  nil, // the guard would see the proxy's address only
				DialContext:            dial,
				ForceAttemptHTTP2:      true,
				DisableCompression:     true, // or a small answer could unpack to a huge one
				MaxResponseHeaderBytes: maxHeaderBytes,
				MaxConnsPerHost:        maxConnections,
				MaxIdleConns:           maxIdle,
				MaxIdleConnsPerHost:    maxIdlePerHost,
				IdleConnTimeout:        30 * time.Second,
				TLSHandshakeTimeout:    connectTimeout,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			},
		},
	}
}

// Send makes one attempt. Whatever the endpoint does is a result; there is an error
// only if ctx ended first.
func (s *Sender) Send(ctx context.Context, target string, header http.Header, body []byte) (Result, error) {
	u, err := checkURL(target, s.guard, s.allowLocal)
	if err != nil {
		return Result{Outcome: OutcomeRefused, Error: "the URL " + err.Error()}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(bounded, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return Result{Outcome: OutcomeRefused, Error: "the URL is malformed"}, nil
	}
	req.Header = header.Clone()
	req.Header.Set("User-Agent", UserAgent)
	// Not sent (net/http leaves out keys without values), but it tells the transport
	// that the request may be repeated where a kept connection turns out to be closed.
	req.Header["Idempotency-Key"] = []string{}

	resp, err := s.client.Do(req)
	if err != nil {
		return s.failed(ctx, err)
	}
	defer resp.Body.Close()
	kept, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBytes))
	r := Result{
		Outcome: classify(resp.StatusCode), Code: resp.StatusCode, Body: readable(hush(string(kept), header)),
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), s.now()),
	}
	if err != nil && r.Outcome == OutcomeDelivered {
		// The answer broke off: whatever gave it may not have meant it.
		broken, err := s.failed(ctx, err)
		broken.Code, broken.Body = r.Code, r.Body
		return broken, err
	}
	return r, nil
}

// failed classifies an attempt that had no complete answer.
func (s *Sender) failed(ctx context.Context, err error) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, fmt.Errorf("webhook: the attempt was cut short by us: %w", ctx.Err())
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedPort),
		errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrInvalidHostPort):
		// Without the address: what a name resolves to inside is not the merchant's to know.
		return Result{Outcome: OutcomeRefused, Error: "the URL does not lead to a public address"}, nil
	case errors.As(err, &dns):
		return Result{Outcome: OutcomeDNS, Error: "the host's name could not be resolved"}, nil
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return Result{Outcome: OutcomeTimeout, Error: "there was no complete answer in time"}, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return Result{Outcome: OutcomeNotListens, Error: "the connection was refused"}, nil
	case isTLS(err):
		return Result{Outcome: OutcomeTLS, Error: cause(err)}, nil
	default:
		return Result{Outcome: OutcomeConnection, Error: cause(err)}, nil
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func isTLS(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       *net.OpError // how crypto/tls reports one, by either side
	)
	return errors.As(err, &certificate) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error")
}

// cause is the error's text without the URL, whose path or query may hold a secret,
// and without our own address.
func cause(err error) string {
	var (
		u  *url.Error
		op *net.OpError
	)
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.As(err, &op) {
		return readable(op.Op + ": " + op.Err.Error())
	}
	return readable(err.Error())
}

func classify(code int) Outcome {
	switch {
	case code >= 200 && code <= 299:
		return OutcomeDelivered
	case code == http.StatusGone:
		return OutcomeGone
	case code >= 300 && code <= 399:
		return OutcomeStatus3xx
	case code >= 400 && code <= 499:
		return OutcomeStatus4xx
	case code >= 500 && code <= 599:
		return OutcomeStatus5xx
	default:
		return OutcomeOther
	}
}

// retryAfter reads the header (RFC 9110 section 10.2.3): seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// minHushed is how long a header's value, or a word of it, must be to be masked where
// an answer repeats it: shorter ones are no secrets.
const minHushed = 8

// hush masks the values of the merchant's own headers in an answer: endpoints that
// show what they got would have us keep his credentials.
func hush(s string, header http.Header) string {
	for name, values := range header {
		if reserved(name) {
			continue
		}
		for _, value := range values {
			for _, word := range append([]string{value}, strings.Fields(value)...) {
				if len(word) >= minHushed {
					s = strings.ReplaceAll(s, word, masked)
				}
			}
		}
	}
	return s
}

const masked = "[masked]" // as telemetry.Mask has it

// readable makes a text of others fit for a text column and for people: no secrets
// that were echoed, no bytes that are not text, and no more than is kept.
func readable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = telemetry.Mask(strings.ReplaceAll(s, "\x00", "\uFFFD"))
	if len(s) > maxResponseBytes {
		s = strings.ToValidUTF8(s[:maxResponseBytes], "")
	}
	return s
}
