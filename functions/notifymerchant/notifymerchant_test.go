package notifymerchant

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/outbox/outboxtest"
)

// world has a merchant with an endpoint, and an event of its payment that was
// published and is pushed.
func world(t *testing.T) (*apitest.World, outboxtest.Message) {
	t.Helper()
	w := apitest.New(t)
	_, err := w.Pool.Exec(t.Context(), `
		INSERT INTO webhook_endpoints (id, merchant_id, url, enabled, event_types, created_at, updated_at)
		VALUES ($1, $2, 'https://shop.example/hook', true, '{}', $3, $3)`, w.Env.NewID(), w.Shop, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	payment := outboxtest.Payment(t, w.Pool, w.Shop, w.Env.NewID, w.Clock.Now())
	_, err = outboxtest.Commit(t.Context(), w.Pool, w.Env.NewID, outbox.Event{PaymentID: payment, RequestID: "req_first", At: w.Clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	relay := outbox.NewRelay(w.Pool, w.PubSub.Topics.PaymentEvents, w.Env.Now, w.Env.NewID)
	if err := relay.Publish(t.Context(), payment); err != nil {
		t.Fatal(err)
	}
	return w, w.PubSub.Published()[0]
}

func tasks(t *testing.T, w *apitest.World) []*cloudtaskspb.Task {
	t.Helper()
	list, err := w.Tasks.ListTasks(t.Context(), &cloudtaskspb.ListTasksRequest{
		Parent: apitest.DeliveryQueue, ResponseView: cloudtaskspb.Task_FULL,
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.Tasks
}

func TestNotifyMakesTheFirstTask(t *testing.T) {
	t.Parallel()
	w, message := world(t)
	h := w.Build(Build)
	for range 3 { // Pub/Sub delivers at least once
		if rec := w.Push(h, message); rec.Code != http.StatusNoContent {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
	}
	made := tasks(t, w)
	if len(made) != 1 {
		t.Fatalf("%d tasks; want 1", len(made))
	}
	delivery := w.Text(`SELECT id::text FROM webhook_deliveries`)
	request := made[0].GetHttpRequest()
	if want := `{"delivery_id":"` + delivery + `","attempt":1}`; string(request.Body) != want || request.Url != apitest.Audience {
		t.Errorf("the task sends %s to %s; want %s", request.Body, request.Url, want)
	}
	if got := request.Headers["request-id"]; got != "req_first" {
		t.Errorf("the task belongs to the request %q", got)
	}
	if !strings.Contains(w.Log.String(), `"request_id":"req_first"`) {
		t.Error("the log does not name the request that caused the event")
	}
}

func TestMessagesThatNameNoEventEndInTheDeadLetters(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	for _, event := range []string{"", "x", w.Env.NewID().String()} {
		rec := w.Push(h, outboxtest.Message{Data: "{}", Attributes: map[string]string{"event_id": event}})
		if rec.Code != http.StatusInternalServerError {
			t.Errorf("%q: got %d", event, rec.Code)
		}
	}
}

func TestOurOwnTroubleIsTriedAgain(t *testing.T) {
	t.Parallel()
	w, message := world(t)
	h := w.Build(Build)
	w.Tasks.Stop()
	if rec := w.Push(h, message); rec.Code < http.StatusInternalServerError {
		t.Fatalf("got %d while the queue is away", rec.Code)
	}
	w.Tasks.Start()
	if rec := w.Push(h, message); rec.Code != http.StatusNoContent || len(tasks(t, w)) != 1 {
		t.Errorf("got %d, and %d tasks, when it is back", rec.Code, len(tasks(t, w)))
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	rec := httptest.NewRecorder()
	w.Build(Build).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}")))
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("got %d", rec.Code)
	}
}

func TestWrongConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"DATABASE_URL": "", "TASKS_LOCATION": "", "DELIVER_URL": "", "OIDC_CALLERS": "", "WEBHOOK_SCHEDULE": "-1s",
	} {
		w := apitest.New(t)
		w.Config[name] = value
		if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%q: %v", name, value, err)
		}
	}
}
