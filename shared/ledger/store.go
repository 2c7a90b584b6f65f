package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
)

// One statement writes a posting with its lines and queues what is to be settled of it.
const insertPosting = `
	WITH posting AS (
		INSERT INTO ledger_postings (id, kind, merchant_id, transaction_id, subject_id, provider, currency, object_id,
			reference, lines, posted_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''), nullif($9, ''), cardinality($10::text[]), $12)
		ON CONFLICT (kind, reference) WHERE reference IS NOT NULL DO NOTHING
		RETURNING *),
	entry AS (
		INSERT INTO ledger_entries (posting_id, line, account, amount_minor, merchant_id, provider, currency,
			transaction_id, kind, posted_at)
		SELECT p.id, e.line, e.account, e.amount_minor, p.merchant_id, p.provider, p.currency, p.transaction_id, p.kind, p.posted_at
		FROM posting p, unnest($10::text[], $11::bigint[]) WITH ORDINALITY AS e(account, amount_minor, line)
		RETURNING *)
	INSERT INTO unsettled_entries (posting_id, line, merchant_id, currency, provider, transaction_id, kind, amount_minor, posted_at)
	SELECT posting_id, line, merchant_id, currency, provider, transaction_id, kind, amount_minor, posted_at
	FROM entry WHERE account = 'payable' AND kind <> 'settlement'`

// Queue writes the posting with the batch's transaction, and lets its payable lines wait
// to be settled unless it is a settlement. Entries of zero are left out, and a posting
// without entries is none. What is wrong with it makes the transaction fail when it
// commits; one whose period has ended fails with postgres.PeriodClosed.
func Queue(b *pgx.Batch, p Posting) {
	var accounts []string
	var amounts []int64
	for _, e := range p.Entries {
		if e.AmountMinor != 0 {
			accounts, amounts = append(accounts, string(e.Account)), append(amounts, e.AmountMinor)
		}
	}
	if len(accounts) == 0 {
		return
	}
	b.Queue(insertPosting, p.ID, p.Kind, p.MerchantID, p.PaymentID, p.SubjectID, p.Provider, p.Currency, p.ObjectID,
		p.Reference, accounts, amounts, p.At)
}

const selectPostings = `
	SELECT p.id, p.kind, p.merchant_id, p.transaction_id, p.subject_id, p.provider, p.currency, p.object_id, p.reference,
		p.posted_at, e.account, e.amount_minor
	FROM ledger_postings p JOIN ledger_entries e ON e.posting_id = p.id
	WHERE p.transaction_id = $1 ORDER BY p.posted_at, p.id, e.line`

// QueuePostings reads into dst what was posted about a payment, the oldest first.
func QueuePostings(b *pgx.Batch, payment id.ID, dst *[]Posting) {
	b.Queue(selectPostings, payment).Query(func(rows pgx.Rows) error {
		all, err := collectPostings(rows)
		*dst = all
		return err
	})
}

// Postings is what was posted about a payment, the oldest first.
func Postings(ctx context.Context, db postgres.DB, payment id.ID) ([]Posting, error) {
	rows, err := db.Query(ctx, selectPostings, payment)
	if err != nil {
		return nil, fault.Wrap(err, "read the payment's postings")
	}
	all, err := collectPostings(rows)
	return all, fault.Wrap(err, "read the payment's postings")
}

func collectPostings(rows pgx.Rows) ([]Posting, error) {
	defer rows.Close()
	var all []Posting
	for rows.Next() {
		var p Posting
		var e Entry
		var object, reference *string
		err := rows.Scan(&p.ID, &p.Kind, &p.MerchantID, &p.PaymentID, &p.SubjectID, &p.Provider, &p.Currency, &object, &reference,
			&p.At, &e.Account, &e.AmountMinor)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 || all[len(all)-1].ID != p.ID {
			if object != nil {
				p.ObjectID = *object
			}
			if reference != nil {
				p.Reference = *reference
			}
			all = append(all, p)
		}
		last := &all[len(all)-1]
		last.Entries = append(last.Entries, e)
	}
	return all, rows.Err()
}

// Filter says which balances are wanted; what is zero in it does not matter.
type Filter struct {
	MerchantID id.ID
	Provider   string
	Currency   money.Currency
}

// Balance is what an account stands at: positive for a debit, negative for a credit.
type Balance struct {
	MerchantID  id.ID          `db:"merchant_id"` // zero: nobody's
	Provider    string         `db:"provider"`
	Currency    money.Currency `db:"currency"`
	Account     Account        `db:"account"`
	AmountMinor int64          `db:"amount_minor"`
}

// An account's newest sum holds until the last period that was closed, however old it is:
// had the account moved since, it would have a newer one.
const selectBalances = `
	WITH summed AS (
		SELECT DISTINCT ON (merchant_id, provider, currency, account) merchant_id, provider, currency, account, balance_minor
		FROM ledger_balances WHERE %[1]s AND ($2 = '' OR provider = $2) AND ($3 = '' OR currency = $3)
		ORDER BY merchant_id, provider, currency, account, until DESC),
	tail AS (
		SELECT coalesce(merchant_id, '` + nobody + `') AS merchant_id, provider, currency, account, amount_minor
		FROM ledger_entries WHERE %[1]s AND ($2 = '' OR provider = $2) AND ($3 = '' OR currency = $3)
			AND posted_at >= coalesce((SELECT max(until) FROM ledger_balances), '-infinity'))
	SELECT merchant_id, provider, currency, account, sum(amount_minor)::bigint AS amount_minor
	FROM (SELECT * FROM summed UNION ALL SELECT * FROM tail) moved (merchant_id, provider, currency, account, amount_minor)
	GROUP BY merchant_id, provider, currency, account ORDER BY currency, provider, merchant_id, account`

// nobody stands for no merchant in ledger_balances, whose key it is part of.
const nobody = "00000000-0000-0000-0000-000000000000"

var (
	merchantBalances = fmt.Sprintf(selectBalances, "merchant_id = $1")
	allBalances      = fmt.Sprintf(selectBalances, "$1::uuid IS NULL")
)

// Balances is what accounts stand at: closed periods' sums, and all that was posted since.
// Accounts that never moved are not in it.
func Balances(ctx context.Context, db postgres.DB, f Filter) ([]Balance, error) {
	sql := allBalances
	if !f.MerchantID.IsZero() {
		sql = merchantBalances
	}
	rows, _ := db.Query(ctx, sql, f.MerchantID, f.Provider, f.Currency.Code()) // CollectRows returns the error
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Balance])
	return all, fault.Wrap(err, "read balances")
}
