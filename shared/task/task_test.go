package task

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
	"testing"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

func newEnv(clock *testTime, log io.Writer) api.Env {
	return api.Env{
		Now: clock.now, NewID: id.Source{Now: clock.now}.New,
		Log: telemetry.NewLogger(log, slog.LevelInfo, "test"),
	}
}

func post(t *testing.T, h http.Handler, token, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://function.example/any/path", strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("Request-Id", "req_from_a_header")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestATaskIsDoneOnceItIsBelieved(t *testing.T) {
	t.Parallel()
	clock := newTime()
	i := newIssuer(t, clock)
	var did []string
	h := Handler(newEnv(clock, io.Discard), "resumepayment", newVerifier(t, i.config, clock), func(ctx context.Context, body []byte) error {
		did = append(did, telemetry.RequestID(ctx)+" "+string(body))
		return nil
	})
	if w := post(t, h, i.Token(caller, audience), `{"saga_id":"1"}`); w.Code != http.StatusNoContent || w.Body.Len() > 0 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	for name, token := range map[string]string{"no token": "", "another account's": i.Token("x@demo", audience)} {
		if w := post(t, h, token, `{"saga_id":"2"}`); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: got %d", name, w.Code)
		}
	}
	if w := post(t, h, i.Token(caller, audience), strings.Repeat("x", maxBody+1)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: got %d", w.Code)
	}
	if len(did) != 1 || did[0] != `req_from_a_header {"saga_id":"1"}` {
		t.Errorf("did %q", did)
	}
}

func TestWhatIsNotDoneIsTriedAgain(t *testing.T) {
	t.Parallel()
	clock := newTime()
	i := newIssuer(t, clock)
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"another error":     {errors.New("deadlock"), http.StatusInternalServerError},
		"an internal fault": {fault.Wrap(errors.New("deadlock"), "apply"), http.StatusInternalServerError},
		"a conflict":        {fault.New(fault.OperationInProgress, "later"), http.StatusInternalServerError},
		"not found":         {fault.New(fault.NotFound, "not yet"), http.StatusInternalServerError},
		"unavailable":       {fault.New(fault.Unavailable, "later"), http.StatusServiceUnavailable},
	} {
		var log bytes.Buffer
		h := Handler(newEnv(clock, &log), "resumepayment", newVerifier(t, i.config, clock), func(context.Context, []byte) error { return c.err })
		w := post(t, h, i.Token(caller, audience), "{}")
		if w.Code != c.want || w.Header().Get("Content-Type") != fault.ProblemType {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "deadlock") || !strings.Contains(log.String(), `"severity":"ERROR"`) {
			t.Errorf("%s: answered %s, logged %s", name, w.Body, &log)
		}
	}
	h := Handler(newEnv(clock, io.Discard), "resumepayment", newVerifier(t, i.config, clock), func(context.Context, []byte) error { panic("oh") })
	if w := post(t, h, i.Token(caller, audience), "{}"); w.Code != http.StatusInternalServerError {
		t.Errorf("a panic: got %d", w.Code)
	}
}

// pushed is a body as Pub/Sub pushes it.
const pushed = `{"message":{"attributes":{"event_id":"e1","request-id":"req_of_the_event"},"data":"eyJhIjoxfQ==",
	"messageId":"7","message_id":"7","publishTime":"2026-03-01T09:00:00Z","publish_time":"2026-03-01T09:00:00Z",
	"orderingKey":"k1"},"subscription":"projects/p/subscriptions/s","deliveryAttempt":3}`

func TestPushUnwrapsTheMessage(t *testing.T) {
	t.Parallel()
	clock := newTime()
	i := newIssuer(t, clock)
	var got Message
	var request string
	var log bytes.Buffer
	h := Push(newEnv(clock, &log), "applywebhook", newVerifier(t, i.config, clock), func(ctx context.Context, m Message) error {
		got, request = m, telemetry.RequestID(ctx)
		return nil
	})
	if w := post(t, h, i.Token(caller, audience), pushed); w.Code != http.StatusNoContent {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if got.ID != "7" || string(got.Data) != `{"a":1}` || got.Attributes["event_id"] != "e1" || got.OrderingKey != "k1" {
		t.Errorf("got %+v", got)
	}
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if request != "req_of_the_event" || line["request_id"] != "req_of_the_event" {
		t.Errorf("handled as %q, logged as %v", request, line["request_id"])
	}
}

func TestPushRefusesWhatIsNoMessage(t *testing.T) {
	t.Parallel()
	clock := newTime()
	i := newIssuer(t, clock)
	h := Push(newEnv(clock, io.Discard), "applywebhook", newVerifier(t, i.config, clock), func(context.Context, Message) error {
		t.Error("called")
		return nil
	})
	for _, body := range []string{"", "{}", "[]", `{"message":null}`, `{"message":{"data":"not base64"}}`, `{"data":"e30="}`} {
		if w := post(t, h, i.Token(caller, audience), body); w.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d", body, w.Code)
		}
	}
	if w := post(t, h, "", pushed); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: got %d", w.Code)
	}
}
