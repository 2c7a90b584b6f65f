package webhookadmin

import (
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/webhook"
)

func (a *admin) listEvents(r *http.Request, caller merchant.Caller) (api.Response, error) {
	q := api.ReadQuery(r, "payment", "type", "created_after", "created_before", "limit", "cursor")
	f := webhook.EventFilter{
		PaymentID: q.ID("payment", id.Payment), Types: q.Strings("type"),
		CreatedAfter: q.Time("created_after"), CreatedBefore: q.Time("created_before"),
		Limit: q.Int("limit", 1, webhook.MaxPage), Cursor: q.String("cursor"),
	}
	if err := q.Err(); err != nil {
		return api.Response{}, err
	}
	found, err := a.webhooks.ListEvents(r.Context(), caller.MerchantID, f)
	if err != nil {
		return api.Response{}, err
	}
	return page(found.Events, found.Next)
}

func (a *admin) getEvent(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := named(r, id.Event)
	if err != nil {
		return api.Response{}, err
	}
	body, err := a.webhooks.GetEvent(r.Context(), caller.MerchantID, which)
	return api.Response{Status: http.StatusOK, Body: body}, err
}

func (a *admin) listEventTypes(r *http.Request, _ merchant.Caller) (api.Response, error) {
	if err := api.ReadQuery(r).Err(); err != nil {
		return api.Response{}, err
	}
	return page(event.Types(), "")
}
