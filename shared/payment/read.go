package payment

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
)

// Expand says which lists come with a payment.
type Expand struct {
	Refunds, Disputes, Events, Attempts bool
}

// pendingStep is the open operation of a payment, the exclusive one first.
const pendingStep = `(SELECT kind FROM transaction_saga WHERE transaction_id = transactions.id AND state <> 'done'
	ORDER BY (kind = 'refund'), created_at LIMIT 1) AS pending_step`

type pendingPayment struct {
	Payment
	PendingStep *provider.Step `db:"pending_step"`
}

func (p *pendingPayment) view() View {
	if p.PendingStep == nil {
		return p.Payment.View("")
	}
	return p.Payment.View(operation(*p.PendingStep))
}

const (
	getPayment = `SELECT ` + paymentColumns + withPersonal + `, ` + pendingStep + ` FROM transactions WHERE id = $1 AND merchant_id = $2`
	getEvents  = `SELECT id, type, sequence, created_at FROM events WHERE transaction_id = $1 ORDER BY sequence`
	getTries   = `SELECT provider, step, number, outcome, created_at, closed_at FROM saga_attempts
		WHERE transaction_id = $1 ORDER BY created_at, number`
)

// Get reads one of the merchant's payments; another merchant's is not found.
func (s *Service) Get(ctx context.Context, merchant, payment id.ID, expand Expand) (View, error) {
	rows, err := s.Pool.Query(ctx, getPayment, payment, merchant)
	if err != nil {
		return View{}, fault.Wrap(err, "read the payment")
	}
	found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[pendingPayment])
	if err != nil {
		return View{}, fault.Wrap(err, "read the payment")
	}
	if len(found) == 0 {
		return View{}, errNoPayment()
	}
	v := found[0].view()
	return v, s.expand(ctx, payment, expand, &v)
}

func (s *Service) expand(ctx context.Context, payment id.ID, expand Expand, v *View) error {
	b := &pgx.Batch{}
	if expand.Refunds {
		b.Queue(selectRefunds, payment).Query(collectViews(&v.Refunds, (*Refund).View))
	}
	if expand.Disputes {
		b.Queue(selectDisputes, payment).Query(collectViews(&v.Disputes, (*Dispute).View))
	}
	if expand.Events {
		b.Queue(getEvents, payment).Query(func(rows pgx.Rows) error {
			views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e EventView, err error) {
				var event id.ID
				err = row.Scan(&event, &e.Type, &e.Sequence, &e.CreatedAt)
				e.ID, e.CreatedAt = id.Event.External(event), e.CreatedAt.UTC()
				return e, err
			})
			v.Events = &views
			return err
		})
	}
	if expand.Attempts {
		b.Queue(getTries, payment).Query(func(rows pgx.Rows) error {
			views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a AttemptView, err error) {
				var step provider.Step
				err = row.Scan(&a.Provider, &step, &a.Number, &a.Outcome, &a.CreatedAt, &a.ClosedAt)
				a.Operation, a.CreatedAt, a.ClosedAt = operation(step), a.CreatedAt.UTC(), utc(a.ClosedAt)
				return a, err
			})
			v.Attempts = &views
			return err
		})
	}
	if b.Len() == 0 {
		return nil
	}
	return fault.Wrap(postgres.Pipeline(ctx, s.Pool, b), "read what belongs to the payment")
}

// collectViews reads what belongs to a payment into a member of its view.
func collectViews[R, V any](into **[]V, view func(*R) V) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v V, err error) {
			r, err := pgx.RowToAddrOfStructByName[R](row)
			if err != nil {
				return v, err
			}
			return view(r), nil
		})
		*into = &views
		return err
	}
}

// Filter chooses payments of a merchant. Zero values do not filter.
type Filter struct {
	Status            []string
	CreatedAfter      time.Time // exclusive
	CreatedBefore     time.Time // exclusive
	MerchantReference string
	Currency          string
	Provider          string
	Limit             int // 1 to MaxPage; 0: DefaultPage
	Cursor            string
}

// listPayments has one text for all filters. The row comparison on (created_at, id)
// is what the index transactions_merchant is ordered by.
const listPayments = `SELECT ` + paymentColumns + withPersonal + `, ` + pendingStep + ` FROM transactions
	WHERE merchant_id = $1
	  AND ($2::text[] IS NULL OR status = ANY ($2))
	  AND ($3::timestamptz IS NULL OR created_at > $3)
	  AND ($4::timestamptz IS NULL OR created_at < $4)
	  AND ($5 = '' OR merchant_reference = $5)
	  AND ($6 = '' OR currency = $6)
	  AND ($7 = '' OR provider = $7)
	  AND ($8::timestamptz IS NULL OR (created_at, id) < ($8, $9::uuid))
	ORDER BY created_at DESC, id DESC LIMIT $10`

// List reads a page of the merchant's payments, newest first. Pages are consistent
// with each other: a payment made meanwhile shifts nothing.
func (s *Service) List(ctx context.Context, merchant id.ID, f Filter) (Page, error) {
	after, err := f.check()
	if err != nil {
		return Page{}, err
	}
	rows, _ := s.Pool.Query(ctx, listPayments, merchant, f.Status, optional(f.CreatedAfter), optional(f.CreatedBefore),
		f.MerchantReference, f.Currency, f.Provider, after.at, after.id, f.Limit+1) // collectPage returns the error
	page, err := collectPage(rows, f.Limit, (*pendingPayment).position, (*pendingPayment).view)
	return page, fault.Wrap(err, "list payments")
}

func (p *pendingPayment) position() position { return position{at: &p.CreatedAt, id: p.ID} }

func (f *Filter) check() (after position, err error) {
	var bad problems
	after = bad.page(&f.Limit, f.Cursor)
	for _, st := range f.Status {
		if !slices.Contains(Statuses(), Status(st)) {
			bad.add("status", "%q is not a status; send some of %s", st, statusNames())
		}
	}
	if f.Currency != "" {
		if _, err := money.ParseCurrency(f.Currency); err != nil {
			bad.add("currency", "%q is not a current ISO 4217 code", f.Currency)
		}
	}
	bad.length("merchant_reference", f.MerchantReference, 0, maxReferenceLen)
	bad.length("provider", f.Provider, 0, maxMethodLen)
	return after, bad.fault()
}

func statusNames() string {
	var names []string
	for _, st := range Statuses() {
		names = append(names, string(st))
	}
	return strings.Join(names, ", ")
}
