// Command migrate brings a database to the newest version of the schema, gives
// the accounts that log in to it their roles, or says which migrations it has.
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

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/migrations"
)

const usage = `Usage: scripts/migrate [--status] [--database-url URL]

Applies the migrations that the database lacks, in order. Two that run at once
take turns. With --status it only lists them.

The URL is postgres://user:password@host:port/database, of a role that owns the
database and may create roles; without the flag it is taken from the variable
DATABASE_URL. With ?role=NAME in it the user works as that role, and what is
made is the role's. DATABASE_IAM and DATABASE_CA are as for the functions.

Then it gives accounts their roles: DATABASE_LOGINS has role=login, separated by
commas or lines, such as tollgate_createpayment=run-createpayment@project.iam.
An account that has another way to rights is refused. Without the variable
nothing is given.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "scripts/migrate:", err)
		os.Exit(1)
	}
}

// settings are what the environment says, but for the flags.
type settings struct {
	Postgres postgres.Config
	Logins   string `env:"DATABASE_LOGINS" desc:"role=login, the accounts that log in and their roles" who:"terraform"`
}

func run(ctx context.Context, args []string, lookup func(string) (string, bool), out io.Writer) error {
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() { _, _ = fmt.Fprint(out, usage) }
	status := flags.Bool("status", false, "")
	url := flags.String("database-url", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not understood; see scripts/migrate --help", flags.Arg(0))
	}
	s, err := config.Load[settings](func(name string) (string, bool) {
		if name == "DATABASE_URL" && *url != "" {
			return *url, true
		}
		return lookup(name)
	})
	if err != nil {
		return fmt.Errorf("which database? Give --database-url, or set DATABASE_URL\n%w", err)
	}
	logins, err := migrations.ParseLogins(s.Logins)
	if err != nil {
		return fmt.Errorf("DATABASE_LOGINS: %w", err)
	}
	database, err := connectable(ctx, s.Postgres, out)
	if err != nil {
		return err
	}
	if *status {
		return show(ctx, database, out)
	}
	if err := apply(ctx, database, out); err != nil || len(logins) == 0 {
		return err
	}
	return grant(ctx, database, logins, out)
}

// connectable tries to connect, and names the database that is about to change.
func connectable(ctx context.Context, c postgres.Config, out io.Writer) (*pgx.ConnConfig, error) {
	database, err := postgres.ConnConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	database.ConnectTimeout = 10 * time.Second
	conn, err := pgx.ConnectConfig(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, _ = fmt.Fprintf(out, "database %s at %s:%d\n", database.Database, database.Host, database.Port)
	var user string
	var makesRoles bool
	err = conn.QueryRow(ctx, `SELECT rolname, rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user`).Scan(&user, &makesRoles)
	if err == nil && !makesRoles {
		err = fmt.Errorf("%s may not create roles: name one that may in the URL, and that %[1]s is a member of (?role=NAME)", user)
	}
	return database, err
}

func apply(ctx context.Context, database *pgx.ConnConfig, out io.Writer) error {
	before, err := migrations.List(ctx, database)
	if err != nil {
		return err
	}
	failed := migrations.ApplyTo(ctx, database)
	after, err := migrations.List(ctx, database)
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

func grant(ctx context.Context, database *pgx.ConnConfig, logins []migrations.Login, out io.Writer) error {
	others, err := migrations.Grant(ctx, database, logins)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%d accounts have their roles\n", len(logins))
	for _, other := range others {
		_, _ = fmt.Fprintf(out, "%s is not in DATABASE_LOGINS: drop the account if nobody needs it\n", other)
	}
	return nil
}

func show(ctx context.Context, database *pgx.ConnConfig, out io.Writer) error {
	all, err := migrations.List(ctx, database)
	for _, m := range all {
		state := "pending"
		if !m.AppliedAt.IsZero() {
			state = "applied " + m.AppliedAt.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(out, "%-40s %s\n", m.File, state)
	}
	return err
}
