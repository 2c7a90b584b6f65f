package webhook

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/telemetry"
)

const countEvent = `
	UPDATE webhook_endpoints SET event_sequence = event_sequence + 1
	WHERE id = $1 AND merchant_id = $2 AND deleted_at IS NULL AND enabled
	RETURNING ` + aboutColumns

const selectDeliveryOf = `SELECT ` + deliveryColumns + ` FROM webhook_deliveries d WHERE d.event_id = $1 AND d.webhook_id = $2`

// SendTest sends an endpoint of the merchant an event that is about nothing but the
// endpoint, endpoint.test, by the same way as any other. An endpoint that does not exist
// is not_found, one that is disabled invalid_state.
func (s *Service) SendTest(ctx context.Context, merchant, endpoint id.ID) (Delivery, error) {
	made, now := s.NewID(), s.Now()
	err := pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, countEvent, endpoint, merchant) // CollectExactlyOneRow returns the error
		e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[about])
		if err != nil {
			return err
		}
		test := e.event(made, event.EndpointTest, now)
		test.EndpointID, test.RequestID = endpoint, telemetry.RequestID(ctx)
		var b pgx.Batch
		outbox.Queue(&b, test)
		return postgres.Pipeline(ctx, tx, &b)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Delivery{}, s.whyNoEvents(ctx, merchant, endpoint)
	}
	if err != nil {
		return Delivery{}, fault.Wrap(err, "make a test event")
	}
	if err := s.Notify(ctx, made); err != nil { // the outbox would bring it, later
		return Delivery{}, err
	}
	rows, _ := s.Pool.Query(ctx, selectDeliveryOf, made, endpoint) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Delivery])
	return d, fault.Wrap(err, "read the delivery of a test event")
}

const selectReachable = `SELECT enabled FROM webhook_endpoints WHERE id = $1 AND merchant_id = $2 AND deleted_at IS NULL`

// whyNoEvents is nil for an endpoint of the merchant that may be sent events.
func (s *Service) whyNoEvents(ctx context.Context, merchant, endpoint id.ID) error {
	var enabled bool
	err := s.Pool.QueryRow(ctx, selectReachable, endpoint, merchant).Scan(&enabled)
	name := id.Endpoint.External(endpoint)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fault.New(fault.NotFound, "There is no webhook endpoint %s.", name)
	case err == nil && !enabled:
		return fault.New(fault.InvalidState, "Endpoint %s is disabled: enable it first.", name)
	}
	return fault.Wrap(err, "read a webhook endpoint")
}
