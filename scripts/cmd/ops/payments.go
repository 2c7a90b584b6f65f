package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres"
)

// history is all that is known of a payment, in the order in which it comes about:
// what was asked, what the provider said, what that changed, who was told.
type history struct {
	Payment     paymentRow                `json:"payment"`
	Refunds     list[refundRow]           `json:"refunds"`
	Sagas       list[operationRow]        `json:"sagas"`
	Attempts    list[providerAttemptRow]  `json:"attempts"`
	Responses   list[responseRow]         `json:"provider_responses"`
	Facts       list[factRow]             `json:"provider_facts"`
	Webhooks    list[providerEventRow]    `json:"provider_events"`
	Obligations list[obligationRow]       `json:"obligations"`
	Events      list[eventRow]            `json:"events"`
	Deliveries  list[paymentsDeliveryRow] `json:"deliveries"`
	Audit       list[auditRow]            `json:"audit_log"`
}

func (h history) text(w io.Writer) error {
	if err := fields(w, h.Payment); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		list  result
	}{
		{"Refunds", h.Refunds},
		{"Operations (sagas)", h.Sagas},
		{"Attempts: requests that went, or may have gone, to the provider", h.Attempts},
		{"What the provider answered", h.Responses},
		{"What was proven of the provider's objects", h.Facts},
		{"What the provider sent by webhook", h.Webhooks},
		{"Obligations: what must still be released, or was", h.Obligations},
		{"Events for the merchant", h.Events},
		{"Deliveries of the events", h.Deliveries},
		{"Audit log", h.Audit},
	} {
		if _, err := fmt.Fprintf(w, "\n%s\n\n", part.title); err != nil {
			return err
		}
		if err := part.list.text(w); err != nil {
			return err
		}
	}
	return nil
}

func paymentsShow(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		payment, err := parseID[ofPayment](args[0])
		if err != nil {
			return nil, err
		}
		db, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		var found list[paymentRow]
		h := history{}
		b := &pgx.Batch{}
		gather(b, selectPayment, payment, &found)
		gather(b, selectRefunds, payment, &h.Refunds)
		gather(b, selectSagas, payment, &h.Sagas)
		gather(b, selectProviderAttempts, payment, &h.Attempts)
		gather(b, selectResponses, payment, &h.Responses)
		gather(b, selectFacts, payment, &h.Facts)
		gather(b, selectProviderEvents, payment, &h.Webhooks)
		gather(b, selectObligations, payment, &h.Obligations)
		gather(b, selectEvents, payment, &h.Events)
		gather(b, selectDeliveries, payment, &h.Deliveries)
		gather(b, selectAudit, payment, &h.Audit)
		if err := postgres.Pipeline(ctx, db, b); err != nil { // one transaction: the parts fit each other
			return nil, fmt.Errorf("read payment %s: %w", payment, err)
		}
		if len(found.rows) == 0 {
			return nil, fmt.Errorf("there is no payment %s", payment)
		}
		h.Payment = found.rows[0]
		return h, nil
	}
}

// gather reads the rows that belong to the payment into the list.
func gather[T any](b *pgx.Batch, sql string, payment external[ofPayment], into *list[T]) {
	into.none = "none"
	b.Queue(sql, payment.ID).Query(func(rows pgx.Rows) (err error) {
		into.rows, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
		return err
	})
}
