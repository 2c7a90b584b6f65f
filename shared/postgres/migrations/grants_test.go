package migrations_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

var update = flag.Bool("update", false, "rewrite testdata/grants.txt")

// operator is the role of scripts/ops; that of a function has the function's name.
const operator = "operator"

// holders are who has a role, and where their statements begin.
func holders(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{operator: "scripts/cmd/ops"}
	entries, err := os.ReadDir("../../../functions")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			all[e.Name()] = "functions/" + e.Name()
		}
	}
	return all
}

// granted is what a role has been given on the tables.
func granted(t *testing.T, conn *pgx.Conn, role string) claims {
	t.Helper()
	rows, _ := conn.Query(t.Context(), `
		SELECT relname, attname, has_column_privilege($1, c.oid, attnum, 'SELECT'), has_column_privilege($1, c.oid, attnum, 'INSERT'),
			has_column_privilege($1, c.oid, attnum, 'UPDATE'), has_table_privilege($1, c.oid, 'DELETE'),
			has_table_privilege($1, c.oid, 'TRUNCATE, REFERENCES, TRIGGER') OR has_column_privilege($1, c.oid, attnum, 'REFERENCES')
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('i', 'I') AND attnum > 0 AND NOT attisdropped`, role)
	all := claims{}
	var relation, column string
	var reads, inserts, updates, deletes, more bool
	_, err := pgx.ForEachRow(rows, []any{&relation, &column, &reads, &inserts, &updates, &deletes, &more}, func() error {
		if more {
			t.Errorf("%s may do more to %s than read and write its rows", role, relation)
		}
		if !reads && !inserts && !updates && !deletes {
			return nil
		}
		k := all.on(relation)
		for may, set := range map[*bool]columns{&reads: k.Select, &inserts: k.Insert, &updates: k.Update} {
			if *may {
				set[column] = true
			}
		}
		k.Delete = deletes
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// needed is what a holder's statements need, as far as the code and PostgreSQL tell.
func needed(t *testing.T, p *program, r *reader, path string) claims {
	t.Helper()
	entry := "Build"
	if strings.HasPrefix(path, "scripts/") {
		entry = "main"
	}
	found := p.reach(path, entry)
	statements := slices.Sorted(maps.Keys(found.statements))
	for name, texts := range found.assembled {
		if given, ok := examples[name]; ok {
			texts = given
		}
		for _, text := range texts {
			if beside.MatchString(text) {
				continue
			}
			if _, err := r.needs(t.Context(), text); err != nil {
				t.Errorf("%s puts a statement together: say in examples what it may be (%v)", name, err)
				continue
			}
			statements = append(statements, text)
		}
	}
	statements = append(statements, former[path]...)
	all := claims{}
	for i := 0; i < len(statements); i++ {
		sql := statements[i]
		if forHumans.MatchString(sql) || beside.MatchString(sql) {
			continue
		}
		needs, err := r.needs(t.Context(), sql)
		if err != nil {
			t.Fatalf("%v\n%s in %s", err, sql, found.statements[sql])
		}
		all.add(needs)
		for _, call := range calls.FindAllStringSubmatch(sql, -1) {
			if body := bodies[call[1]]; body == "" {
				t.Errorf("%s is called: say in bodies what it does", call[1])
			} else if !slices.Contains(statements, body) {
				statements = append(statements, body)
			}
		}
	}
	return all
}

// narrow are the tables of which a role reads only the columns that it needs: others hold what is nobody else's business.
var narrow = []string{"api_keys", "personal_data", "provider_responses", "webhook_endpoint_secrets", "webhook_endpoints", "webhook_events"}

// rights are the least by which a role can do what it needs: whole tables but for the narrow ones to read and to insert
// into, and columns to update. A row that is only locked takes the right to update one column, whichever it is.
func rights(r *reader, needs, has claims) claims {
	all := claims{}
	for name, need := range needs {
		k, have := all.on(name), has.on(name)
		whole := r.columnsOf(name)
		switch {
		case !need.Reads:
		case slices.Contains(narrow, name) && len(need.Select) > 0:
			k.Select.add(need.Select)
		default:
			k.Select.add(whole)
		}
		if len(need.Insert) > 0 {
			k.Insert.add(whole)
		}
		k.Update.add(need.Update)
		if need.Locks && len(k.Update) == 0 {
			k.Update.add(columns{"updated_at": true})
			if len(have.Update) == 1 {
				k.Update = have.Update
			}
		}
		k.Delete = need.Delete
	}
	return all
}

func (r *reader) columnsOf(name string) columns {
	set := columns{}
	for _, t := range r.tables {
		if t.name == name {
			for _, column := range t.columns {
				set[column] = true
			}
		}
	}
	return set
}

// verbs are such as "INSERT, UPDATE (status, version)".
func (r *reader) verbs(name string, k *claim) string {
	var all []string
	whole := r.columnsOf(name)
	for _, v := range []struct {
		verb string
		of   columns
	}{{"SELECT", k.Select}, {"INSERT", k.Insert}, {"UPDATE", k.Update}} {
		switch {
		case len(v.of) == len(whole):
			all = append(all, v.verb)
		case len(v.of) > 0:
			all = append(all, v.verb+" ("+v.of.String()+")")
		}
	}
	if k.Delete {
		all = append(all, "DELETE")
	}
	return strings.Join(all, ", ")
}

// table lists what a role may do, a line for each table.
func (r *reader) table(role string, c claims) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", role)
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if verbs := r.verbs(name, c[name]); verbs != "" {
			fmt.Fprintf(&text, "    %-24s %s\n", name, verbs)
		}
	}
	return text.String()
}

// Every role may do what the statements of its function need, no less and no more, and testdata/grants.txt says what that
// is. Statements are followed through the code, and PostgreSQL says which rights they take.
func TestRolesMayDoWhatTheirStatementsNeed(t *testing.T) {
	t.Parallel()
	p, r := source(t), newReader(t, pgtest.New(t))
	var list strings.Builder
	who := holders(t)
	for _, name := range slices.Sorted(maps.Keys(who)) {
		role := "tollgate_" + name
		needs, has := needed(t, p, r, who[name]), granted(t, r.conn, role)
		want := rights(r, needs, has)
		if diff := cmp.Diff(r.table(role, want), r.table(role, has)); diff != "" {
			t.Errorf("needs (-) and may (+); a migration of its own makes up for it:\n%s\n%s", diff, r.correction(role, want, has))
		}
		list.WriteString(r.table(role, has) + "\n")
	}
	const file = "testdata/grants.txt"
	if *update {
		if err := os.WriteFile(file, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), list.String()); diff != "" {
		t.Errorf("%s (-file +database); go test -run %s -update writes it:\n%s", file, t.Name(), diff)
	}
}

// correction is what a migration would have to say.
func (r *reader) correction(role string, want, has claims) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(union(want, has))) {
		if r.verbs(name, want.on(name)) == r.verbs(name, has.on(name)) {
			continue
		}
		if verbs := r.verbs(name, has.on(name)); verbs != "" {
			all = append(all, fmt.Sprintf("REVOKE %s ON %s FROM %s;", verbs, name, role))
		}
		if verbs := r.verbs(name, want.on(name)); verbs != "" {
			all = append(all, fmt.Sprintf("GRANT %s ON %s TO %s;", verbs, name, role))
		}
	}
	return strings.Join(all, "\n")
}

func union(a, b claims) claims {
	all := claims{}
	all.add(a)
	all.add(b)
	return all
}

// A right that is missing, and one that is too much, are found, whatever they are for.
func TestWrongRightsAreFound(t *testing.T) {
	t.Parallel()
	p, r := source(t), newReader(t, pgtest.New(t))
	needs := needed(t, p, r, "functions/settle")
	for change, correction := range map[string]string{
		``: ``,
		`REVOKE INSERT ON events FROM tollgate_settle`:                     `GRANT INSERT ON events TO tollgate_settle;`,
		`GRANT DELETE ON events TO tollgate_settle`:                        "REVOKE INSERT, DELETE ON events FROM tollgate_settle;\nGRANT INSERT ON events TO tollgate_settle;",
		`GRANT SELECT ON api_keys TO tollgate_settle`:                      `REVOKE SELECT ON api_keys FROM tollgate_settle;`,
		`GRANT SELECT (merchant_id) ON personal_data TO tollgate_settle`:   "REVOKE SELECT (data, id, merchant_id) ON personal_data FROM tollgate_settle;\nGRANT SELECT (data, id) ON personal_data TO tollgate_settle;",
		`GRANT UPDATE (number) ON settlement_lines TO tollgate_settle`:     "REVOKE SELECT, INSERT, UPDATE (number), DELETE ON settlement_lines FROM tollgate_settle;\nGRANT SELECT, INSERT, DELETE ON settlement_lines TO tollgate_settle;",
		`REVOKE UPDATE (status) ON transactions FROM tollgate_settle`:      "REVOKE SELECT, UPDATE (event_sequence, previous_status, updated_at, version) ON transactions FROM tollgate_settle;\nGRANT SELECT, UPDATE (event_sequence, previous_status, status, updated_at, version) ON transactions TO tollgate_settle;",
		`GRANT SELECT ON transaction_audit_log_default TO tollgate_settle`: `REVOKE SELECT ON transaction_audit_log_default FROM tollgate_settle;`,
	} {
		tx, err := r.conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		has := granted(t, r.conn, "tollgate_settle")
		if got := r.correction("tollgate_settle", rights(r, needs, has), has); got != correction {
			t.Errorf("after %s:\n%s\nwant\n%s", change, got, correction)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
