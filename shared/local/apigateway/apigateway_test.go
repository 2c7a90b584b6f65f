package apigateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

const document = `
openapi: 3.0.3
info: {title: Test, version: "1"}
x-google-api-management:
  backends:
    slow: {deadline: 0.05}
    quick: {deadline: 30.0}
paths:
  /v1/things:
    post:
      operationId: makeThing
      x-google-backend: quick
      requestBody:
        required: true
        content:
          application/json:
            schema: {type: object, required: [n], additionalProperties: false, properties: {n: {type: integer}}}
      responses:
        "201":
          description: made
          content: {application/json: {schema: {type: object, required: [id], properties: {id: {type: string}}}}}
        "400":
          description: bad
          content: {application/problem+json: {schema: {type: object, required: [code], properties: {code: {type: string}}}}}
  /v1/things/{id}:
    get:
      operationId: getThing
      x-google-backend: slow
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses:
        "200": {description: it, content: {application/json: {schema: {type: object}}}}
`

type rig struct {
	url string

	mu         sync.Mutex
	violations []string
}

func newRig(t *testing.T, backend http.HandlerFunc) *rig {
	t.Helper()
	r := &rig{}
	b := httptest.NewServer(backend)
	t.Cleanup(b.Close)
	g, err := New(Options{
		Document: []byte(document), Backends: map[string]string{"makeThing": b.URL, "getThing": b.URL}, Email: "gateway@test",
		Token: func(email, audience string) string { return "token-of-" + email },
		Violation: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.violations = append(r.violations, err.Error())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	r.url = front.URL
	return r
}

func (r *rig) do(t *testing.T, method, path, body string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestAuthorizationMoves(t *testing.T) {
	t.Parallel()
	var got http.Header
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		got = req.Header
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"1"}`)
	})
	for name, c := range map[string]struct{ send, want http.Header }{
		"a key": {
			http.Header{"Authorization": {"Bearer sk_1"}},
			http.Header{"Authorization": {"Bearer token-of-gateway@test"}, "X-Forwarded-Authorization": {"Bearer sk_1"}},
		},
		"a key and a forged header": {
			http.Header{"Authorization": {"Bearer sk_1"}, "X-Forwarded-Authorization": {"Bearer sk_2"}},
			http.Header{"Authorization": {"Bearer token-of-gateway@test"}, "X-Forwarded-Authorization": {"Bearer sk_1"}},
		},
		"a forged header alone passes, as at ESPv2": {
			http.Header{"X-Forwarded-Authorization": {"Bearer sk_2"}},
			http.Header{"Authorization": {"Bearer token-of-gateway@test"}, "X-Forwarded-Authorization": {"Bearer sk_2"}},
		},
		"nothing": {http.Header{}, http.Header{"Authorization": {"Bearer token-of-gateway@test"}}},
	} {
		if status, body := r.do(t, "POST", "/v1/things", `{"n":1}`, c.send); status != http.StatusCreated {
			t.Fatalf("%s: %d %s", name, status, body)
		}
		for _, h := range []string{"Authorization", "X-Forwarded-Authorization"} {
			if !slices.Equal(got[h], c.want[h]) {
				t.Errorf("%s: the backend got %s %v, want %v", name, h, got[h], c.want[h])
			}
		}
	}
	if len(r.violations) != 0 {
		t.Errorf("violations: %v", r.violations)
	}
}

func TestOnlyListedOperationsPass(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(http.ResponseWriter, *http.Request) { t.Error("the backend was called") })
	for path, want := range map[string]int{"/v1/other": 404, "/": 404, "/v1/things/": 404, "/V1/things": 404} {
		if status, body := r.do(t, "GET", path, "", nil); status != want {
			t.Errorf("GET %s: %d %s, want %d", path, status, body, want)
		}
	}
	if status, _ := r.do(t, "DELETE", "/v1/things", "", nil); status != http.StatusMethodNotAllowed {
		t.Errorf("a method that is not listed: %d", status)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	if status, body := r.do(t, "GET", "/v1/things/1", "", nil); status != http.StatusGatewayTimeout {
		t.Errorf("a backend past its deadline: %d %s", status, body)
	}
}

func TestViolationsAreReportedAndNothingIsAltered(t *testing.T) {
	t.Parallel()
	answer, status := "", 201
	media := "application/json"
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	})
	for _, c := range []struct {
		name, send, answer, media string
		status                    int
		want                      int
	}{
		{"all well", `{"n":1}`, `{"id":"1"}`, "application/json", 201, 0},
		{"an answer without a member", `{"n":1}`, `{}`, "application/json", 201, 1},
		{"an accepted request that does not fit", `{"n":"1"}`, `{"id":"1"}`, "application/json", 201, 1},
		{"a refused request that does not fit", `{"n":"1"}`, `{"code":"bad"}`, "application/problem+json", 400, 0},
		{"a problem without a code", `{"n":1}`, `{}`, "application/problem+json", 400, 1},
		{"a status that is not listed", `{"n":1}`, `{}`, "application/json", 418, 1},
	} {
		answer, status, media = c.answer, c.status, c.media
		r.violations = nil
		if got, body := r.do(t, "POST", "/v1/things", c.send, nil); got != c.status || body != c.answer {
			t.Errorf("%s: passed on as %d %s", c.name, got, body)
		}
		if len(r.violations) != c.want {
			t.Errorf("%s: %d violations %v, want %d", c.name, len(r.violations), r.violations, c.want)
		}
	}
}

func TestDocumentMistakes(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"not a document":      {Document: []byte("{")},
		"no backend":          {Document: []byte(document), Backends: map[string]string{"makeThing": "http://127.0.0.1"}},
		"an invalid document": {Document: []byte("openapi: 3.0.3\ninfo: {title: x}\npaths: {}")},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
