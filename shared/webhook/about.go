package webhook

import (
	"net/url"
	"time"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
)

// about is an endpoint as an event about it tells of it, and the number of that event.
// Its columns are read by aboutColumns.
type about struct {
	ID             id.ID      `db:"id"`
	MerchantID     id.ID      `db:"merchant_id"`
	URL            string     `db:"url"`
	Description    string     `db:"description"`
	DisabledAt     *time.Time `db:"disabled_at"`
	DisabledBy     *string    `db:"disabled_by"`
	DisabledReason *string    `db:"disabled_reason"`
	CreatedAt      time.Time  `db:"created_at"`
	Sequence       int64      `db:"event_sequence"`
}

const aboutColumns = `id, merchant_id, url, description, disabled_at, disabled_by, disabled_reason, created_at, event_sequence`

// event makes an event about the endpoint. The URL's path and query stay out of it: they
// may hold what only that endpoint is to know.
func (a about) event(made id.ID, kind string, at time.Time) outbox.Event {
	host := ""
	if u, err := url.Parse(a.URL); err == nil {
		host = u.Host
	}
	type object struct {
		ID             string     `json:"id"`
		Object         string     `json:"object"`
		Host           string     `json:"host"`
		Description    string     `json:"description"`
		DisabledAt     *time.Time `json:"disabled_at"`
		DisabledBy     *string    `json:"disabled_by"`
		DisabledReason *string    `json:"disabled_reason"`
		CreatedAt      time.Time  `json:"created_at"`
	}
	body := event.Event{ID: made, Type: kind, Timestamp: at, Sequence: a.Sequence, Data: struct {
		Endpoint object `json:"endpoint"`
	}{object{
		id.Endpoint.External(a.ID), "endpoint", host, a.Description, inUTC(a.DisabledAt), a.DisabledBy, a.DisabledReason,
		a.CreatedAt.UTC(),
	}}}
	return outbox.Event{
		ID: made, MerchantID: a.MerchantID, SubjectID: a.ID, Type: kind, Sequence: a.Sequence, Payload: body.Encode(), At: at,
	}
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
