package sweep

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/shared/alert"
	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/reconcile"
	"github.com/tollgate/tollgate/shared/saga"
	"github.com/tollgate/tollgate/shared/settlement"
)

// measure sets the gauges. They are the whole system's, so they come from the
// database, and from this one place: an instance of another function is frozen
// between its requests and would show the past.
func (s *sweeper) measure(ctx context.Context) (int, error) {
	now, m := s.env.Now(), s.env.Metrics
	backlog, err := outbox.ReadBacklog(ctx, s.pool, now)
	if err != nil {
		return 0, err
	}
	m.OutboxBacklog(ctx, backlog.Rows, backlog.OldestAge)

	open, err := saga.CountOpen(ctx, s.pool)
	if err != nil {
		return 0, err
	}
	for _, state := range []saga.State{saga.Leased, saga.Scheduled, saga.AwaitingPayer, saga.AwaitingProvider, saga.Unknown} {
		m.SagasOpen(ctx, string(state), open[state]) // also where there are none, or the gauge would stand still
	}

	obligations, oldest, err := s.payments.OpenObligations(ctx)
	if err != nil {
		return 0, err
	}
	var age time.Duration
	if oldest != nil {
		age = max(0, now.Sub(*oldest))
	}
	m.Obligations(ctx, obligations, age)

	unapplied, err := s.inbox.Unapplied(ctx)
	if err != nil {
		return 0, err
	}
	m.ProviderEventsUnapplied(ctx, unapplied)

	waiting, err := s.webhooks.CountWaiting(ctx)
	if err != nil {
		return 0, err
	}
	m.DeliveriesWaiting(ctx, waiting)

	endpoints, err := s.webhooks.CountTroubled(ctx)
	if err != nil {
		return 0, err
	}
	m.WebhookEndpoints(ctx, "failing", endpoints.Failing)
	m.WebhookEndpoints(ctx, "disabled", endpoints.Disabled)

	differences, err := reconcile.ReadBacklog(ctx, s.pool)
	if err != nil {
		return 0, err
	}
	for _, d := range differences {
		var age time.Duration
		if d.Oldest != nil {
			age = max(0, now.Sub(*d.Oldest))
		}
		m.DifferencesOpen(ctx, string(d.Kind), d.Count, age)
	}

	settled, err := s.settlements.LastSuccess(ctx)
	if err != nil {
		return 0, err
	}
	if !settled.IsZero() {
		m.BatchSucceeded(ctx, settlement.Job, settled)
	}
	verified, err := audit.LastPass(ctx, s.pool)
	if err != nil {
		return 0, err
	}
	if verified != nil {
		m.BatchSucceeded(ctx, audit.Job, *verified)
	}
	alerts, err := alert.CountOpen(ctx, s.pool)
	if err != nil {
		return 0, err
	}
	for severity, open := range alerts {
		m.AlertsOpen(ctx, string(severity), open)
	}
	return 0, nil
}
