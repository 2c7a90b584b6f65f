package apigateway

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func orders(t *testing.T) []byte {
	t.Helper()
	doc, err := os.ReadFile("testdata/api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func signed(email, audience string) string { return email + " for " + audience }

// backends sends every operation of testdata/api.yaml to one address.
func backends(address string) map[string]string {
	return map[string]string{"createOrder": address, "listOrders": address, "getOrder": address, "latestOrder": address}
}

// stand is a gateway in front of a backend that answers as told, with what it saw and what was observed.
type stand struct {
	url, backend string

	mu         sync.Mutex
	answer     func(w http.ResponseWriter)
	seen       *http.Request
	seenBody   string
	observed   []string
	violations []error
}

func newStand(t *testing.T) *stand {
	t.Helper()
	st := &stand{answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		st.mu.Lock()
		defer st.mu.Unlock()
		st.seen, st.seenBody = r, string(body)
		st.answer(w)
	}))
	t.Cleanup(backend.Close)
	st.backend = backend.URL
	g, err := New(Options{
		Document: orders(t), Backends: backends(backend.URL), Token: signed, Email: "gateway@demo",
		Violation: func(err error) { st.violations = append(st.violations, err) },
		Observe: func(r *http.Request, reqBody []byte, resp *http.Response, respBody []byte, violation error) {
			st.observed = append(st.observed, fmt.Sprintf("%s %s [%s] %d [%s] %t", r.Method, r.URL.Path, reqBody, resp.StatusCode, respBody, violation != nil))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	st.url = front.URL
	return st
}

func (st *stand) do(t *testing.T, method, path, body string, h http.Header) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, st.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, h)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

func TestPassesOnAsItCame(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.answer = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Mine", "1")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "{ \"odd\" : 1.0 }\n")
	}
	const body = `{"amount": 1e2, "amount": "x"} {}`
	resp, got := st.do(t, "POST", "/v1/orders?a=1&b=;&a=%zz", body, http.Header{
		"Content-Type": {"text/weird"}, "X-Forwarded-For": {"192.0.2.7"}, "Traceparent": {"00-x"},
	})
	if resp.StatusCode != http.StatusTeapot || got != "{ \"odd\" : 1.0 }\n" || resp.Header.Get("X-Mine") != "1" {
		t.Errorf("answer %d %q %v", resp.StatusCode, got, resp.Header)
	}
	if st.seenBody != body || st.seen.URL.RequestURI() != "/v1/orders?a=1&b=;&a=%zz" || "http://"+st.seen.Host != st.backend {
		t.Errorf("backend saw %s %s at %s", st.seen.URL.RequestURI(), st.seenBody, st.seen.Host)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/weird", "Traceparent": "00-x", "X-Forwarded-For": "192.0.2.7, 127.0.0.1",
		"Authorization": "Bearer gateway@demo for " + st.backend, "Accept-Encoding": "gzip", // the test's client's
	} {
		if v := st.seen.Header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	g, err := New(Options{Document: orders(t), Backends: backends("http://backend.invalid"), Token: signed})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ request, want string }{
		{"POST /v1/orders", "createOrder map[]"},
		{"GET /v1/orders", "listOrders map[]"},
		{"GET /v1/orders/ord_1", "getOrder map[id:ord_1]"},
		{"GET /v1/orders/latest", "latestOrder map[]"},
		{"GET /v1/orders/a%2Fb", "getOrder map[id:a/b]"},
		{"GET /v1/orders/%6Catest", "latestOrder map[]"},
		{"DELETE /v1/orders/ord_1", "405 /v1/orders/{id}"},
		{"HEAD /v1/orders", "405 /v1/orders"},
		{"GET /v1/orders/", "404"},
		{"GET /v1//orders", "404"},
		{"GET /V1/orders", "404"},
		{"GET /v1/orders/ord_1/x", "404"},
		{"GET /", "404"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		r, params, status := match(g.routes, method, u.EscapedPath())
		got := fmt.Sprint(status)
		switch status {
		case http.StatusOK:
			got = fmt.Sprint(r.operation.OperationID, " ", params)
		case http.StatusMethodNotAllowed:
			got += " " + r.template
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.request, got, c.want)
		}
	}
}

func TestRefusalsAreOfTheGatewayAndNotObserved(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	for request, want := range map[string]string{
		"GET /v2/orders":    `404 {"code":404,"message":"The current request is not defined by this API."}`,
		"DELETE /v1/orders": `405 {"code":405,"message":"The current request is matched to the defined url template \"/v1/orders\" but its http method is not allowed"}`,
	} {
		method, path, _ := strings.Cut(request, " ")
		resp, body := st.do(t, method, path, "", nil)
		if got := fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(body)); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
	if resp, _ := st.do(t, "POST", "/v1/orders", strings.Repeat("x", maxBody+1), nil); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d", resp.StatusCode)
	}
	if st.seen != nil || len(st.observed) != 0 {
		t.Errorf("backend saw %v, observed %v", st.seen, st.observed)
	}
}

func TestUnreachableBackend(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	g, err := New(Options{Document: orders(t), Backends: backends(gone.URL), Token: signed, Violation: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest("GET", "/v1/orders", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// body is one that never comes.
type never struct{ r *http.Request }

func (n never) Read([]byte) (int, error) {
	<-n.r.Context().Done()
	return 0, n.r.Context().Err()
}

func (never) Close() error { return nil }

func TestDeadlinesOfTheDocument(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		headersCome := false
		g, err := New(Options{
			Document: orders(t), Backends: backends("http://backend.invalid"), Token: signed,
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if headersCome {
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: never{r}, Request: r}, nil
				}
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		for request, want := range map[string]time.Duration{
			"POST /v1/orders":       2 * time.Minute,  // of the named backend
			"GET /v1/orders":        15 * time.Second, // the root's backend sets none
			"GET /v1/orders/latest": 3 * time.Second,  // of its own
		} {
			for _, headersCome = range []bool{false, true} {
				method, path, _ := strings.Cut(request, " ")
				w := httptest.NewRecorder()
				began := time.Now()
				g.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
				if took := time.Since(began); took != want || w.Code != http.StatusGatewayTimeout {
					t.Errorf("%s: %d after %s, want 504 after %s", request, w.Code, took, want)
				}
			}
		}
	})
}

func TestViolationsAreTold(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	const order, key = `{"id":"ord_1","created_at":"2026-03-01T09:00:00Z"}`, "0123456789abcdef"
	for _, c := range []struct {
		what          string
		request, send string
		key           string
		status        int
		media, answer string
		requestID     string
		want          string // part of the violation
	}{
		{"fits", "POST /v1/orders", `{"amount":5}`, key, 201, "application/json", order, "r", ""},
		{"header missing", "POST /v1/orders", `{"amount":5}`, key, 201, "application/json", order, "", "Request-Id"},
		{"body wrong", "POST /v1/orders", `{"amount":5}`, key, 201, "application/json", `{"id":"ord_1","created_at":"today"}`, "r", "created_at"},
		{"member unknown", "POST /v1/orders", `{"amount":5}`, key, 201, "application/json", strings.Replace(order, "{", `{"x":1,`, 1), "r", "x"},
		{"media type wrong", "POST /v1/orders", `{"amount":5}`, key, 201, "text/html", `<p>`, "r", "text/html"},
		{"not JSON", "POST /v1/orders", `{"amount":5}`, key, 201, "application/json", `<p>`, "r", "201"},
		{"accepted without a key", "POST /v1/orders", `{"amount":5}`, "", 201, "application/json", order, "r", "Idempotency-Key"},
		{"accepted a wrong body", "POST /v1/orders", `{"amount":0}`, key, 201, "application/json", order, "r", "accepted request"},
		{"accepted a body it does not take", "GET /v1/orders", `{}`, "", 200, "application/json", `[]`, "", "not allowed"},
		{"accepted a wrong query", "GET /v1/orders?limit=101", ``, "", 200, "application/json", `[]`, "", "limit"},
		{"accepted a wrong path", "GET /v1/orders/pay_1", ``, "", 200, "application/json", order, "", "id"},
		{"refused a wrong request", "POST /v1/orders", `{"amount":0}`, "", 400, "application/problem+json", `{"code":"bad"}`, "", ""},
		{"problem wrong", "POST /v1/orders", `{"amount":0}`, "", 400, "application/problem+json", `{}`, "", "code"},
		{"status unknown", "GET /v1/orders", ``, "", 500, "application/problem+json", `{"code":"bad"}`, "", "status is not supported"},
	} {
		st.violations, st.observed = nil, nil
		st.answer = func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", c.media)
			if c.requestID != "" {
				w.Header().Set("Request-Id", c.requestID)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.answer)
		}
		h := http.Header{"Content-Type": {"application/json"}}
		if c.key != "" {
			h.Set("Idempotency-Key", c.key)
		}
		method, path, _ := strings.Cut(c.request, " ")
		resp, got := st.do(t, method, path, c.send, h)
		if resp.StatusCode != c.status || got != c.answer {
			t.Errorf("%s: altered to %d %s", c.what, resp.StatusCode, got)
		}
		switch {
		case c.want == "" && len(st.violations) != 0:
			t.Errorf("%s: %v", c.what, st.violations)
		case c.want != "" && (len(st.violations) != 1 || !strings.Contains(st.violations[0].Error(), c.want)):
			t.Errorf("%s: violations %v, want %q", c.what, st.violations, c.want)
		}
		plain, _, _ := strings.Cut(path, "?")
		want := []string{fmt.Sprintf("%s %s [%s] %d [%s] %t", method, plain, c.send, c.status, c.answer, c.want != "")}
		if diff := cmp.Diff(want, st.observed); diff != "" {
			t.Errorf("%s: observed %s", c.what, diff)
		}
	}
}

func TestRefusedOptions(t *testing.T) {
	t.Parallel()
	without, more := backends("http://b.invalid"), backends("http://b.invalid")
	delete(without, "getOrder")
	more["deleteOrder"] = "http://b.invalid"
	for what, o := range map[string]Options{
		"no token":        {Document: orders(t), Backends: backends("http://b.invalid")},
		"no backend":      {Document: orders(t), Backends: without, Token: signed},
		"no operation":    {Document: orders(t), Backends: more, Token: signed},
		"backend no URL":  {Document: orders(t), Backends: backends("b.invalid"), Token: signed},
		"not a document":  {Document: []byte("{"), Token: signed},
		"version missing": {Document: bytes.Replace(orders(t), []byte(", version: 1.0.0"), nil, 1), Backends: backends("http://b.invalid"), Token: signed},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
