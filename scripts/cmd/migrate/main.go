// Command migrate brings a database to the newest version of the schema, or
// says which migrations it has.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres/migrations"
)

const usage = `Usage: scripts/migrate [--status] [--database-url URL]

Applies the migrations that the database lacks, in order. Two that run at once
take turns. With --status it only lists them.

The URL is postgres://user:password@host:port/database, of a role that owns the
schema; without the flag it is taken from the variable DATABASE_URL.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv("DATABASE_URL"), os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "scripts/migrate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, url string, out io.Writer) error {
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() { _, _ = fmt.Fprint(out, usage) }
	status := flags.Bool("status", false, "")
	flags.StringVar(&url, "database-url", url, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not understood; see scripts/migrate --help", flags.Arg(0))
	}
	if err := announce(ctx, url, out); err != nil {
		return err
	}
	before, err := migrations.List(ctx, url)
	if err != nil {
		return err
	}
	if *status {
		show(before, out)
		return nil
	}
	failed := migrations.Apply(ctx, url)
	after, err := migrations.List(ctx, url)
	if err != nil {
		return errors.Join(failed, err)
	}
	applied := 0
	for i, m := range after {
		if before[i].AppliedAt.IsZero() && !m.AppliedAt.IsZero() {
			_, _ = fmt.Fprintln(out, "applied", m.File)
			applied++
		}
	}
	if failed != nil {
		return failed
	}
	_, _ = fmt.Fprintf(out, "%d applied now, %d in all\n", applied, len(after))
	return nil
}

// announce checks the URL and names the database that is about to change.
func announce(ctx context.Context, url string, out io.Writer) error {
	if url == "" {
		return errors.New("which database? Give --database-url, or set DATABASE_URL")
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("the database's URL: %w", err)
	}
	config.ConnectTimeout = 10 * time.Second
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "database %s at %s:%d\n", config.Database, config.Host, config.Port)
	return conn.Close(ctx)
}

func show(all []migrations.Migration, out io.Writer) {
	for _, m := range all {
		state := "pending"
		if !m.AppliedAt.IsZero() {
			state = "applied " + m.AppliedAt.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(out, "%-40s %s\n", m.File, state)
	}
}
