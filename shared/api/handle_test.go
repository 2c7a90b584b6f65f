package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// syncBuffer is a log that a handler writes while the test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// await returns what was logged once it is so many lines: who is cut off knows of it before
// the log does.
func (b *syncBuffer) await(t *testing.T, n int) []map[string]any {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	deadline := time.After(10 * time.Second)
	for {
		lines := b.lines(t)
		if len(lines) >= n {
			return lines
		}
		select {
		case <-again.C:
		case <-deadline:
			return lines
		}
	}
}

// lines returns what was logged, one object a line.
func (b *syncBuffer) lines(t *testing.T) []map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []map[string]any
	for line := range bytes.Lines(b.b.Bytes()) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, m)
	}
	return all
}

func testEnv(log io.Writer) Env {
	now := func() time.Time { return time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC) }
	return Env{Now: now, NewID: id.Source{Now: now}.New, Log: telemetry.NewLogger(log, slog.LevelInfo, "test")}
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandleAnswersItsRouteOnly(t *testing.T) {
	t.Parallel()
	h := Handle(testEnv(io.Discard), "capturepayment", "POST /v1/payments/{id}/capture", func(r *http.Request) (Response, error) {
		return JSON(http.StatusOK, r.PathValue("id"))
	})
	for target, want := range map[string]int{
		"POST /v1/payments/pay_1/capture":      http.StatusOK,
		"POST /v1/payments/pay_1/capture?x=1":  http.StatusOK,
		"GET /v1/payments/pay_1/capture":       http.StatusMethodNotAllowed,
		"HEAD /v1/payments/pay_1/capture":      http.StatusMethodNotAllowed,
		"POST /v1/payments/pay_1/capture/":     http.StatusNotFound,
		"POST /v1/payments//capture":           http.StatusNotFound,
		"POST //v1/payments/pay_1/capture":     http.StatusNotFound,
		"POST /v1/payments/pay_1%2Fcapture":    http.StatusNotFound,
		"POST /v1/payments/a/../pay_1/capture": http.StatusNotFound,
		"POST /v1/payments/pay_1/refund":       http.StatusNotFound,
		"POST /":                               http.StatusNotFound,
	} {
		method, path, _ := strings.Cut(target, " ")
		w := serve(h, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		if w.Code != want || w.Header().Get("Request-Id") == "" || w.Header().Get("Location") != "" {
			t.Errorf("%s: got %d %v %s", target, w.Code, w.Header(), w.Body)
		}
		if want == http.StatusOK && w.Body.String() != `"pay_1"` {
			t.Errorf("%s: got %s", target, w.Body)
		}
		if want == http.StatusMethodNotAllowed && w.Header().Get("Allow") != http.MethodPost {
			t.Errorf("%s: allow %q", target, w.Header().Get("Allow"))
		}
	}
}

func TestHandleAllTellsItsOperationsApart(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	named := func(name string) HandlerFunc {
		return func(r *http.Request) (Response, error) { return JSON(http.StatusOK, name+" "+r.PathValue("id")) }
	}
	h := HandleAll(testEnv(&log), "webhookadmin", Routes{
		"GET /v1/things": named("list"), "POST /v1/things": named("create"), "GET /v1/things/{id}": named("get"),
		"DELETE /v1/things/{id}": named("delete"), "POST /v1/things/{id}/test": named("test"),
	})
	for target, want := range map[string]string{
		"GET /v1/things":           `"list "`,
		"POST /v1/things":          `"create "`,
		"GET /v1/things/a":         `"get a"`,
		"DELETE /v1/things/a":      `"delete a"`,
		"POST /v1/things/a/test":   `"test a"`,
		"PUT /v1/things":           "allow GET, POST",
		"PATCH /v1/things/a":       "allow DELETE, GET",
		"GET /v1/things/a/test":    "allow POST",
		"GET /v1/things/":          "nothing",
		"POST /v1/things//test":    "nothing",
		"POST /v1/things/a/b/test": "nothing",
	} {
		method, path, _ := strings.Cut(target, " ")
		w := serve(h, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		got := w.Body.String()
		switch w.Code {
		case http.StatusMethodNotAllowed:
			got = "allow " + w.Header().Get("Allow")
		case http.StatusNotFound:
			got = "nothing"
		}
		if got != want {
			t.Errorf("%s: got %d %s, want %s", target, w.Code, got, want)
		}
	}
	told := map[any]bool{}
	for _, line := range log.lines(t) {
		told[line["route"]] = true
	}
	if !told["/v1/things/{id}/test"] || told["/v1/things/a/test"] {
		t.Errorf("the log has the routes %v", told)
	}
}

func TestEveryAnswerHasARequestID(t *testing.T) {
	t.Parallel()
	var inside string
	h := Handle(testEnv(io.Discard), "getpayment", "GET /", func(r *http.Request) (Response, error) {
		inside = telemetry.RequestID(r.Context())
		return JSON(http.StatusOK, 1)
	})
	for _, c := range []struct{ header, value, want string }{
		{"Request-Id", "order-17.a", "order-17.a"},
		{"X-Request-Id", "order-17.b", "order-17.b"},
		{"X-Other", "", ""},
		{"Request-Id", "has spaces", ""},
		{"Request-Id", strings.Repeat("a", 500), ""},
		{"Request-Id", "4242424242424242", ""},
		{"X-Request-Id", "\"quoted\"", ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set(c.header, c.value)
		got := serve(h, r).Header().Get("Request-Id")
		if got != inside || c.want != "" && got != c.want || c.want == "" && !strings.HasPrefix(got, "req_") {
			t.Errorf("%s %q: answered %q, inside %q", c.header, c.value, got, inside)
		}
	}
}

func TestAFaultBecomesAProblem(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	h := Handle(testEnv(&log), "capturepayment", "POST /v1/payments/{id}/capture", func(*http.Request) (Response, error) {
		f := fault.New(fault.OperationInProgress, "Ask again.").With("current_status", "AUTHORIZED")
		f.Retry = 1500 * time.Millisecond
		return Response{}, fault.As(f)
	})
	w := serve(h, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/payments/pay_1/capture", nil))
	want := `{"type":"urn:tollgate:problem:operation_in_progress","title":"Another operation is running on the payment","status":409,` +
		`"detail":"Ask again.","instance":"/v1/payments/pay_1/capture","code":"operation_in_progress","current_status":"AUTHORIZED"}`
	if w.Code != http.StatusConflict || w.Body.String() != want || w.Header().Get("Content-Type") != "application/problem+json" ||
		w.Header().Get("Retry-After") != "2" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v\n%s", w.Code, w.Header(), w.Body)
	}
	lines := log.lines(t)
	if len(lines) != 1 || lines[0]["severity"] != "INFO" || lines[0]["code"] != "operation_in_progress" ||
		lines[0]["status"] != 409.0 || lines[0]["function"] != "capturepayment" || lines[0]["error"] != nil {
		t.Errorf("logged %v", lines)
	}
}

func TestInternalFaultsStayInsideAndAreLoggedOnce(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]HandlerFunc{
		"an error": func(*http.Request) (Response, error) { return Response{}, errors.New("secretive") },
		"a fault": func(*http.Request) (Response, error) {
			return Response{}, fault.Wrap(errors.New("secretive"), "secretive")
		},
		"a panic": func(*http.Request) (Response, error) { panic("secretive") },
	} {
		var log syncBuffer
		w := serve(Handle(testEnv(&log), "getpayment", "GET /", do), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secretive") || !strings.Contains(w.Body.String(), `"code":"internal_error"`) {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
		lines := log.lines(t)
		if len(lines) != 1 || lines[0]["severity"] != "ERROR" || !strings.Contains(lines[0]["error"].(string), "secretive") {
			t.Errorf("%s: logged %v", name, lines)
		}
	}
}

func TestACardNumberInThePathIsNotRepeated(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	h := Handle(testEnv(&log), "getpayment", "GET /v1/payments/{id}", func(*http.Request) (Response, error) {
		return Response{}, fault.New(fault.NotFound, "There is no such payment.")
	})
	w := serve(h, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/payments/4242424242424242", nil))
	if all := w.Body.String() + log.b.String(); strings.Contains(all, "4242") {
		t.Errorf("repeated: %s", all)
	}
}

func TestUnauthenticatedNamesTheScheme(t *testing.T) {
	t.Parallel()
	h := Handle(testEnv(io.Discard), "getpayment", "GET /", func(*http.Request) (Response, error) { return Response{}, noKey(nil) })
	w := serve(h, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != `Bearer realm="tollgate"` {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
}

func TestAnsweredPassesTheAnswerOn(t *testing.T) {
	t.Parallel()
	h := Handle(testEnv(io.Discard), "createpayment", "POST /", func(*http.Request) (Response, error) {
		return Answered(idempotency.Answer{Status: 202, Body: []byte(`{"a":1}`), Replayed: true, RetryAfter: 2 * time.Second}), nil
	})
	w := serve(h, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if w.Code != 202 || w.Body.String() != `{"a":1}` || w.Header().Get("Idempotent-Replayed") != "true" || w.Header().Get("Retry-After") != "2" ||
		w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Content-Length") != "7" {
		t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestAfterRunsWhenTheCallerHasItsAnswer(t *testing.T) {
	t.Parallel()
	got, ran := make(chan struct{}), make(chan string, 1)
	srv := httptest.NewServer(Handle(testEnv(io.Discard), "createpayment", "POST /", func(r *http.Request) (Response, error) {
		request := telemetry.RequestID(r.Context())
		return Response{Status: http.StatusCreated, Body: []byte(`{"id":1}`), After: func(ctx context.Context) {
			deadline, bounded := ctx.Deadline()
			if !bounded || time.Until(deadline) > afterBudget || telemetry.RequestID(ctx) != request {
				ran <- "without its bound or its request id"
			}
			select {
			case <-got:
				ran <- "after the answer"
			case <-ctx.Done():
				ran <- "before the answer"
			}
		}}, nil
	}))
	defer srv.Close()
	resp, err := http.Post(srv.URL, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != `{"id":1}` {
		t.Fatalf("got %q, %v", body, err)
	}
	close(got)
	if how := <-ran; how != "after the answer" {
		t.Errorf("ran %s", how)
	}
}

func TestAPanicAfterTheAnswerIsLogged(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	h := Handle(testEnv(&log), "createpayment", "POST /", func(*http.Request) (Response, error) {
		return Response{Status: http.StatusOK, After: func(context.Context) { panic("oh") }}, nil
	})
	w := serve(h, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if lines := log.lines(t); w.Code != http.StatusOK || len(lines) != 2 || lines[1]["panic"] != "oh" {
		t.Errorf("got %d, logged %v", w.Code, lines)
	}
}

func TestACallerThatHangsUpDoesNotStopTheWork(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	h := Handle(testEnv(io.Discard), "createpayment", "POST /", func(r *http.Request) (Response, error) {
		hangUp()
		deadline, ok := r.Context().Deadline()
		if r.Context().Err() != nil || !ok || time.Until(deadline) > requestTimeout {
			t.Errorf("the context is %v, until %v", r.Context().Err(), deadline)
		}
		return JSON(http.StatusOK, 1)
	})
	serve(h, httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil))

	platform, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	want, _ := platform.Deadline()
	h = Handle(testEnv(io.Discard), "createpayment", "POST /", func(r *http.Request) (Response, error) {
		if got, _ := r.Context().Deadline(); !got.Equal(want) {
			t.Errorf("the platform's deadline %v became %v", want, got)
		}
		return JSON(http.StatusOK, 1)
	})
	serve(h, httptest.NewRequestWithContext(platform, http.MethodPost, "/", nil))
}

func TestRequestsAreLoggedAndCounted(t *testing.T) {
	t.Parallel()
	reader := sdk.NewManualReader()
	metrics, err := telemetry.NewMetrics(sdk.NewMeterProvider(sdk.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	env := testEnv(&log)
	env.Metrics = metrics
	start := env.Now()
	times := []time.Time{start, start.Add(120 * time.Millisecond)}
	env.Now = func() time.Time { defer func() { times = times[1:] }(); return times[0] }
	env.NewID = func() id.ID { return id.ID{7} }
	h := Handle(env, "getpayment", "GET /", func(r *http.Request) (Response, error) {
		Annotate(r.Context(), slog.String("merchant_id", "m1"))
		return JSON(http.StatusOK, 1)
	})
	serve(h, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	line := log.lines(t)[0]
	if line["duration_ms"] != 120.0 || line["merchant_id"] != "m1" || line["method"] != "GET" || line["status"] != 200.0 ||
		line["request_id"] != id.Request.External(id.ID{7}) {
		t.Errorf("logged %v", line)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	counted := false
	for _, m := range data.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "http_requests_total" {
			counted = sum.DataPoints[0].Value == 1
		}
	}
	if !counted {
		t.Errorf("not counted: %v", data.ScopeMetrics)
	}
}
