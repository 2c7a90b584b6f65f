package webhook

import (
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

// event makes an event about the endpoint.
func (a about) event(made id.ID, kind string, at time.Time) outbox.Event {
	head := event.Event{ID: made, Type: kind, Timestamp: at, Sequence: a.Sequence}
	body := event.EndpointEvent(head, event.Endpoint{
		ID: a.ID, URL: a.URL, Description: a.Description, CreatedAt: a.CreatedAt,
		DisabledAt: a.DisabledAt, DisabledBy: a.DisabledBy, DisabledReason: a.DisabledReason,
	})
	return outbox.Event{
		ID: made, MerchantID: a.MerchantID, SubjectID: a.ID, Type: kind, Sequence: a.Sequence, Payload: body, At: at,
	}
}
