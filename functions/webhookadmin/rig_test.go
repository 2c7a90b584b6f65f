package webhookadmin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// world has the function, a worker that runs its tasks as deliverwebhook does, and the
// shop's own server, to which the endpoints lead.
type world struct {
	*apitest.World
	t        *testing.T
	handler  http.Handler
	webhooks *webhook.Service

	shop   *httptest.Server
	mu     sync.Mutex
	posts  []post
	status int
}

type post struct {
	header http.Header
	body   []byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: apitest.New(t), t: t, status: http.StatusOK}
	w.shop = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the shop: %v", err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.posts = append(w.posts, post{r.Header.Clone(), body})
		rw.WriteHeader(w.status)
	}))
	t.Cleanup(w.shop.Close)
	worker := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var task webhook.Task
		if err := json.NewDecoder(r.Body).Decode(&task); err != nil || !task.Valid() {
			t.Errorf("the task %+v, %v", task, err)
			return
		}
		if err := w.webhooks.Do(r.Context(), task); err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(worker.Close)
	w.Clock.Register(w.Tasks)

	key := telemetry.Secret(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	w.Config["WEBHOOK_SEALING_KEY"], w.Config["WEBHOOK_ALLOW_LOCAL"] = key.Reveal(), "true"
	w.Config["WEBHOOK_SCHEDULE"], w.Config["DELIVER_URL"] = "0s,1m", worker.URL
	w.handler = w.Build(Build)

	sealer, err := seal.New(key)
	check(t, err)
	tasks, err := outbox.OpenTasks(t.Context(), outbox.TasksConfig{
		Location: w.Config["TASKS_LOCATION"], ServiceAccount: apitest.Caller, DeliverURL: worker.URL,
	}, w.Tasks.ClientOptions()...)
	check(t, err)
	t.Cleanup(func() { _ = tasks.Close() })
	schedule, err := webhook.NewSchedule([]time.Duration{0, time.Minute})
	check(t, err)
	w.webhooks = &webhook.Service{
		Pool: w.Pool, Now: w.Clock.Now, NewID: w.Env.NewID, Tasks: tasks, Schedule: schedule, Log: w.Env.Log,
		Sealer: sealer, Sender: sender.New(true, w.Clock.Now),
	}
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do sends a request, which must be answered with the status.
func (w *world) do(want int, method, target, body string, header ...string) apitest.Answer {
	w.t.Helper()
	a := w.Do(w.handler, w.Request(method, target, body, header...))
	if a.Status != want {
		w.t.Fatalf("%s %s %s: got %d %s; want %d", method, target, body, a.Status, a.Body, want)
	}
	return a
}

// endpoint makes an endpoint that leads to the shop, with more settings if they are given.
func (w *world) endpoint(settings string) apitest.Answer {
	w.t.Helper()
	if settings != "" {
		settings = "," + settings
	}
	return w.do(http.StatusCreated, "POST", endpoints, `{"url":"`+w.shop.URL+`/hook"`+settings+`}`)
}

const (
	endpoints  = "/v1/webhook-endpoints"
	deliveries = "/v1/webhook-deliveries"
	replays    = "/v1/webhook-replays"
)

// happen makes a payment, and tells the endpoints of it.
func (w *world) happen() apitest.Payment {
	w.t.Helper()
	p := w.Payment("automatic")
	payment, err := id.Payment.Parse(p.ID)
	check(w.t, err)
	event, err := id.Parse(w.Text(`SELECT id::text FROM events WHERE transaction_id = $1 ORDER BY sequence DESC LIMIT 1`, payment))
	check(w.t, err)
	check(w.t, w.webhooks.Notify(w.t.Context(), event))
	return p
}

func (w *world) answers(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

// received are the shop's posts since it was last asked.
func (w *world) received() []post {
	w.mu.Lock()
	defer w.mu.Unlock()
	posts := w.posts
	w.posts = nil
	return posts
}

// only is the one delivery of a list.
func (w *world) only(query string) map[string]any {
	w.t.Helper()
	list := data(w.do(http.StatusOK, "GET", deliveries+query, ""))
	if len(list) != 1 {
		w.t.Fatalf("%s: %d deliveries", query, len(list))
	}
	return list[0]
}

func data(a apitest.Answer) (list []map[string]any) {
	items, _ := a.Member("data").([]any)
	for _, item := range items {
		object, _ := item.(map[string]any)
		list = append(list, object)
	}
	return list
}

// unseen fails the test if a secret stands in what nobody may read it in.
func unseen(t *testing.T, where, text string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if bare := strings.TrimPrefix(s, "whsec_"); s == "" || strings.Contains(text, bare) {
			t.Errorf("%s shows a secret", where)
		}
	}
}
