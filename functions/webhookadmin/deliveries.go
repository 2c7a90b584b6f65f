package webhookadmin

import (
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/webhook"
)

func (a *admin) listDeliveries(r *http.Request, caller merchant.Caller) (api.Response, error) {
	q := api.ReadQuery(r, "endpoint", "status", "undelivered", "event", "event_type", "payment", "replay",
		"created_after", "created_before", "limit", "cursor")
	f := webhook.DeliveryFilter{
		EndpointID: q.ID("endpoint", id.Endpoint), PaymentID: q.ID("payment", id.Payment),
		EventID: q.ID("event", id.Event), ReplayID: q.ID("replay", id.Replay),
		Undelivered: q.Bool("undelivered"), Status: q.Strings("status"), EventTypes: q.Strings("event_type"),
		CreatedAfter: q.Time("created_after"), CreatedBefore: q.Time("created_before"),
		Limit: q.Int("limit", 1, webhook.MaxPage), Cursor: q.String("cursor"),
	}
	if err := q.Err(); err != nil {
		return api.Response{}, err
	}
	found, err := a.webhooks.ListDeliveries(r.Context(), caller.MerchantID, f)
	if err != nil {
		return api.Response{}, err
	}
	views := make([]deliveryView, len(found.Deliveries))
	for i := range found.Deliveries {
		views[i] = viewDelivery(&found.Deliveries[i])
	}
	return page(views, found.Next)
}

func (a *admin) getDelivery(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := named(r, id.Delivery)
	if err != nil {
		return api.Response{}, err
	}
	d, attempts, err := a.webhooks.GetDelivery(r.Context(), caller.MerchantID, which)
	if err != nil {
		return api.Response{}, err
	}
	view := viewDelivery(&d)
	view.Attempts = viewAttempts(attempts)
	return api.JSON(http.StatusOK, view)
}

func (a *admin) redeliver(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := read(r, id.Delivery, &nothing{})
	if err != nil {
		return api.Response{}, err
	}
	d, err := a.webhooks.Redeliver(r.Context(), caller.MerchantID, which)
	return a.accepted(r, viewDelivery(&d), !d.ID.IsZero(), err)
}

type startReplayRequest struct {
	Since            string   `json:"since" api:"required"`
	Until            string   `json:"until"`
	EventTypes       []string `json:"event_types"`
	IncludeDelivered bool     `json:"include_delivered"`
}

func (a *admin) startReplay(r *http.Request, caller merchant.Caller) (api.Response, error) {
	var in startReplayRequest
	which, err := read(r, id.Endpoint, &in)
	if err != nil {
		return api.Response{}, err
	}
	since, err := moment("since", in.Since)
	if err != nil {
		return api.Response{}, err
	}
	until, err := moment("until", in.Until)
	if err != nil {
		return api.Response{}, err
	}
	for _, t := range in.EventTypes {
		if err := event.CheckFilter(t); err != nil {
			return api.Response{}, fault.Invalid("event_types", "%v", err)
		}
	}
	replay, err := a.webhooks.StartReplay(r.Context(), caller.MerchantID, webhook.ReplayRequest{
		EndpointID: which, Since: since, Until: until, EventTypes: types(in.EventTypes), All: in.IncludeDelivered,
	})
	return a.accepted(r, viewReplay(&replay), !replay.ID.IsZero(), err)
}

// types are those that the filters stand for.
func types(filters []string) []string {
	var names []string
	for _, t := range event.Types() {
		if len(filters) > 0 && event.Match(filters, t.Name) {
			names = append(names, t.Name)
		}
	}
	return names
}

// moment reads a time; "" is zero.
func moment(name, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 2000 {
		return time.Time{}, fault.Invalid(name, "must be a time of RFC 3339 after the year 2000, such as 2026-11-23T09:00:00Z")
	}
	return t, nil
}

func (a *admin) listReplays(r *http.Request, caller merchant.Caller) (api.Response, error) {
	q := api.ReadQuery(r, "endpoint", "limit", "cursor")
	of, most := q.ID("endpoint", id.Endpoint), q.Int("limit", 1, webhook.MaxPage)
	before := q.ID("cursor", id.Replay)
	if err := q.Err(); err != nil {
		return api.Response{}, err
	}
	if most == 0 {
		most = webhook.DefaultPage
	}
	found, err := a.webhooks.ListReplays(r.Context(), caller.MerchantID, of, most+1, before)
	if err != nil {
		return api.Response{}, err
	}
	next := ""
	if len(found) > most {
		found = found[:most]
		next = id.Replay.External(found[most-1].ID)
	}
	views := make([]replayView, len(found))
	for i := range found {
		views[i] = viewReplay(&found[i])
	}
	return page(views, next)
}

func (a *admin) getReplay(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := named(r, id.Replay)
	if err != nil {
		return api.Response{}, err
	}
	replay, err := a.webhooks.GetReplay(r.Context(), caller.MerchantID, which)
	if err != nil {
		return api.Response{}, err
	}
	return api.JSON(http.StatusOK, viewReplay(&replay))
}

func (a *admin) cancelReplay(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := read(r, id.Replay, &nothing{})
	if err != nil {
		return api.Response{}, err
	}
	replay, err := a.webhooks.CancelReplay(r.Context(), caller.MerchantID, which)
	if err != nil {
		return api.Response{}, err
	}
	return api.JSON(http.StatusOK, viewReplay(&replay))
}
