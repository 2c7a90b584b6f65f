package stack

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/postgres/migrations"
	"github.com/tollgate/tollgate/shared/postgres/pglocal"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
	"github.com/tollgate/tollgate/shared/webhook/seal"
)

// operator is who scripts/ops logs in as, as a function's name is who that does.
const operator = "operator"

func (s *Stack) openDatabase(ctx context.Context, given string) error {
	s.DatabaseURL = given
	if given == "" {
		server, err := pglocal.Start(ctx, pglocal.Options{})
		if err != nil {
			return err
		}
		s.server = server
		s.DatabaseURL = server.URL("postgres")
	}
	if err := migrations.Apply(ctx, s.DatabaseURL); err != nil {
		return err
	}
	var err error
	if s.DB, err = pgxpool.New(ctx, s.DatabaseURL); err != nil {
		return err
	}
	return s.makeLogins(ctx)
}

func (s *Stack) closeDatabase() {
	if s.DB != nil {
		if s.server == nil {
			s.dropLogins()
		}
		s.DB.Close()
	}
	if s.server != nil {
		s.server.Stop()
	}
}

// makeLogins makes an account for every function and one for operators, which have their role's rights and no way to
// more. Accounts belong to the server, not to the database: those of other stacks there have other names.
func (s *Stack) makeLogins(ctx context.Context) error {
	config, err := pgx.ParseConfig(s.DatabaseURL)
	if err != nil {
		return err
	}
	place := strings.ToLower(rand.Text()[:16]) + ".iam" // as production's accounts end with the project's
	s.databases = map[string]string{}
	var logins []migrations.Login
	var create strings.Builder
	for _, name := range append(Functions(), operator) {
		login := migrations.Login{Role: "tollgate_" + name, Name: "run-" + name + "@" + place}
		password, verifier := pglocal.NewPassword()
		fmt.Fprintf(&create, "CREATE ROLE %s LOGIN PASSWORD '%s';", pgx.Identifier{login.Name}.Sanitize(), verifier)
		logins = append(logins, login)
		u, err := url.Parse(s.DatabaseURL)
		if err != nil {
			return err
		}
		u.User = url.UserPassword(login.Name, password)
		s.databases[name] = u.String()
	}
	if _, err := s.DB.Exec(ctx, create.String()); err != nil {
		return err
	}
	s.logins = logins
	s.OperatorURL = s.databases[operator]
	delete(s.databases, operator)
	_, err = migrations.Grant(ctx, config, logins)
	return err
}

// dropLogins leaves nothing of the stack in a server that is not its own.
func (s *Stack) dropLogins() {
	var drop strings.Builder
	for _, l := range s.logins {
		fmt.Fprintf(&drop, "DROP ROLE %s;", pgx.Identifier{l.Name}.Sanitize())
	}
	if len(s.logins) > 0 {
		_, _ = s.DB.Exec(context.Background(), drop.String()) // the server may be gone
	}
}

// CreateMerchant makes a merchant, and an API key for it.
func (s *Stack) CreateMerchant(ctx context.Context, name string) (merchantID id.ID, apiKey string, err error) {
	store := merchant.Store{DB: s.DB, Now: s.Clock.Now, NewID: s.newID}
	m, err := store.Create(ctx, name)
	if err != nil {
		return id.ID{}, "", err
	}
	_, key, err := store.IssueKey(ctx, m.ID, "local")
	return m.ID, key.Reveal(), err
}

// CreateEndpoint makes a webhook endpoint of the merchant, and returns its signing secret, whsec_….
func (s *Stack) CreateEndpoint(ctx context.Context, merchantID id.ID, url string) (secret string, err error) {
	sealer, err := seal.New(telemetry.Secret(s.hosts.SealingKey))
	if err != nil {
		return "", err
	}
	endpoints := endpoint.Service{DB: s.DB, Now: s.Clock.Now, NewID: s.newID, Sealer: sealer, AllowLocal: true}
	_, text, err := endpoints.Create(ctx, merchantID, endpoint.New{URL: url})
	return text.Reveal(), err
}
