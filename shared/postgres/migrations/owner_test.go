package migrations_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/migrations"
	"github.com/tollgate/tollgate/shared/postgres/pglocal"
)

// cloud is a server as Cloud SQL hands it over: nobody is a superuser. An administrator owns the database and may make
// roles. The account that migrates has no attributes of its own and is a member of the administrator; the functions'
// accounts are there and may do nothing.
type cloud struct {
	superuser string
	database  string // as a superuser
	migrate   *pgx.ConnConfig
	operator  string // the URL of an account that is to be an operator's
	settle    string // one that is to be settle's
}

const (
	operatorAccount = "run-ops@project.iam"
	settleAccount   = "run-settle@project.iam"
)

func newCloud(t *testing.T) cloud {
	t.Helper()
	server, err := pglocal.Start(t.Context(), pglocal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	c := cloud{superuser: server.URL("postgres"), database: server.URL("tollgate")}
	conn := connect(t, c.superuser)
	accounts := map[string]string{}
	for _, sql := range []string{`CREATE ROLE administrator CREATEROLE CREATEDB`, `CREATE DATABASE tollgate OWNER administrator`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"run-migrate@project.iam", operatorAccount, settleAccount} {
		password, verifier := pglocal.NewPassword()
		if _, err := conn.Exec(t.Context(), `CREATE ROLE "`+name+`" LOGIN PASSWORD '`+verifier+`'`); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(c.database)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(name, password)
		accounts[name] = u.String()
	}
	if _, err := conn.Exec(t.Context(), `GRANT administrator TO "run-migrate@project.iam"`); err != nil {
		t.Fatal(err)
	}
	if c.migrate, err = pgx.ParseConfig(accounts["run-migrate@project.iam"] + "&role=administrator"); err != nil {
		t.Fatal(err)
	}
	c.operator, c.settle = accounts[operatorAccount], accounts[settleAccount]
	return c
}

// Nothing in production needs a superuser: not the migrations, not the roles, not the triggers that look at tables which
// a function may not read.
func TestNothingNeedsASuperuser(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	if err := migrations.ApplyTo(t.Context(), c.migrate); err != nil {
		t.Fatal(err)
	}
	logins := []migrations.Login{{Role: "tollgate_operator", Name: operatorAccount}, {Role: "tollgate_createpayment", Name: settleAccount}}
	if others, err := migrations.Grant(t.Context(), c.migrate, logins); err != nil || len(others) > 0 {
		t.Fatalf("%v, others: %v", err, others)
	}
	owner := connect(t, c.database)
	var others []string
	rows, _ := owner.Query(t.Context(), `
		SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND pg_get_userbyid(relowner) <> 'administrator'
		UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND pg_get_userbyid(proowner) <> 'administrator'`)
	others, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(others) > 0 {
		t.Errorf("not the administrator's: %v, %v", others, err)
	}
	if _, err := owner.Exec(t.Context(), `INSERT INTO merchants (id, name, status, created_at, updated_at)
		VALUES ('00000000-0000-7000-8000-00000000000a', 'Shop', 'ACTIVE', '2027-01-01', '2027-01-01')`); err != nil {
		t.Fatal(err)
	}
	function := connect(t, c.settle)
	if _, err := function.Exec(t.Context(), `BEGIN;`+onePayment+`; COMMIT`); !strings.Contains(errorOf(err), "no audit row") {
		t.Errorf("a payment without its audit row: %v", err)
	}
	if _, err := function.Exec(t.Context(), `ROLLBACK; BEGIN;`+onePayment+`;`+itsAuditRow+`; COMMIT`); err != nil {
		t.Errorf("a payment: %v", err)
	}
	// The next night it is settle's after all: an account has one role at a time.
	logins[1].Role = "tollgate_settle"
	if others, err := migrations.Grant(t.Context(), c.migrate, logins); err != nil || len(others) > 0 {
		t.Fatalf("%v, others: %v", err, others)
	}
	if _, err := function.Exec(t.Context(), `SELECT secret_hash FROM api_keys`); !postgres.HasCode(err, insufficientPrivilege) {
		t.Errorf("the former role is still there: %v", err)
	}
	if others, err := migrations.Grant(t.Context(), c.migrate, logins[:1]); err != nil || !slices.Equal(others, []string{"tollgate_settle=" + settleAccount}) {
		t.Errorf("others: %v, %v", others, err)
	}
}

func errorOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

const onePayment = `
	INSERT INTO transactions (id, merchant_id, version, event_sequence, status, reconciliation_status, currency, amount_minor,
		authorized_minor, captured_minor, refund_reserved_minor, refunded_minor, disputed_minor, capture_excess_minor,
		refund_excess_minor, capture_method, payment_method, provider, provider_account, expires_at, created_at, updated_at)
	VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-00000000000a', 1, 0, 'PENDING', 'SYNCED', 'JPY',
		5000, 0, 0, 0, 0, 0, 0, 0, 'manual', 'pm_card_visa', 'stripe', 'default', '2027-01-01', '2027-01-01', '2027-01-01')`

const itsAuditRow = `
	INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, version, action, delta,
		actor, request_id, at)
	VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-00000000000a',
		'payment', '00000000-0000-7000-8000-000000000001', 'change', 1, 'create', '{}', 'merchant:x', '', '2027-01-01')`

// An account with another way to rights gets none, and nor does any other that it was given with.
func TestAccountsWithAnotherWayAreRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	if err := migrations.ApplyTo(t.Context(), c.migrate); err != nil {
		t.Fatal(err)
	}
	super := connect(t, c.superuser)
	if _, err := super.Exec(t.Context(), `CREATE ROLE team; GRANT tollgate_operator TO team`); err != nil {
		t.Fatal(err)
	}
	good := migrations.Login{Role: "tollgate_operator", Name: operatorAccount}
	for name, test := range map[string]struct {
		before, after string
		login         migrations.Login
		want          string
	}{
		"no such role":     {login: migrations.Login{Role: "tollgate_nothing", Name: settleAccount}, want: "tollgate_nothing"},
		"another's role":   {login: migrations.Login{Role: "pg_monitor", Name: settleAccount}, want: "pg_monitor"},
		"no such account":  {login: migrations.Login{Role: "tollgate_settle", Name: "run-nothing@project.iam"}, want: "run-nothing"},
		"a role, not one":  {login: migrations.Login{Role: "tollgate_settle", Name: "tollgate_sweep"}, want: "no account tollgate_sweep"},
		"who migrates":     {login: migrations.Login{Role: "tollgate_settle", Name: "run-migrate@project.iam"}, want: "owner"},
		"an administrator": {`GRANT administrator TO "` + settleAccount + `"`, `REVOKE administrator FROM "` + settleAccount + `"`, migrations.Login{Role: "tollgate_settle", Name: settleAccount}, "owner"},
		"an attribute":     {`ALTER ROLE "` + settleAccount + `" CREATEROLE`, `ALTER ROLE "` + settleAccount + `" NOCREATEROLE`, migrations.Login{Role: "tollgate_settle", Name: settleAccount}, "CREATEROLE"},
		"who reads all":    {`GRANT pg_read_all_data TO "` + settleAccount + `"`, `REVOKE pg_read_all_data FROM "` + settleAccount + `"`, migrations.Login{Role: "tollgate_settle", Name: settleAccount}, "pg_read_all_data"},
		"by another role":  {`GRANT team TO "` + settleAccount + `"`, `REVOKE team FROM "` + settleAccount + `"`, migrations.Login{Role: "tollgate_settle", Name: settleAccount}, "as a member of tollgate_operator"},
	} {
		if _, err := super.Exec(t.Context(), test.before); err != nil {
			t.Fatal(err)
		}
		if _, err := migrations.Grant(t.Context(), c.migrate, []migrations.Login{good, test.login}); !strings.Contains(errorOf(err), test.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
		if _, err := super.Exec(t.Context(), test.after); err != nil {
			t.Fatal(err)
		}
	}
	var has bool
	err := super.QueryRow(context.Background(), `SELECT pg_has_role($1, 'tollgate_operator', 'MEMBER')`, operatorAccount).Scan(&has)
	if err != nil || has {
		t.Errorf("the good one has its role, though another was refused: %t, %v", has, err)
	}
}

func TestLoginsAreReadFromText(t *testing.T) {
	t.Parallel()
	got, err := migrations.ParseLogins("tollgate_settle=a@p.iam,tollgate_operator=b@p.iam\n\n  tollgate_operator=c@p.iam\n")
	want := []migrations.Login{{Role: "tollgate_settle", Name: "a@p.iam"}, {Role: "tollgate_operator", Name: "b@p.iam"}, {Role: "tollgate_operator", Name: "c@p.iam"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	_, err = migrations.ParseLogins("tollgate_settle=a\ntollgate_sweep=a\nb\n=c\nd=")
	for _, part := range []string{"one role", `"b"`, `"=c"`, `"d="`} {
		if !strings.Contains(errorOf(err), part) {
			t.Errorf("%v does not mention %s", err, part)
		}
	}
	if got, err := migrations.ParseLogins(""); err != nil || len(got) > 0 {
		t.Errorf("nothing: %v, %v", got, err)
	}
}
