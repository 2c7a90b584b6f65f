package stack

import (
	"context"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/postgres/migrations"
	"github.com/tollgate/tollgate/shared/postgres/pglocal"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
	"github.com/tollgate/tollgate/shared/webhook/seal"
)

// functionRole is the role of migration 0005, with the rights of the functions.
const functionRole = "tollgate_function"

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
	s.DB, err = pgxpool.New(ctx, s.DatabaseURL)
	return err
}

func (s *Stack) closeDatabase() {
	if s.DB != nil {
		s.DB.Close()
	}
	if s.server != nil {
		s.server.Stop()
	}
}

// asFunction is the database's URL for the functions: connections that begin with their role.
func asFunction(superuser string) (string, error) {
	u, err := url.Parse(superuser)
	if err != nil {
		return "", err
	}
	q := u.Query()
	q.Set("options", "-c role="+functionRole)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // a plus sign is one to PostgreSQL's clients
	return u.String(), nil
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
