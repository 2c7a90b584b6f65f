package migrations_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres/migrations"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// before has the files that come before one.
func before(t *testing.T, file string) fstest.MapFS {
	t.Helper()
	names, err := fs.Glob(migrations.Schema, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, name := range names {
		text, err := fs.ReadFile(migrations.Schema, name)
		if err != nil {
			t.Fatal(err)
		}
		if name < file {
			files[name] = &fstest.MapFile{Data: text}
		}
	}
	return files
}

// What older payments and refunds say in words moves out of their rows and out of the log,
// and the log gives the rows back as before. Payments that say nothing are left alone.
func TestPersonalDataMovesOutOfTheLog(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := pgtest.Empty(t)
	if err := migrations.ApplyFiles(ctx, url, before(t, "0012")); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, oldRows); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Apply(ctx, url); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		`SELECT string_agg(data::text, ' ' ORDER BY id) FROM personal_data`:                                           `{"metadata": {"who": "Ada"}, "return_url": "https://ada.example", "description": "For Ada"} {"reason": "Ada moved"}`,
		`SELECT count(*)::text FROM transaction_audit_log WHERE delta::text LIKE '%Ada%' OR delta::text LIKE '%ada%'`: "0",
		`SELECT count(*)::text FROM transactions t WHERE t::text ILIKE '%ada%'`:                                       "0",
		`SELECT count(*)::text FROM refunds r WHERE r::text ILIKE '%ada%'`:                                            "0",
		`SELECT count(*)::text FROM transactions t JOIN transaction_audit_log l ON l.object_id = t.id
			WHERE t IS DISTINCT FROM jsonb_populate_record(NULL::transactions, l.delta)`: "0",
		`SELECT count(*)::text FROM refunds r JOIN transaction_audit_log l ON l.object_id = r.id
			WHERE r IS DISTINCT FROM jsonb_populate_record(NULL::refunds, l.delta)`: "0",
		`SELECT string_agg((personal_data_id = id)::text, ' ' ORDER BY id) FROM transactions`: "true", // and NULL for the other
	} {
		var got string
		if err := conn.QueryRow(ctx, sql).Scan(&got); err != nil || got != want {
			t.Errorf("%s\ngot  %s %v\nwant %s", sql, got, err, want)
		}
	}
	if _, err := conn.Exec(ctx, `UPDATE transaction_audit_log SET actor = 'nobody'`); err == nil {
		t.Error("the log can be changed afterwards")
	}
}

const oldRows = `
	SET session_replication_role = replica;
	INSERT INTO merchants (id, name, status, created_at, updated_at)
	VALUES ('00000000-0000-7000-8000-00000000000a', 'Shop', 'ACTIVE', '2027-01-01', '2027-01-01');
	INSERT INTO transactions (id, merchant_id, version, event_sequence, status, reconciliation_status, currency, amount_minor,
		authorized_minor, captured_minor, refund_reserved_minor, refunded_minor, disputed_minor, capture_excess_minor,
		refund_excess_minor, capture_method, payment_method, provider, provider_account, description, metadata, return_url,
		expires_at, created_at, updated_at)
	SELECT i::uuid, '00000000-0000-7000-8000-00000000000a', 1, 0, 'PENDING', 'SYNCED', 'JPY', 5000, 0, 0, 0, 0, 0, 0, 0,
		'manual', 'pm_card_visa', 'stripe', 'default', d, m::jsonb, u, '2027-01-01', '2027-01-01', '2027-01-01'
	FROM (VALUES ('00000000-0000-7000-8000-000000000001', 'For Ada', '{"who": "Ada"}', 'https://ada.example'),
	             ('00000000-0000-7000-8000-000000000002', NULL, '{}', NULL)) v (i, d, m, u);
	INSERT INTO refunds (id, transaction_id, merchant_id, version, status, origin, currency, amount_minor, counted_minor,
		reason, provider, created_at, updated_at)
	VALUES ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000001',
		'00000000-0000-7000-8000-00000000000a', 1, 'PENDING', 'merchant', 'JPY', 100, 100, 'Ada moved', 'stripe',
		'2027-01-01', '2027-01-01');
	INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, version, action, delta,
		actor, request_id, at)
	SELECT id, id, merchant_id, 'payment', id, 'change', 1, 'create', to_jsonb(t), 'merchant:x', '', '2027-01-01'::timestamptz FROM transactions t
	UNION ALL
	SELECT transaction_id, id, merchant_id, 'refund', id, 'change', 1, 'create', to_jsonb(r), 'merchant:x', '', '2027-01-01'::timestamptz FROM refunds r;
	SET session_replication_role = origin`
