package migrations_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tollgate/tollgate/shared/payment"
)

// columns are what a right is for; whole tables are all their columns.
type columns map[string]bool

func (c columns) add(other columns) { maps.Copy(c, other) }

func (c columns) String() string { return strings.Join(slices.Sorted(maps.Keys(c)), ", ") }

// A claim is what somebody may do with a table, or has to.
type claim struct {
	Select, Insert, Update columns
	Delete                 bool
	Reads                  bool // some column, whichever, as for counting
	Locks                  bool // as Update does
}

// claims are by table.
type claims map[string]*claim

func (c claims) on(table string) *claim {
	if c[table] == nil {
		c[table] = &claim{Select: columns{}, Insert: columns{}, Update: columns{}}
	}
	return c[table]
}

func (c claims) add(other claims) {
	for table, o := range other {
		k := c.on(table)
		k.Select.add(o.Select)
		k.Insert.add(o.Insert)
		k.Update.add(o.Update)
		k.Delete, k.Reads, k.Locks = k.Delete || o.Delete, k.Reads || o.Reads, k.Locks || o.Locks
	}
}

// A reader has PostgreSQL say which rights a statement needs: the server analyses it, and says what the tree is that it
// checks the rights by.
type reader struct {
	conn   *pgx.Conn
	tables map[int]table
	trees  []string // of the statement at hand
}

type table struct {
	name    string
	columns map[int]string // by number
}

func newReader(t *testing.T, url string) *reader {
	t.Helper()
	r := &reader{tables: map[int]table{}}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Message == "parse tree:" {
			r.trees = append(r.trees, strings.Join(strings.Fields(n.Detail), " "))
		}
	}
	if r.conn, err = pgx.ConnectConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.conn.Close(context.Background()) })
	rows, _ := r.conn.Query(t.Context(), `
		SELECT c.oid::bigint, relname, attnum, attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped`)
	var oid, number int
	var relation, column string
	_, err = pgx.ForEachRow(rows, []any{&oid, &relation, &number, &column}, func() error {
		if _, ok := r.tables[oid]; !ok {
			r.tables[oid] = table{relation, map[int]string{}}
		}
		r.tables[oid].columns[number] = column
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.conn.Exec(t.Context(), `SET client_min_messages = log; SET debug_pretty_print = off; SET debug_print_parse = on`); err != nil {
		t.Fatal(err)
	}
	return r
}

// checked is one table in a tree: what of it is asked for, as bits of AclMode, and the columns.
var checked = regexp.MustCompile(`:relid (\d+) [^{}]*?:requiredPerms (\d+) :checkAsUser \d+ ` +
	`:selectedCols \(b([ \d]*)\) :insertedCols \(b([ \d]*)\) :updatedCols \(b([ \d]*)\)`)

// The bits, as PostgreSQL's parsenodes.h has them, and the number by which those of columns are moved: sysattr.h.
const (
	aclInsert, aclSelect, aclUpdate, aclDelete = 1, 2, 4, 8

	firstColumn = 7
)

// needs are a statement's.
func (r *reader) needs(ctx context.Context, sql string) (claims, error) {
	r.trees = nil
	if _, err := r.conn.Prepare(ctx, "", sql); err != nil {
		return nil, err
	}
	if len(r.trees) == 0 {
		return nil, fmt.Errorf("PostgreSQL does not say how it reads %s", sql)
	}
	all := claims{}
	for _, tree := range r.trees {
		for _, found := range checked.FindAllStringSubmatch(tree, -1) {
			oid, _ := strconv.Atoi(found[1])
			of, ok := r.tables[oid]
			if !ok {
				continue // the system's
			}
			k := all.on(of.name)
			asked, _ := strconv.Atoi(found[2])
			k.Select.add(of.set(found[3]))
			k.Insert.add(of.set(found[4]))
			k.Update.add(of.set(found[5]))
			k.Reads = k.Reads || asked&aclSelect != 0
			k.Locks = k.Locks || asked&aclUpdate != 0
			k.Delete = k.Delete || asked&aclDelete != 0
			if asked&aclInsert != 0 && len(k.Insert) == 0 {
				k.Insert.add(of.set("7"))
			}
		}
	}
	return all, nil
}

// set reads numbers of columns. The number of none stands for all.
func (t table) set(numbers string) columns {
	set := columns{}
	for _, text := range strings.Fields(numbers) {
		n, _ := strconv.Atoi(text)
		switch n -= firstColumn; {
		case n == 0:
			for _, name := range t.columns {
				set[name] = true
			}
		case n > 0:
			set[t.columns[n]] = true
		}
	}
	return set
}

// bodies has what the functions of the schema do in the name of who calls them.
var bodies = map[string]string{
	"expect_key":     `SELECT FROM idempotency_keys WHERE merchant_id = $1 AND key = $2 AND saga_id = $3`,
	"expect_version": `SELECT FROM transactions WHERE id = $1 AND version = $2 FOR NO KEY UPDATE`,
	"expect_lease":   `SELECT FROM transaction_saga WHERE id = $1 AND lease_token = $2 FOR NO KEY UPDATE`,
}

var calls = regexp.MustCompile(`\b(expect_\w+)\(`)

// examples has statements for each function in Go that puts some together of more than text: they ask for whatever it may.
var examples = map[string][]string{
	"shared/audit.selectFolded":     everyFolded(`SELECT id, to_jsonb(t)::text FROM %[1]s t WHERE %[2]s > $1`),
	"shared/payment.foldMismatches": append(everyFolded(`SELECT t.id, t.%[2]s, t FROM %[1]s t`), `SELECT delta FROM transaction_audit_log`),
	"shared/ledger.allBalances":     {`SELECT b.balance_minor, e.amount_minor FROM ledger_balances b, ledger_entries e`},
	"shared/ledger.merchantBalances": {
		`SELECT b.balance_minor, e.amount_minor FROM ledger_balances b, ledger_entries e`,
	},
	"(*shared/webhook.DeliveryFilter).query": {
		`SELECT merchant_id, id FROM webhook_endpoints`, `SELECT id, transaction_id FROM events`, `TABLE webhook_deliveries`,
	},
	"(*shared/webhook.EventFilter).query": {
		`SELECT id, created_at, payload, merchant_id, transaction_id, type FROM events`,
	},
	// For operators to send.
	"(*shared/settlement.Run).queries": {},
	// To the database that audit.Rebuild makes, which is its caller's own.
	"shared/audit.mustBeEmpty": {},
	"shared/audit.copyLog":     {},
	"shared/audit.foldInto":    {},
}

func everyFolded(sql string) (all []string) {
	for _, t := range payment.FoldedTables() {
		all = append(all, fmt.Sprintf(sql, t.Table, t.Key))
	}
	return all
}

// former has, by the folder of a holder, what the release before still sends and this one does not. It runs while a
// deployment rolls, so the right is taken back, and the line goes, a release later.
var former = map[string][]string{}

// beside begins statements that take no right: settings, and what audit.Rebuild sends to the database that it makes.
var beside = regexp.MustCompile(`^\s*(SET |INSERT INTO merchants SELECT \(jsonb_populate_record)`)

// forHumans are statements in what operators read, with a name in place of a value.
var forHumans = regexp.MustCompile(`'<\w+>'`)
