package audit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/alert"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres"
)

// The stages of a pass, in their order.
const (
	stageSeals = "seals" // by merchant
	stageFold  = "fold"  // by payment
	stageDone  = "done"
)

// Pass is one verification of all there is.
type Pass struct {
	ID         id.ID      `db:"id"`
	Stage      string     `db:"stage"`
	Reached    id.ID      `db:"reached"` // the last merchant, or payment, that is verified
	Partial    partial    `db:"partial"`
	Totals                // so far
	StartedAt  time.Time  `db:"started_at"`
	UpdatedAt  time.Time  `db:"updated_at"`
	FinishedAt *time.Time `db:"finished_at"`
}

// partial has, of the merchants after the last one that is verified, the seal to go on with,
// or verified.
type partial map[id.ID]int64

const verified = -1

const passColumns = `id, stage, reached, partial, merchants, seals, rows, payments, findings, started_at, updated_at, finished_at`

const (
	selectPass = `SELECT ` + passColumns + ` FROM audit_passes WHERE finished_at IS NULL`
	selectDone = `SELECT max(finished_at) FROM audit_passes`
	insertPass = `
		INSERT INTO audit_passes (` + passColumns + `)
		VALUES ($1, '` + stageSeals + `', NULL, '{}', 0, 0, 0, 0, 0, $2, $2, NULL) ON CONFLICT DO NOTHING`
	// Where two runs are at it, the second to note how far it is changes nothing, and goes on from there.
	updatePass = `
		UPDATE audit_passes SET stage = $3, reached = $4, merchants = $5, seals = $6, rows = $7, payments = $8,
			findings = $9, updated_at = $10, finished_at = $11, partial = $12
		WHERE id = $1 AND stage <> 'done' AND updated_at = $2`
)

// Verify goes on with the pass that is open, or begins one, until budget is over, and raises
// what does not agree. done reports that it reached the end. When budget is over, what is
// at hand is brought to an end that the next one can go on from, which should take ctx no
// more than a minute longer.
func (s *Service) Verify(ctx, budget context.Context) (p Pass, done bool, err error) {
	if p, err = s.pass(ctx); err != nil {
		return p, false, err
	}
	over := func() bool { return budget.Err() != nil }
	for p.Stage != stageDone && !over() {
		next, findings, err := s.step(ctx, p, over)
		if err != nil {
			return p, false, err
		}
		for _, f := range findings {
			if err := s.raise(ctx, f); err != nil {
				return p, false, err
			}
		}
		if p, err = s.note(ctx, p, next); err != nil {
			return p, false, err
		}
	}
	return p, p.Stage == stageDone, nil
}

func never() bool { return false }

// VerifyAll is a pass of its own, in one go and from beginning to end. It tells found what
// does not agree, and raises nothing.
func (s *Service) VerifyAll(ctx context.Context, found func(Finding)) (Totals, error) {
	p := Pass{Stage: stageSeals}
	for p.Stage != stageDone {
		next, findings, err := s.step(ctx, p, never)
		if err != nil {
			return p.Totals, err
		}
		for _, f := range findings {
			found(f)
		}
		p = next
	}
	return p.Totals, nil
}

// VerifyMerchant holds one merchant's log against its seals.
func (s *Service) VerifyMerchant(ctx context.Context, merchant id.ID, found func(Finding)) (Totals, error) {
	closed, err := lastClosed(ctx, s.Pool)
	if err != nil {
		return Totals{}, err
	}
	c, err := s.verifyMerchant(ctx, merchant, closed, 1, never)
	for _, f := range c.findings {
		found(f)
	}
	return c.totals, err
}

// step verifies the next page of a pass.
func (s *Service) step(ctx context.Context, p Pass, over func() bool) (next Pass, findings []Finding, err error) {
	if p.Stage == stageSeals {
		return s.stepSeals(ctx, p, over)
	}
	return s.stepFold(ctx, p)
}

func (s *Service) stepSeals(ctx context.Context, p Pass, over func() bool) (Pass, []Finding, error) {
	closed, err := lastClosed(ctx, s.Pool)
	if err != nil {
		return p, nil, err
	}
	merchants, err := s.merchants(ctx, p.Reached, merchantsPerPage)
	if err != nil {
		return p, nil, err
	}
	if len(merchants) == 0 {
		p.Stage, p.Reached, p.Partial = stageFold, id.ID{}, nil
		return p, nil, nil
	}
	var mu sync.Mutex
	var findings []Finding
	was, partly := p.Partial, partial{}
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, m := range merchants {
		from := was[m]
		if from == verified || over() {
			mu.Lock()
			partly[m] = from
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			c, err := s.verifyMerchant(within, m, closed, max(from, 1), over)
			mu.Lock()
			defer mu.Unlock()
			p.Totals.add(c.totals)
			findings = append(findings, c.findings...)
			partly[m] = c.next
			if c.next == 0 {
				partly[m] = verified
			}
			return err
		})
	}
	err = g.Wait()
	p.Partial = partly
	if !slices.ContainsFunc(merchants, func(m id.ID) bool { return partly[m] != verified }) {
		p.Reached, p.Partial = merchants[len(merchants)-1], nil
	}
	return p, findings, err
}

// merchants pages through those that the log, the database's seals, or the vault know.
func (s *Service) merchants(ctx context.Context, after id.ID, limit int) ([]id.ID, error) {
	inLog, err := listMerchants(ctx, s.Pool, selectLogMerchants, after, limit)
	if err != nil {
		return nil, err
	}
	sealed, err := listMerchants(ctx, s.Pool, selectSealMerchants, after, limit)
	if err != nil {
		return nil, err
	}
	folders, err := s.Vault.Folders(ctx, "merchants/", spell(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list the vault: %w", err)
	}
	all := append(inLog, sealed...)
	for _, name := range folders {
		m, err := id.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("the vault has the folder merchants/%s, which is none of a merchant", name)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b id.ID) int { return slices.Compare(a[:], b[:]) })
	all = slices.Compact(all)
	return all[:min(limit, len(all))], nil
}

func (s *Service) stepFold(ctx context.Context, p Pass) (Pass, []Finding, error) {
	page, err := payment.FoldAudit(ctx, s.Pool, p.Reached, paymentsPerPage)
	if err != nil {
		return p, nil, err
	}
	var findings []Finding
	for _, m := range page.Mismatches {
		findings = append(findings, Finding{
			Kind: FoldMismatch, Payment: m.Payment, Row: m.ID, Table: m.Table,
			Detail: "the audit log, folded, does not give the row back",
		})
	}
	p.Payments += page.Payments
	p.Findings += int64(len(findings))
	p.Reached = page.Last
	if page.Done {
		p.Stage, p.Reached = stageDone, id.ID{}
	}
	return p, findings, nil
}

// pass is the open pass, or a new one.
func (s *Service) pass(ctx context.Context) (Pass, error) {
	if _, err := s.Pool.Exec(ctx, insertPass, s.NewID(), s.Now()); err != nil {
		return Pass{}, fault.Wrap(err, "begin a pass of the audit")
	}
	rows, _ := s.Pool.Query(ctx, selectPass) // CollectExactlyOneRow returns the error
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Pass])
	return p, fault.Wrap(err, "read how far the audit is")
}

// note writes down how far the pass is.
func (s *Service) note(ctx context.Context, was, p Pass) (Pass, error) {
	if p.Partial == nil {
		p.Partial = partial{}
	}
	p.UpdatedAt = s.Now()
	if !p.UpdatedAt.After(was.UpdatedAt) {
		p.UpdatedAt = was.UpdatedAt.Add(time.Microsecond) // also under a clock that stands still
	}
	if p.Stage == stageDone {
		p.FinishedAt = &p.UpdatedAt
	}
	tag, err := s.Pool.Exec(ctx, updatePass, was.ID, was.UpdatedAt, p.Stage, p.Reached, p.Merchants, p.Seals, p.Rows,
		p.Payments, p.Findings, p.UpdatedAt, p.FinishedAt, p.Partial)
	if err != nil {
		return was, fault.Wrap(err, "note how far the audit is")
	}
	if tag.RowsAffected() == 0 { // another run was quicker
		return s.pass(ctx)
	}
	return p, nil
}

// Job names the audit among the batch jobs, in metrics.
const Job = "verifyaudit"

// LastPass is when a pass was last finished; nil: never.
func LastPass(ctx context.Context, db postgres.DB) (at *time.Time, err error) {
	err = db.QueryRow(ctx, selectDone).Scan(&at)
	return at, fault.Wrap(err, "find the last pass of the audit")
}

// AlertKind is the kind of the alerts that findings raise.
const AlertKind = "audit"

// The queries with which a person begins.
var queries = []string{
	`SELECT * FROM transaction_audit_log WHERE transaction_id = '<payment_id>' ORDER BY at, id`,
	`SELECT * FROM transactions WHERE id = '<payment_id>'`,
	`SELECT * FROM audit_seals WHERE merchant_id = '<merchant_id>' ORDER BY number`,
	`SELECT * FROM closed_periods ORDER BY until`,
}

// raise tells of a finding: in the log, as a metric, and as an alert for operators, which
// stays open until a person closes it.
func (s *Service) raise(ctx context.Context, f Finding) error {
	s.Log.ErrorContext(ctx, "the audit log does not agree", "finding", f.Kind, "subject", f.Subject(), "detail", f.Detail)
	s.Metrics.AuditFinding(ctx, string(f.Kind))
	b := &pgx.Batch{}
	alert.Queue(b, s.NewID(), alert.Alert{
		Kind: AlertKind, Subject: f.Subject(), Severity: alert.Critical,
		Detail: struct {
			Finding
			Queries []string `json:"queries"`
		}{f, queries},
	}, s.Now())
	return fault.Wrap(postgres.Pipeline(ctx, s.Pool, b), "raise an alert")
}
