package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"cloud.google.com/go/auth/credentials"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/config"
)

// CheckConfig says what does not go together.
func (c *Config) CheckConfig() []config.Mistake {
	_, mistakes := c.parse()
	return mistakes
}

// parse makes pgx's configuration, or returns all that is wrong with ours.
func (c *Config) parse() (*pgxpool.Config, []config.Mistake) {
	var mistakes []config.Mistake
	wrong := func(variable, problem string) {
		mistakes = append(mistakes, config.Mistake{Variable: variable, Problem: problem, Who: "terraform"})
	}
	if c.PoolMax < 1 {
		wrong("DATABASE_POOL_MAX", fmt.Sprintf("is %d: a function needs at least 1 connection", c.PoolMax))
	}
	cfg, err := pgxpool.ParseConfig(c.URL.Reveal())
	if err != nil {
		wrong("DATABASE_URL", "is not a PostgreSQL connection URL") // err would quote the password
		return nil, mistakes
	}
	verified := true // the server, before it gets a password
	for _, t := range tlsOf(cfg.ConnConfig) {
		verified = verified && t != nil && (!t.InsecureSkipVerify || t.VerifyPeerCertificate != nil)
	}
	if c.IAM && !verified {
		wrong("DATABASE_URL", "lacks sslmode=verify-ca or verify-full: with DATABASE_IAM the password is an access token, which only the right server may get")
	}
	if c.IAM && cfg.ConnConfig.Password != "" {
		wrong("DATABASE_URL", "has a password, and DATABASE_IAM is true: keep one of them")
	}
	if c.CA != "" {
		roots := x509.NewCertPool()
		switch {
		case !roots.AppendCertsFromPEM([]byte(c.CA)):
			wrong("DATABASE_CA", "is malformed: want certificates in PEM")
		case !verified:
			wrong("DATABASE_CA", "is set, and the sslmode of DATABASE_URL does not look at it: want verify-ca or verify-full")
		default:
			for _, t := range tlsOf(cfg.ConnConfig) {
				t.RootCAs = roots // pgx's own check of verify-ca reads it there too
			}
		}
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	return cfg, nil
}

// tlsOf are the TLS settings of every way in which a connection is tried; nil is none.
func tlsOf(c *pgx.ConnConfig) []*tls.Config {
	all := []*tls.Config{c.TLSConfig}
	for _, f := range c.Fallbacks {
		all = append(all, f.TLSConfig)
	}
	return all
}

// loginScope lets a token log in to databases of Cloud SQL, and do nothing else.
// https://cloud.google.com/sql/docs/postgres/iam-logins
const loginScope = "https://www.googleapis.com/auth/sqlservice.login"

// login returns what gives a connection about to be made its password, which is an access
// token of the process's service account.
func login() (func(context.Context, *pgx.ConnConfig) error, error) {
	account, err := credentials.DetectDefault(&credentials.DetectOptions{
		Scopes: []string{loginScope},
		// In the background a token would be fetched while an instance has no CPU.
		DisableAsyncRefresh: true,
	})
	if err != nil {
		return nil, fmt.Errorf("DATABASE_IAM is true, and there is no service account to log in as: %w", err)
	}
	return func(ctx context.Context, c *pgx.ConnConfig) error {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		token, err := account.Token(ctx)
		if err != nil {
			return &loginError{err}
		}
		c.Password = token.Value
		return nil
	}, nil
}

// loginError says that there is no token to log in with.
type loginError struct{ err error }

func (e *loginError) Error() string {
	return "get a token to log in to the database with: " + e.err.Error()
}
func (e *loginError) Unwrap() error { return e.err }

// Unreachable reports whether err says that no connection to the database could be made:
// nothing was asked of it.
func Unreachable(err error) bool {
	if _, ok := errors.AsType[*loginError](err); ok {
		return true
	}
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// ConnConfig is how to make single connections, for programs that make few. With
// DATABASE_IAM its password is a token that is good for some minutes at least.
func ConnConfig(ctx context.Context, c Config) (*pgx.ConnConfig, error) {
	cfg, mistakes := c.parse()
	if len(mistakes) > 0 {
		return nil, &config.Error{Mistakes: mistakes}
	}
	if c.IAM {
		login, err := login()
		if err != nil {
			return nil, err
		}
		if err := login(ctx, cfg.ConnConfig); err != nil {
			return nil, err
		}
	}
	return cfg.ConnConfig, nil
}
