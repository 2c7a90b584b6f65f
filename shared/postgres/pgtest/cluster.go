package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"sync"

	"github.com/jackc/pgx/v5"
)

// A cluster is a server and the schema that its template has. Several test
// binaries may each have one for the same server.
type cluster struct {
	admin   url.URL // a superuser's, of a database that always exists
	hash    string  // names the schema
	migrate func(ctx context.Context, url string) error

	mu   sync.Mutex
	made bool
}

// templateLock is the advisory lock under which templates are made.
const templateLock = 7310860219

// template returns the name of the migrated database to clone, and makes it if
// no test binary has done so yet.
func (c *cluster) template(ctx context.Context) (string, error) {
	name := "tollgate_template_" + c.hash
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made {
		return name, nil
	}
	err := c.do(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(templateLock)); err != nil {
			return err
		}
		return c.makeTemplate(ctx, conn, name) // closing the connection frees the lock
	})
	if err != nil {
		return "", fmt.Errorf("make the template database: %w", err)
	}
	c.made = true
	return name, nil
}

func (c *cluster) makeTemplate(ctx context.Context, conn *pgx.Conn, name string) error {
	var exists bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists)
	if err != nil || exists {
		return err
	}
	// It gets its name once it is complete, so that a binary that dies in
	// between leaves no half of a template.
	draft := name + "_draft"
	for _, sql := range []string{
		"DROP DATABASE IF EXISTS " + quote(draft) + " WITH (FORCE)",
		"CREATE DATABASE " + quote(draft) + " TEMPLATE template0",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := c.migrate(ctx, c.url(draft)); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+quote(draft)+" RENAME TO "+quote(name))
	return err
}

// create clones by copying files, which takes a half to a third of the time of
// PostgreSQL's default, writing the pages to the log.
func (c *cluster) create(ctx context.Context, name, template string) error {
	return c.do(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template)+" STRATEGY FILE_COPY")
		return err
	})
}

func (c *cluster) drop(ctx context.Context, name string) error {
	return c.do(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE "+quote(name)+" WITH (FORCE)")
		return err
	})
}

// do runs f on a connection of its own: a pool would keep goroutines in the
// background, which tests that look for leaked ones would find.
func (c *cluster) do(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, c.admin.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return f(conn)
}

func (c *cluster) url(database string) string {
	u := c.admin
	u.Path = "/" + database
	return u.String()
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
