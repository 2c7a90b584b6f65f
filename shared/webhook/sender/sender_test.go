package sender

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"
)

func local() *Sender {
	return New(true, func() time.Time { return time.Unix(1_800_000_000, 0) })
}

func send(t *testing.T, s *Sender, url string) Result {
	t.Helper()
	r, err := s.Send(t.Context(), url, http.Header{"Content-Type": {"application/json"}}, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server would not notice that the client is gone
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAnswersAreClassified(t *testing.T) {
	t.Parallel()
	s := local()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &code)
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(code)
	})
	for code, want := range map[int]Outcome{
		200: OutcomeDelivered, 201: OutcomeDelivered, 202: OutcomeDelivered, 204: OutcomeDelivered, 299: OutcomeDelivered,
		300: OutcomeStatus3xx, 304: OutcomeStatus3xx, 400: OutcomeStatus4xx, 404: OutcomeStatus4xx, 410: OutcomeGone,
		429: OutcomeStatus4xx, 500: OutcomeStatus5xx, 503: OutcomeStatus5xx, 600: OutcomeOther,
	} {
		got := send(t, s, fmt.Sprintf("%s/%d", url, code))
		if got.Outcome != want || got.Code != code || got.RetryAfter != 90*time.Second {
			t.Errorf("%d: %+v; want %s", code, got, want)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var followed atomic.Int32
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	for _, code := range []int{301, 302, 303, 307, 308} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, code) })
		if got := send(t, local(), url); got.Outcome != OutcomeStatus3xx || got.Code != code {
			t.Errorf("%d: %+v", code, got)
		}
	}
	if n := followed.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestEndpointsThatHangAreCutOff(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, h := range map[string]http.HandlerFunc{
		"before the status": hang,
		"after the status": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		},
		"in the body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("o"))
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := local()
			if s.timeout != 10*time.Second {
				t.Errorf("an attempt may take %v; want 10 s", s.timeout)
			}
			s.timeout = 100 * time.Millisecond
			if got := send(t, s, serve(t, h)); got.Outcome != OutcomeTimeout {
				t.Errorf("got %+v; want a timeout", got)
			}
		})
	}
}

func TestOnlyTheBeginningOfAnAnswerIsRead(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	ended := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		for range 16 << 10 { // 1 GiB, if anybody reads it
			n, err := w.Write(chunk)
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	})
	got := send(t, local(), url)
	<-ended
	if got.Outcome != OutcomeDelivered || got.Body != strings.Repeat("x", maxResponseBytes) {
		t.Errorf("%s with %d bytes; want delivered with %d", got.Outcome, len(got.Body), maxResponseBytes)
	}
	if n := written.Load(); n > 64<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

func TestGzipIsNotUnpacked(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 4<<20))
	_ = z.Close()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("we accept %q", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	got := send(t, local(), url)
	if got.Outcome != OutcomeDelivered || len(got.Body) > maxResponseBytes || !strings.HasPrefix(got.Body, "\x1f") {
		t.Errorf("%s, %d bytes, %.10q; want the beginning as it was sent", got.Outcome, len(got.Body), got.Body)
	}
}

func TestKeptAnswersAreTextWithoutSecrets(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"ok":                                     "ok",
		"a\x00b":                                 "a\uFFFDb",
		"a\xff\xfeb":                             "a\uFFFDb",
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "[masked]",
		"card 4242 4242 4242 4242 is bad":        "card [masked] is bad",
		strings.Repeat("é", maxResponseBytes):    strings.Repeat("é", maxResponseBytes/2),
		strings.Repeat("\xff.", maxResponseBytes): strings.Repeat("\uFFFD.", maxResponseBytes/4),
	} {
		got := send(t, local(), serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, sent) })).Body
		if got != want || !utf8.ValidString(got) {
			t.Errorf("%.40q (%d bytes) is kept as %.40q (%d bytes); want %.40q (%d bytes)", sent, len(sent), got, len(got), want, len(want))
		}
	}
}

// raw is an endpoint that speaks bytes instead of HTTP.
func raw(t *testing.T, h func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buffer := make([]byte, 4096)
				_, _ = c.Read(buffer) // the request
				h(c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	says := func(text string) string {
		return raw(t, func(c net.Conn) { _, _ = io.WriteString(c, text) })
	}
	reset := raw(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) })
	untrusted := httptest.NewUnstartedServer(status(http.StatusOK))
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	for name, c := range map[string]struct {
		url  string
		want Outcome
		code int
	}{
		"nobody listens":             {"http://" + closed.Addr().String(), OutcomeNotListens, 0},
		"closed without an answer":   {"http://" + says(""), OutcomeConnection, 0},
		"reset":                      {"http://" + reset, OutcomeConnection, 0},
		"not HTTP":                   {"http://" + says("SSH-2.0-x\r\n"), OutcomeConnection, 0},
		"not TLS":                    {"https://" + says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), OutcomeTLS, 0},
		"an unknown authority":       {untrusted.URL, OutcomeTLS, 0},
		"endless hints":              {"http://" + says(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 10_000)), OutcomeConnection, 0},
		"endless headers":            {"http://" + says("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"), OutcomeConnection, 0},
		"a 2xx that breaks off":      {"http://" + says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"), OutcomeConnection, 200},
		"a 5xx that breaks off":      {"http://" + says("HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\noh"), OutcomeStatus5xx, 500},
		"a name that does not exist": {"http://nowhere.invalid", OutcomeDNS, 0},
	} {
		s := local()
		if name == "a name that does not exist" {
			dialer := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, net.ErrClosed
			}}}
			s = newSender(true, newGuard(true), dialer.DialContext, s.now)
		}
		if got := send(t, s, c.url); got.Outcome != c.want || got.Code != c.code || got.Error == "" && c.code == 0 {
			t.Errorf("%s: %+v; want %s, %d", name, got, c.want, c.code)
		}
	}
}

// The URL may hold a token of the merchant's: what is kept of an error must not.
func TestErrorsDoNotShowTheURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://" + raw(t, func(net.Conn) {}), "http://127.0.0.1:1", "http://10.0.0.1"} {
		if got := send(t, local(), url+"/hook?token=hush"); strings.Contains(got.Error, "hush") || strings.Contains(got.Error, "10.0.0.1") {
			t.Errorf("kept: %q", got.Error)
		}
	}
}

// Nor where we are.
func TestErrorsDoNotShowOurAddress(t *testing.T) {
	t.Parallel()
	reset := raw(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) })
	handshake := raw(t, func(c net.Conn) { _, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 40}) }) // a TLS alert
	for url, want := range map[string]string{"http://" + reset: "connection reset by peer", "https://" + handshake: "handshake failure"} {
		if got := send(t, local(), url); strings.Contains(got.Error, "127.0.0.1") || !strings.Contains(got.Error, want) {
			t.Errorf("kept: %q; want %q without an address", got.Error, want)
		}
	}
}

// An endpoint that shows what it got, as debugging ones do.
func TestOwnHeadersThatAreEchoedAreNotKept(t *testing.T) {
	t.Parallel()
	key := v1(bytes.Repeat([]byte{1}, 32))
	header, err := Header("evt_1", vectorAt, nil, []Key{key}, map[string]string{
		"Authorization": "Bearer tellnobody", "X-Password": "pass word; longer", "X-Tenant": "shop-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s|%s|%s|%s|%s", r.Header.Get("Authorization"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
			r.Header.Get("X-Password"), r.Header.Get("X-Tenant"), r.Header.Get("webhook-id"))
	})
	got, err := local().Send(t.Context(), url, header, nil)
	if want := "[masked]|[masked]|[masked]|shop-1|evt_1"; err != nil || got.Body != want {
		t.Errorf("kept: %q, %v; want %q", got.Body, err, want)
	}
}

func TestNoProxyIsUsed(t *testing.T) {
	t.Parallel()
	if New(false, time.Now).client.Transport.(*http.Transport).Proxy != nil {
		t.Error("there is a proxy, which the guard would see instead of the endpoint")
	}
}

// A server closes a kept connection just as the next request goes out. That is no
// failure of an attempt: the request goes over a new one.
func TestKeptConnectionThatWasClosedCostsNoAttempt(t *testing.T) {
	t.Parallel()
	s := local()
	var served atomic.Int32
	url := "http://" + raw(t, func(c net.Conn) {
		served.Add(1)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		buffer := make([]byte, 4096)
		_, _ = c.Read(buffer) // the next request, which finds nobody
	})
	for range 3 {
		if got := send(t, s, url); got.Outcome != OutcomeDelivered {
			t.Errorf("got %+v", got)
		}
	}
	if n := served.Load(); n != 3 {
		t.Errorf("%d requests were served; want 3", n)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "-1": 0, "1.5": 0, "soon": 0, "99999999999999999999": 0,
		now.Add(time.Hour).Format(http.TimeFormat):  time.Hour,
		now.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After %q is %v; want %v", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Mon, 23 Nov 2026 10:00:00 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if got := retryAfter(value, time.Unix(0, 0)); got < 0 {
			t.Errorf("%q is %v", value, got)
		}
	})
}

// Most endpoints speak HTTP/2, where the bounds are kept by other code.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	var s *Sender
	var last http.Header
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		last = r.Header
		switch {
		case r.ProtoMajor != 2:
			t.Errorf("the endpoint is spoken to by %s", r.Proto)
		case r.URL.Path == "/headers":
			for i := range 64 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1<<10))
			}
		case r.URL.Path == "/large":
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
		case r.URL.Path == "/redirect":
			http.Redirect(w, r, "/large", http.StatusPermanentRedirect)
		case r.URL.Path == "/abort":
			_, _ = io.WriteString(w, "o")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/hang":
			<-r.Context().Done()
		}
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	s = local()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots

	key, body := v1(bytes.Repeat([]byte{1}, 32)), []byte("{}")
	header, err := Header("evt_1", vectorAt, body, []Key{key}, map[string]string{"X-Api-Key": "k"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Outcome{
		"/": OutcomeDelivered, "/headers": OutcomeConnection, "/large": OutcomeDelivered, "/redirect": OutcomeStatus3xx, "/abort": OutcomeConnection,
	} {
		got, err := s.Send(t.Context(), server.URL+path, header, body)
		if err != nil || got.Outcome != want || len(got.Body) > maxResponseBytes || strings.Contains(got.Error, "127.0.0.1") {
			t.Errorf("%s: %s %q, %d bytes kept, %v; want %s", path, got.Outcome, got.Error, len(got.Body), err, want)
		}
		if err := verify(key.Spell(), last, body); err != nil || last.Get("X-Api-Key") != "k" || len(last["Idempotency-Key"]) != 0 {
			t.Errorf("%s: the endpoint got %v, which %v", path, last, err)
		}
	}
	s.timeout = 100 * time.Millisecond
	if got, err := s.Send(t.Context(), server.URL+"/hang", header, body); err != nil || got.Outcome != OutcomeTimeout {
		t.Errorf("/hang: %+v, %v", got, err)
	}
}
