package webhookadmin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

func TestBodiesAreAsTheContractHasThem(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]any{
		"CreateWebhookEndpointRequest": createEndpointRequest{}, "UpdateWebhookEndpointRequest": updateEndpointRequest{},
		"RotateWebhookSecretRequest": rotateSecretRequest{}, "EnableWebhookEndpointRequest": enableEndpointRequest{},
		"StartWebhookReplayRequest": startReplayRequest{}, "EmptyRequest": nothing{},
		"WebhookEndpoint": endpointView{}, "WebhookEndpointWithKey": createdView{}, "EnabledWebhookEndpoint": enabledView{},
		"WebhookEndpointList": list[endpointView]{}, "WebhookSecret": rotationView{},
		"WebhookDelivery": deliveryView{}, "WebhookDeliveryList": list[deliveryView]{}, "WebhookAttempt": attemptView{},
		"WebhookReplay": replayView{}, "WebhookReplayList": list[replayView]{},
		"EventList": list[json.RawMessage]{}, "EventTypeInfo": event.Type{}, "EventTypeList": list[event.Type]{},
	} {
		apitest.MatchSchema(t, name, of)
	}
}

// Each operation, with a body that it takes and the identifier of a thing of the shop's.
func operations(w *world) map[string]string {
	e := w.endpoint("").Text("id")
	w.happen()
	delivery, _ := w.only("")["id"].(string)
	replay := w.do(http.StatusAccepted, "POST", endpoints+"/"+e+"/replay", `{"since":"2027-01-01T00:00:00Z"}`).Text("id")
	event, _ := w.only("")["event_id"].(string)
	return map[string]string{
		"GET " + endpoints + "/" + e:                         "",
		"PATCH " + endpoints + "/" + e:                       `{"description":"new"}`,
		"DELETE " + endpoints + "/" + e:                      "",
		"POST " + endpoints + "/" + e + "/rotate-secret":     "{}",
		"POST " + endpoints + "/" + e + "/test":              "{}",
		"POST " + endpoints + "/" + e + "/disable":           "{}",
		"POST " + endpoints + "/" + e + "/enable":            "{}",
		"POST " + endpoints + "/" + e + "/replay":            `{"since":"2027-01-01T00:00:00Z"}`,
		"GET " + deliveries + "/" + delivery:                 "",
		"POST " + deliveries + "/" + delivery + "/redeliver": "{}",
		"GET " + replays + "/" + replay:                      "",
		"POST " + replays + "/" + replay + "/cancel":         "{}",
		"GET /v1/events/" + event:                            "",
	}
}

func TestAnothersThingsAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := operations(w)
	_, stranger := w.Merchant("Stranger")
	before, state := w.Rows(), w.state()
	for op, body := range all {
		method, target, _ := strings.Cut(op, " ")
		a := w.do(http.StatusNotFound, method, target, body, "Authorization", "Bearer "+stranger.Reveal())
		if code, _ := a.Problem(); code != fault.NotFound {
			t.Errorf("%s: %s", op, a.Body)
		}
		// Neither is what is no identifier, or one of another kind, or unknown.
		parts := strings.Split(target, "/")
		kind, _, _ := strings.Cut(parts[3], "_")
		for _, other := range []string{"17", "pay_" + parts[3][len(kind)+1:], kind + "_0000000000000000000000000g"} {
			parts[3] = other
			w.do(http.StatusNotFound, method, strings.Join(parts, "/"), body)
		}
	}
	for _, target := range []string{endpoints, deliveries, replays, "/v1/events", deliveries + "?undelivered=true"} {
		if a := w.do(http.StatusOK, "GET", target, "", "Authorization", "Bearer "+stranger.Reveal()); len(data(a)) != 0 {
			t.Errorf("%s shows a stranger %s", target, a.Body)
		}
	}
	if after := w.Rows(); !apitest.Same(before, after) {
		t.Errorf("rows %v became %v", before, after)
	}
	if diff := cmp.Diff(state, w.state()); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

// state is everything that this function could change.
func (w *world) state() string {
	w.t.Helper()
	return w.Text(`SELECT coalesce(string_agg(line, E'\n' ORDER BY line), '') FROM (
		SELECT e::text AS line FROM webhook_endpoints e UNION ALL SELECT s::text FROM webhook_endpoint_secrets s
		UNION ALL SELECT d::text FROM webhook_deliveries d UNION ALL SELECT r::text FROM webhook_replays r) all_lines`)
}

func TestWhatIsWrongIsNamedAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("")
	e := endpoints + "/" + w.endpoint("").Text("id")
	w.happen()
	d := deliveries + "/" + data(w.do(http.StatusOK, "GET", deliveries, ""))[0]["id"].(string)
	before := w.state()
	const url = `{"url":"https://shop.example/hook",`
	for request, field := range map[string]string{
		"POST " + endpoints + " {}":                                                             "url",
		"POST " + endpoints + ` {"url":""}`:                                                     "url",
		"POST " + endpoints + ` {"url":"ftp://shop.example"}`:                                   "url",
		"POST " + endpoints + ` {"url":"https://10.0.0.1/"}`:                                    "url",
		"POST " + endpoints + ` {"url":17}`:                                                     "url",
		"POST " + endpoints + " " + url + `"URL":"x"}`:                                          "URL",
		"POST " + endpoints + " " + url + `"enabled":false}`:                                    "enabled",
		"POST " + endpoints + " " + url + `"description":null}`:                                 "description",
		"POST " + endpoints + " " + url + `"description":"` + strings.Repeat("a", 501) + `"}`:   "description",
		"POST " + endpoints + " " + url + `"event_types":"payment.captured"}`:                   "event_types",
		"POST " + endpoints + " " + url + `"event_types":["payment.capured"]}`:                  "event_types",
		"POST " + endpoints + " " + url + `"event_types":[""]}`:                                 "event_types[0]",
		"POST " + endpoints + " " + url + `"event_types":[17]}`:                                 "event_types[0]",
		"POST " + endpoints + " " + url + `"api_version":"2020-01-01"}`:                         "api_version",
		"POST " + endpoints + " " + url + `"payload":"slim"}`:                                   "payload",
		"POST " + endpoints + " " + url + `"ordered":"yes"}`:                                    "ordered",
		"POST " + endpoints + " " + url + `"signature":"v2"}`:                                   "signature",
		"POST " + endpoints + " " + url + `"headers":{"Host":"hunter2"}}`:                       "headers",
		"POST " + endpoints + " " + url + `"headers":{"X-A":17}}`:                               "headers.X-A",
		"POST " + endpoints + " " + url + `"headers":["X-A"]}`:                                  "headers",
		"POST " + endpoints + " " + url + `"rate_limit":0}`:                                     "rate_limit",
		"POST " + endpoints + " " + url + `"rate_limit":501}`:                                   "rate_limit",
		"POST " + endpoints + " " + url + `"rate_limit":1.5}`:                                   "rate_limit",
		"POST " + endpoints + " " + url + `"rate_limit":9223372036854775807}`:                   "rate_limit",
		"POST " + endpoints + " " + url + `"max_in_flight":0}`:                                  "max_in_flight",
		"POST " + endpoints + " " + url + `"max_in_flight":101}`:                                "max_in_flight",
		"POST " + endpoints + "?x=1 " + url + `"ordered":true}`:                                 "x",
		"GET " + endpoints + "?limit=3":                                                         "limit",
		"GET " + e + "?expand=secret":                                                           "expand",
		"DELETE " + e + "?force=true":                                                           "force",
		"PATCH " + e + ` {"url":null}`:                                                          "url",
		"PATCH " + e + ` {"url":"https://a:b@shop.example/"}`:                                   "url",
		"PATCH " + e + ` {"signature":"v1a"}`:                                                   "signature",
		"PATCH " + e + ` {"enabled":false}`:                                                     "enabled",
		"PATCH " + e + ` {"rate_limit":0}`:                                                      "rate_limit",
		"PATCH " + e + ` {"payload":""}`:                                                        "payload",
		"PATCH " + e + ` {"headers":{"webhook-id":"x"}}`:                                        "headers",
		"PATCH " + e + ` {"event_types":["nothing"]}`:                                           "event_types",
		"POST " + e + `/rotate-secret {"overlap_seconds":-1}`:                                   "overlap_seconds",
		"POST " + e + `/rotate-secret {"overlap_seconds":604801}`:                               "overlap_seconds",
		"POST " + e + `/rotate-secret {"overlap_seconds":9223372036854775807}`:                  "overlap_seconds",
		"POST " + e + `/rotate-secret {"overlap":3600}`:                                         "overlap",
		"POST " + e + `/test {"event_type":"payment.captured"}`:                                 "event_type",
		"POST " + e + `/disable {"reason":"x"}`:                                                 "reason",
		"POST " + e + `/enable {"replay_missed":"yes"}`:                                         "replay_missed",
		"POST " + e + `/replay {}`:                                                              "since",
		"POST " + e + `/replay {"since":"yesterday"}`:                                           "since",
		"POST " + e + `/replay {"since":"0001-01-01T00:00:00Z"}`:                                "since",
		"POST " + e + `/replay {"since":"2028-01-01T00:00:00Z"}`:                                "since",
		"POST " + e + `/replay {"since":"2027-01-01T00:00:00Z","until":"2026-01-01T00:00:00Z"}`: "until",
		"POST " + e + `/replay {"since":"2027-01-01T00:00:00Z","until":"soon"}`:                 "until",
		"POST " + e + `/replay {"since":"2027-01-01T00:00:00Z","event_types":["x"]}`:            "event_types",
		"POST " + e + `/replay {"since":"2027-01-01T00:00:00Z","include_delivered":1}`:          "include_delivered",
		"POST " + d + `/redeliver {"now":true}`:                                                 "now",
		"GET " + deliveries + "?status=LOST":                                                    "status",
		"GET " + deliveries + "?undelivered=yes":                                                "undelivered",
		"GET " + deliveries + "?endpoint=17":                                                    "endpoint",
		"GET " + deliveries + "?payment=we_0000000000000000000000000g":                          "payment",
		"GET " + deliveries + "?event=x":                                                        "event",
		"GET " + deliveries + "?replay=x":                                                       "replay",
		"GET " + deliveries + "?event_type=capture":                                             "event_type",
		"GET " + deliveries + "?created_after=now":                                              "created_after",
		"GET " + deliveries + "?limit=101":                                                      "limit",
		"GET " + deliveries + "?cursor=x":                                                       "cursor",
		"GET " + deliveries + "?webhook_id=x":                                                   "webhook_id",
		"GET " + replays + "?endpoint=x":                                                        "endpoint",
		"GET " + replays + "?cursor=x":                                                          "cursor",
		"GET " + replays + "?limit=0":                                                           "limit",
		"GET /v1/events?type=capture":                                                           "type",
		"GET /v1/events?payment=x":                                                              "payment",
		"GET /v1/events?event_type=payment.captured":                                            "event_type",
		"GET /v1/events?cursor=x":                                                               "cursor",
		"GET /v1/event-types?limit=1":                                                           "limit",
	} {
		head, body, _ := strings.Cut(request, " {")
		if body != "" {
			body = "{" + body
		}
		method, target, _ := strings.Cut(head, " ")
		a := w.Do(w.handler, w.Request(method, target, body))
		code, fields := a.Problem()
		if a.Status != http.StatusBadRequest || code != fault.InvalidRequest || len(fields) != 1 || fields[0].Name != field || fields[0].Detail == "" {
			t.Errorf("%s: got %d %s; want %s refused", request, a.Status, a.Body, field)
		}
		unseen(t, request, string(a.Body)+w.Log.String(), "hunter2")
	}
	for request, want := range map[string]fault.Code{
		"POST " + endpoints + " ":                               fault.InvalidJSON,
		"POST " + endpoints + " []":                             fault.InvalidJSON,
		"PATCH " + e + ` {} {}`:                                 fault.InvalidJSON,
		"POST " + e + "/test ":                                  fault.InvalidJSON,
		"PATCH " + e + ` {"description":"4242 4242 4242 4242"}`: fault.CardNumber,
	} {
		parts := strings.SplitN(request, " ", 3)
		a := w.Do(w.handler, w.Request(parts[0], parts[1], parts[2]))
		if code, _ := a.Problem(); code != want {
			t.Errorf("%s: got %d %s; want %s", request, a.Status, a.Body, want)
		}
	}
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

func TestWithoutAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for op, body := range operations(w) {
		method, target, _ := strings.Cut(op, " ")
		a := w.do(http.StatusUnauthorized, method, target, body, "Authorization", "")
		unseen(t, op, string(a.Body), "whsec")
	}
	w.do(http.StatusMethodNotAllowed, "PUT", endpoints, "{}")
	w.do(http.StatusNotFound, "GET", "/v1/webhook-endpoints/", "")
}

func TestEventTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := data(w.do(http.StatusOK, "GET", "/v1/event-types", ""))
	if len(list) != len(event.Types()) {
		t.Fatalf("%d types", len(list))
	}
	for i, e := range event.Types() {
		if list[i]["name"] != e.Name || list[i]["summary"] != e.Summary || list[i]["schema"] == nil || list[i]["example"] == nil {
			t.Errorf("%s: %v", e.Name, list[i])
		}
	}
}

func TestItNeedsNoProvidersSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS", "PUBSUB_PROJECT", "RESUME_URL"} {
		delete(w.Config, name)
	}
	w.Build(Build)
	for name, value := range map[string]string{
		"DATABASE_URL": "", "TASKS_LOCATION": "", "DELIVER_URL": "", "WEBHOOK_SCHEDULE": "soon", "WEBHOOK_SEALING_KEY": "c2hvcnQ=",
		"WEBHOOK_ALLOW_LOCAL": "perhaps",
	} {
		before := w.Config[name]
		w.Config[name] = value
		if _, err := Build(t.Context(), w.Env); err == nil || !strings.Contains(err.Error(), name) && name != "WEBHOOK_SCHEDULE" {
			t.Errorf("%s=%q: %v; want it refused", name, value, err)
		}
		w.Config[name] = before
	}
}

func TestTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Config["DATABASE_URL"] = "postgres://nobody:hunter2@127.0.0.1:1/none"
	a := w.Do(w.Build(Build), w.Request("POST", endpoints+"/"+id.Endpoint.External(w.Env.NewID())+"/test", "{}"))
	if code, _ := a.Problem(); a.Status != http.StatusServiceUnavailable || code != fault.Unavailable {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
	unseen(t, "the log", w.Log.String()+string(a.Body), "hunter2")
}
