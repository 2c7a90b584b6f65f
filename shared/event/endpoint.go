package event

import (
	"net/url"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// Endpoint is what there is to tell of a webhook endpoint.
type Endpoint struct {
	ID             id.ID
	URL            string
	Description    string
	CreatedAt      time.Time
	DisabledAt     *time.Time // nil while it is enabled, as are the two below
	DisabledBy     *string    // merchant, operator, gone or failing
	DisabledReason *string
}

// endpointView is the endpoint as schema.json describes it. Of the URL it has the host: the
// rest may hold a password, and the event goes to the merchant's other endpoints, which
// may be other companies'.
type endpointView struct {
	ID             string     `json:"id"`
	Object         string     `json:"object"`
	Host           string     `json:"host"`
	Description    string     `json:"description"`
	DisabledAt     *time.Time `json:"disabled_at"`
	DisabledBy     *string    `json:"disabled_by"`
	DisabledReason *string    `json:"disabled_reason"`
	CreatedAt      time.Time  `json:"created_at"`
}

// EndpointEvent is the body of an event about an endpoint: of head, whose Data are
// replaced. Sequence counts the events about the endpoint.
func EndpointEvent(head Event, about Endpoint) []byte {
	view := endpointView{
		ID: id.Endpoint.External(about.ID), Object: "endpoint", Description: about.Description,
		DisabledBy: about.DisabledBy, DisabledReason: about.DisabledReason, CreatedAt: about.CreatedAt.UTC(),
	}
	if u, err := url.Parse(about.URL); err == nil {
		view.Host = u.Host
	}
	if about.DisabledAt != nil {
		at := about.DisabledAt.UTC()
		view.DisabledAt = &at
	}
	head.Data = struct {
		Endpoint endpointView `json:"endpoint"`
	}{view}
	return head.Encode()
}
