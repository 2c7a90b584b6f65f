package webhookadmin

import (
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
)

type createEndpointRequest struct {
	URL         string            `json:"url" api:"required"`
	Description string            `json:"description"`
	EventTypes  []string          `json:"event_types"`
	APIVersion  string            `json:"api_version"`
	Payload     string            `json:"payload"`
	Ordered     bool              `json:"ordered"`
	Signature   string            `json:"signature"`
	Headers     map[string]string `json:"headers"`
	RateLimit   *int64            `json:"rate_limit"`
	MaxInFlight *int64            `json:"max_in_flight"`
}

func (a *admin) createEndpoint(r *http.Request, caller merchant.Caller) (api.Response, error) {
	var in createEndpointRequest
	if err := decode(r, &in); err != nil {
		return api.Response{}, err
	}
	made, key, err := a.endpoints.Create(r.Context(), caller.MerchantID, endpoint.New{
		URL: in.URL, Description: in.Description, EventTypes: in.EventTypes, APIVersion: in.APIVersion, Payload: in.Payload,
		Ordered: in.Ordered, Signature: in.Signature, Headers: in.Headers,
		RateLimit: limit(in.RateLimit), MaxInFlight: limit(in.MaxInFlight),
	})
	if err != nil {
		return api.Response{}, err
	}
	return api.JSON(http.StatusCreated, createdView{viewEndpoint(&made), spell(made.Signature, key)})
}

func (a *admin) listEndpoints(r *http.Request, caller merchant.Caller) (api.Response, error) {
	if err := api.ReadQuery(r).Err(); err != nil {
		return api.Response{}, err
	}
	all, err := a.endpoints.List(r.Context(), caller.MerchantID)
	if err != nil {
		return api.Response{}, err
	}
	views := make([]endpointView, len(all))
	for i := range all {
		views[i] = viewEndpoint(&all[i])
	}
	return page(views, "")
}

func (a *admin) getEndpoint(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := named(r, id.Endpoint)
	if err != nil {
		return api.Response{}, err
	}
	e, err := a.endpoints.Get(r.Context(), caller.MerchantID, which)
	return answer(&e, err)
}

type updateEndpointRequest struct {
	URL         *string           `json:"url"`
	Description *string           `json:"description" api:"clearable"`
	EventTypes  []string          `json:"event_types"`
	APIVersion  *string           `json:"api_version"`
	Payload     *string           `json:"payload"`
	Ordered     *bool             `json:"ordered"`
	Headers     map[string]string `json:"headers"`
	RateLimit   *int64            `json:"rate_limit"`
	MaxInFlight *int64            `json:"max_in_flight"`
}

func (a *admin) updateEndpoint(r *http.Request, caller merchant.Caller) (api.Response, error) {
	var in updateEndpointRequest
	which, err := read(r, id.Endpoint, &in)
	if err != nil {
		return api.Response{}, err
	}
	e, err := a.endpoints.Update(r.Context(), caller.MerchantID, which, endpoint.Change{
		URL: in.URL, Description: in.Description, EventTypes: in.EventTypes, APIVersion: in.APIVersion, Payload: in.Payload,
		Ordered: in.Ordered, Headers: in.Headers, RateLimit: changed(in.RateLimit), MaxInFlight: changed(in.MaxInFlight),
	})
	return answer(&e, err)
}

func (a *admin) deleteEndpoint(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := named(r, id.Endpoint)
	if err != nil {
		return api.Response{}, err
	}
	return api.Response{Status: http.StatusNoContent}, a.endpoints.Delete(r.Context(), caller.MerchantID, which)
}

type rotateSecretRequest struct {
	OverlapSeconds *int64 `json:"overlap_seconds"`
}

func (a *admin) rotateSecret(r *http.Request, caller merchant.Caller) (api.Response, error) {
	var in rotateSecretRequest
	which, err := read(r, id.Endpoint, &in)
	if err != nil {
		return api.Response{}, err
	}
	overlap := endpoint.DefaultOverlap
	if in.OverlapSeconds != nil {
		overlap = seconds(*in.OverlapSeconds)
	}
	rotated, err := a.endpoints.RotateSecret(r.Context(), caller.MerchantID, which, overlap)
	if err != nil {
		return api.Response{}, err
	}
	return api.JSON(http.StatusOK, viewRotation(which, &rotated))
}

func (a *admin) testEndpoint(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := read(r, id.Endpoint, &nothing{})
	if err != nil {
		return api.Response{}, err
	}
	d, err := a.webhooks.SendTest(r.Context(), caller.MerchantID, which)
	return a.accepted(r, viewDelivery(&d), false, err)
}

func (a *admin) disableEndpoint(r *http.Request, caller merchant.Caller) (api.Response, error) {
	which, err := read(r, id.Endpoint, &nothing{})
	if err != nil {
		return api.Response{}, err
	}
	e, err := a.endpoints.Disable(r.Context(), caller.MerchantID, which, endpoint.Merchant, "")
	return answer(&e, err)
}

type enableEndpointRequest struct {
	ReplayMissed *bool `json:"replay_missed"`
}

func (a *admin) enableEndpoint(r *http.Request, caller merchant.Caller) (api.Response, error) {
	var in enableEndpointRequest
	which, err := read(r, id.Endpoint, &in)
	if err != nil {
		return api.Response{}, err
	}
	e, replay, err := a.endpoints.Enable(r.Context(), caller.MerchantID, which, endpoint.Merchant, in.ReplayMissed)
	if err != nil {
		return api.Response{}, err
	}
	return api.JSON(http.StatusOK, enabledView{viewEndpoint(&e), spelled(id.Replay, replay)})
}

func answer(e *endpoint.Endpoint, err error) (api.Response, error) {
	if err != nil {
		return api.Response{}, err
	}
	return api.JSON(http.StatusOK, viewEndpoint(e))
}

// limit is a limit of a new endpoint: 0, which means the default there, is a mistake here.
func limit(n *int64) int {
	switch {
	case n == nil:
		return 0
	case *n == 0:
		return -1
	default:
		return int(*n)
	}
}

func changed(n *int64) *int {
	if n == nil {
		return nil
	}
	i := int(*n)
	return &i
}

// seconds is a duration; one that would overflow is as much out of bounds as before.
func seconds(n int64) time.Duration {
	const most = int64(endpoint.MaxOverlap/time.Second) + 1
	return time.Duration(min(max(n, -1), most)) * time.Second
}
