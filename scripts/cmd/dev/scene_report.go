package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// difference is what the story reads of a difference, of which merchants know nothing.
type difference struct {
	Kind     string
	Currency string
	Expected int64
	Actual   int64
}

func (d difference) String() string {
	return fmt.Sprintf("%s: expected %s, reported %s %s", d.Kind, grouped(d.Expected), grouped(d.Actual), d.Currency)
}

// reported is by when Stripe's report has what happened, and a run of the hour has read it.
const reported = 3 * time.Hour

// tellReport is Stripe's own report of the account, wrong in two ways, and what comes of that.
func (s *story) tellReport(ctx context.Context) {
	s.heading("Stripe's report has a fee too high, and a charge that nobody made")
	paths := s.sell(ctx, 1)
	sold := map[string]string{"tollgate_payment": strings.TrimPrefix(paths[0], "/v1/payments/")}
	err := errors.Join(
		s.stack.Stripe.Plant(providersim.Plant{What: providersim.PlantFee, By: 5, Metadata: sold}),
		s.stack.Stripe.Plant(providersim.Plant{What: providersim.PlantOrphan, Amount: 700, Currency: "jpy"}),
	)
	if err != nil {
		s.amiss("report", err)
		return
	}
	s.wait(ctx, reported)
	began := time.Now()
	found, err := s.differences(ctx)
	if err != nil {
		s.amiss("report", err)
		return
	}
	for _, d := range found {
		s.printer.step(time.Since(began), "found", d.String())
	}
	planted := []difference{{"fee", "JPY", 29, 34}, {"orphan", "JPY", 0, 700}}
	if err := want("what was found", found, planted); err != nil {
		s.amiss("found", err)
	}
}

// differences are those that wait for a human, as scripts/ops differences list shows them.
func (s *story) differences(ctx context.Context) ([]difference, error) {
	rows, err := s.stack.DB.Query(ctx, `
		SELECT kind, actual_currency AS currency, expected_minor AS expected, actual_minor AS actual
		FROM differences WHERE state = 'OPEN' ORDER BY kind, actual_minor`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[difference])
}
