package payment

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
)

// ApplyEvent merges a provider's webhook event into the payment it names, and says
// what came of each fact. It returns not_found when no such payment is known (yet).
func (s *Service) ApplyEvent(ctx context.Context, providerName string, e provider.Event, evidence id.ID) (effect string, err error) {
	payment := e.PaymentID
	if payment.IsZero() {
		if payment, err = s.byReference(ctx, providerName, e.Reference); err != nil {
			return "", err
		}
	}
	var effects []string
	var d *dossier
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) (err error) {
		if d, err = s.load(ctx, tx, payment, id.ID{}, id.ID{}); err != nil {
			return err
		}
		if d.Provider != providerName {
			return fault.New(fault.Internal, "%s sent event %s about payment %s, which is at %s", providerName, e.ID, payment, d.Provider)
		}
		for _, f := range e.Facts {
			effect, err := d.apply(f)
			if err != nil {
				return err
			}
			effects = append(effects, fmt.Sprintf("%s.%s: %s", f.Kind, f.State, effect))
		}
		d.settle()
		b := &pgx.Batch{}
		d.write(b, Source{
			Name: "webhook", Rule: RuleWebhook, Evidence: evidence,
			Actor: Actor{Name: "provider:" + e.ID, RequestID: s.self(ctx).RequestID},
		})
		return postgres.Pipeline(ctx, tx, b)
	})
	if err != nil {
		return "", err
	}
	s.at(ctx, PointRecorded)
	s.measure(ctx, d, RuleWebhook)
	s.after(payment, nil)(ctx)
	return strings.Join(effects, "; "), nil
}

const byReference = `SELECT id FROM transactions WHERE provider = $1 AND provider_transaction_id = $2`

func (s *Service) byReference(ctx context.Context, providerName, reference string) (id.ID, error) {
	var payment id.ID
	rows, err := s.Pool.Query(ctx, byReference, providerName, reference)
	if err != nil {
		return payment, fault.Wrap(err, "find the payment by its provider's id")
	}
	payments, err := pgx.CollectRows(rows, pgx.RowTo[id.ID])
	if err != nil {
		return payment, fault.Wrap(err, "find the payment by its provider's id")
	}
	if len(payments) != 1 {
		return payment, errNoPayment()
	}
	return payments[0], nil
}
