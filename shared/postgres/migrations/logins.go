package migrations

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Login is an account of the server, and the role whose rights it is to have: tollgate_operator, or tollgate_ and the
// name of a function. The migrations make the roles; who logs in is the deployment's to say.
type Login struct {
	Role string
	Name string
}

// ParseLogins reads role=login, separated by lines or commas. An account has one role; a role may have several accounts.
func ParseLogins(text string) ([]Login, error) {
	var all []Login
	var wrong []error
	roles := map[string]string{}
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		if field = strings.TrimSpace(field); field == "" {
			continue
		}
		role, name, _ := strings.Cut(field, "=")
		switch {
		case role == "" || name == "":
			wrong = append(wrong, fmt.Errorf("%q is not role=login", field))
		case roles[name] != "":
			wrong = append(wrong, fmt.Errorf("%s is given %s and %s: an account has one role", name, roles[name], role))
		default:
			roles[name] = role
			all = append(all, Login{role, name})
		}
	}
	return all, errors.Join(wrong...)
}

// Grant gives the accounts their roles, and takes from them any other of Tollgate's. It changes nothing if one of them is
// not as it has to be: the role and the account are there, and the account has no way to more rights, neither by an
// attribute such as CREATEROLE nor by being a member of the tables' owner, of a role of PostgreSQL's that reads or writes
// everything, or of one that has a role of Tollgate's. It returns the accounts that have a role of Tollgate's and were not
// given here, as role=login.
//
// Nobody but the owner can make temporary tables in the database afterwards.
func Grant(ctx context.Context, c *pgx.ConnConfig, logins []Login) (others []string, err error) {
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := check(ctx, tx, logins); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `REVOKE TEMPORARY ON DATABASE `+quote(c.Database)+` FROM PUBLIC`); err != nil {
			return err
		}
		for _, l := range logins {
			if err := give(ctx, tx, l); err != nil {
				return err
			}
		}
		rows, _ := tx.Query(ctx, selectOthers, namesOf(logins)) // CollectRows returns the error
		others, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("migrations: give logins their roles: %w", err)
	}
	return others, nil
}

const (
	selectRole = `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 AND NOT rolcanlogin)`

	// A role of Tollgate's that the account has itself is none of the other ways: it is taken away.
	selectLogin = `
		SELECT rolcanlogin, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,
			pg_has_role(oid, (SELECT relowner FROM pg_class WHERE oid = 'transactions'::regclass), 'MEMBER'),
			(SELECT coalesce(string_agg(r.rolname, ', ' ORDER BY r.rolname), '') FROM pg_roles r
			 WHERE pg_has_role(l.oid, r.oid, 'MEMBER') AND (
				r.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
				OR r.rolname LIKE 'tollgate\_%' AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid AND m.member = l.oid)))
		FROM pg_roles l WHERE rolname = $1`

	selectFormer = `
		SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles g ON g.oid = m.member
		WHERE g.rolname = $1 AND r.rolname LIKE 'tollgate\_%' AND r.rolname <> $2`

	// Whoever made a role is a member that can only pass it on; that is not what is looked for.
	selectOthers = `
		SELECT r.rolname || '=' || g.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles g ON g.oid = m.member
		WHERE r.rolname LIKE 'tollgate\_%' AND g.rolname <> ALL ($1) AND NOT m.admin_option ORDER BY 1`
)

// check finds all that keeps the logins from being given their roles.
func check(ctx context.Context, tx pgx.Tx, logins []Login) error {
	var wrong []error
	for _, l := range logins {
		var there bool
		if err := tx.QueryRow(ctx, selectRole, l.Role).Scan(&there); err != nil {
			return err
		}
		if !there || !strings.HasPrefix(l.Role, "tollgate_") {
			wrong = append(wrong, fmt.Errorf("there is no role %s", l.Role))
		}
		var logsIn, attributes, owner bool
		var others string
		err := tx.QueryRow(ctx, selectLogin, l.Name).Scan(&logsIn, &attributes, &owner, &others)
		switch {
		case errors.Is(err, pgx.ErrNoRows) || err == nil && !logsIn:
			wrong = append(wrong, fmt.Errorf("there is no account %s", l.Name))
		case err != nil:
			return err
		case attributes:
			wrong = append(wrong, fmt.Errorf("the account %s has an attribute that leads past its role (SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS)", l.Name))
		case owner:
			wrong = append(wrong, fmt.Errorf("the account %s can become the owner of the tables: take that membership from it", l.Name))
		case others != "":
			wrong = append(wrong, fmt.Errorf("the account %s has rights beside its role, as a member of %s: take that membership from it", l.Name, others))
		}
	}
	return errors.Join(wrong...)
}

func give(ctx context.Context, tx pgx.Tx, l Login) error {
	rows, _ := tx.Query(ctx, selectFormer, l.Name, l.Role) // CollectRows returns the error
	former, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, role := range former {
		if _, err := tx.Exec(ctx, `REVOKE `+quote(role)+` FROM `+quote(l.Name)); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `GRANT `+quote(l.Role)+` TO `+quote(l.Name))
	return err
}

func namesOf(logins []Login) []string {
	names := make([]string, len(logins))
	for i, l := range logins {
		names[i] = l.Name
	}
	return names
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
