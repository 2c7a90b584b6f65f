package migrations_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

const insufficientPrivilege = "42501"

// forbidden is what no function and no operator can do.
var forbidden = []string{
	// to what is recorded for ever
	`DELETE FROM transactions`,
	`DELETE FROM refunds`,
	`DELETE FROM idempotency_keys`,
	`DELETE FROM events`,
	`DELETE FROM merchants`,
	`UPDATE transactions SET merchant_id = merchant_id`,
	`UPDATE transactions SET currency = currency, amount_minor = amount_minor`,
	`UPDATE idempotency_keys SET fingerprint = fingerprint`,
	`UPDATE events SET sequence = sequence`,
	`UPDATE transaction_audit_log SET actor = 'nobody'`,
	`DELETE FROM transaction_audit_log`,
	`INSERT INTO transaction_audit_log_default SELECT * FROM transaction_audit_log_default`,
	`UPDATE audit_seals SET head = head`,
	`UPDATE ledger_entries SET amount_minor = 0`,
	`DELETE FROM ledger_postings`,
	`UPDATE provider_facts SET effect = 'applied'`,
	`UPDATE personal_data SET merchant_id = merchant_id`,
	`TRUNCATE transactions CASCADE`,
	`TRUNCATE transaction_audit_log`,
	`DO 'BEGIN LOCK TABLE transactions IN ACCESS EXCLUSIVE MODE; END'`,
	`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`,
	// to the schema
	`CREATE TABLE x ()`,
	`CREATE TEMPORARY TABLE x ()`,
	`CREATE SCHEMA x`,
	`CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
	`CREATE OR REPLACE FUNCTION require_audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
	`CREATE EXTENSION pgcrypto`,
	`CREATE TRIGGER x BEFORE INSERT ON transactions FOR EACH ROW EXECUTE FUNCTION refuse_change()`,
	`ALTER TABLE transactions DISABLE TRIGGER ALL`,
	`ALTER TABLE transactions ADD COLUMN x int`,
	`ALTER TABLE transaction_audit_log DETACH PARTITION transaction_audit_log_default`,
	`DROP TABLE transactions CASCADE`,
	`CREATE INDEX ON transactions (amount_minor)`,
	// to rights
	`SET session_replication_role = replica`,
	`SET ROLE postgres`,
	`SET SESSION AUTHORIZATION postgres`,
	`CREATE ROLE x`,
	`ALTER ROLE CURRENT_USER SUPERUSER`,
	`GRANT tollgate_sweep TO tollgate_settle`,
	`GRANT tollgate_function TO CURRENT_USER`,
	`GRANT pg_read_all_data TO CURRENT_USER`,
	`SELECT rolpassword FROM pg_authid`,
	// to the server and its machine
	`COPY merchants TO PROGRAM 'cat'`,
	`COPY merchants TO '/tmp/merchants'`,
	`COPY merchants FROM '/etc/passwd'`,
	`SELECT pg_read_file('/etc/passwd')`,
	`SELECT pg_ls_dir('.')`,
	`SELECT lo_import('/etc/passwd')`,
	`ALTER SYSTEM SET fsync = off`,
	`SELECT pg_reload_conf()`,
}

func TestWhatNobodyMay(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	for name := range holders(t) {
		conn := connect(t, pgtest.Login(t, database, "tollgate_"+name))
		for _, sql := range forbidden {
			if _, err := conn.Exec(t.Context(), sql); !postgres.HasCode(err, insufficientPrivilege) {
				t.Errorf("%s: %s: %v, want insufficient_privilege", name, sql, err)
			}
		}
		for other := range holders(t) {
			if _, err := conn.Exec(t.Context(), `SET ROLE tollgate_`+other); other != name && !postgres.HasCode(err, insufficientPrivilege) {
				t.Errorf("%s becomes %s: %v", name, other, err)
			}
		}
	}
}

// Who logs in without a role sees that there are tables, and no more.
func TestWithoutARoleThereIsNothing(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.New(t))
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	if _, err := tx.Exec(t.Context(), `CREATE ROLE nobody_in_particular; SET LOCAL ROLE nobody_in_particular`); err != nil {
		t.Fatal(err)
	}
	if may := granted(t, conn, "nobody_in_particular"); len(may) != 0 {
		t.Errorf("may do something to %v", slices.Sorted(maps.Keys(may)))
	}
}

// letMerchantsIn has who lets merchants in by their keys.
var letMerchantsIn = []string{
	"createpayment", "getpayment", "listpayments", "capturepayment", "cancelpayment", "refundpayment", "listdisputes",
	"listsettlements", "webhookadmin",
}

// reserved is what few may do, and who they are.
var reserved = map[string][]string{
	`SELECT secret_hash FROM api_keys`: letMerchantsIn,

	`INSERT INTO api_keys (id) VALUES (NULL)`:               {operator},
	`UPDATE api_keys SET revoked_at = NULL`:                 {operator},
	`UPDATE events SET payload = ''`:                        {operator},
	`UPDATE api_keys SET secret_hash = NULL`:                {},
	`UPDATE merchants SET status = 'ACTIVE'`:                {operator},
	`INSERT INTO fee_schedules SELECT * FROM fee_schedules`: {operator},
	`DELETE FROM personal_data`:                             {operator},
	`SELECT sealed FROM webhook_endpoint_secrets`:           {"deliverwebhook"},
	`DELETE FROM unsettled_entries`:                         {"settle"},
	`INSERT INTO settlements SELECT * FROM settlements`:     {"settle"},
	`UPDATE closed_periods SET closed_at = closed_at`:       {"verifyaudit"},
	`UPDATE provider_entries SET verdict = NULL`:            {"reconcile"},
	`SELECT body FROM webhook_events`:                       {"applywebhook", operator},
	`SELECT url FROM webhook_endpoints`:                     {"deliverwebhook", "webhookadmin", operator},
}

// Each is asked of the server by EXPLAIN, which checks rights as running it would.
func TestWhatFewMay(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	for name := range holders(t) {
		conn := connect(t, pgtest.Login(t, database, "tollgate_"+name))
		for sql, who := range reserved {
			_, err := conn.Exec(t.Context(), `EXPLAIN `+sql)
			if denied := postgres.HasCode(err, insufficientPrivilege); err != nil && !denied {
				t.Errorf("%s: %v", sql, err)
			} else if may := slices.Contains(who, name); may == denied {
				t.Errorf("%s: %s: %v, want it allowed to %s alone", name, sql, err, strings.Join(who, ", "))
			}
		}
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
