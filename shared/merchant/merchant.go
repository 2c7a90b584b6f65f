// Package merchant knows who may call the API, and when each merchant's business day ends.
//
// It owns the tables merchants and api_keys. An API key is shown once, when it is
// issued; the database holds only a SHA-256 of it. The key's secret has 256 random
// bits, so a slow hash would add latency to every request and no strength.
//
// It refuses keys that are unknown, wrong or revoked, without telling them apart
// (the fault unauthenticated), and merchants that are suspended (merchant_suspended).
// Merchants and keys are made by an operator; the functions' database role may only
// read both tables.
package merchant

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Status says whether a merchant may call the API.
type Status string

// The statuses.
const (
	Active    Status = "ACTIVE"
	Suspended Status = "SUSPENDED"
)

// Merchant is a row of merchants.
type Merchant struct {
	ID        id.ID
	Name      string
	Status    Status
	CreatedAt time.Time
}

// Caller is a merchant, and the key by which it proved to be it.
type Caller struct {
	MerchantID id.ID
	KeyID      id.ID
	Preference []string // the providers that it prefers, the first before the others
}

// Store keeps merchants and keys.
type Store struct {
	DB    postgres.DB
	Now   func() time.Time
	NewID func() id.ID
	Rand  func([]byte) (int, error) // of secrets; crypto/rand when nil
}

const maxName = 200 // characters

// Create makes an active merchant.
func (s *Store) Create(ctx context.Context, name string) (Merchant, error) {
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName || strings.ContainsRune(name, 0) {
		return Merchant{}, fault.Invalid("name", "must have 1 to %d characters", maxName)
	}
	m := Merchant{ID: s.NewID(), Name: name, Status: Active, CreatedAt: s.Now().UTC()}
	_, err := s.DB.Exec(ctx, insertMerchant, m.ID, m.Name, m.Status, m.CreatedAt)
	return m, fault.Wrap(err, "create a merchant")
}

// Prefer says which providers the merchant's payments go to where several can take them,
// the first before the others; none: as each request lists them.
func (s *Store) Prefer(ctx context.Context, merchant id.ID, providers []string) error {
	for i, name := range providers {
		if name == "" || slices.Contains(providers[:i], name) {
			return fault.Invalid("providers", "must name each provider once")
		}
	}
	if providers == nil {
		providers = []string{} // not NULL
	}
	tag, err := s.DB.Exec(ctx, updatePreference, merchant, providers, s.Now().UTC())
	if err != nil {
		return fault.Wrap(err, "set a merchant's preference")
	}
	if tag.RowsAffected() == 0 {
		return fault.New(fault.NotFound, "There is no such merchant.")
	}
	return nil
}

// Suspend refuses the merchant's keys until Activate. Payments that are under way
// are carried to their end.
func (s *Store) Suspend(ctx context.Context, merchant id.ID) error {
	return s.setStatus(ctx, merchant, Suspended)
}

// Activate accepts the merchant's keys again.
func (s *Store) Activate(ctx context.Context, merchant id.ID) error {
	return s.setStatus(ctx, merchant, Active)
}

func (s *Store) setStatus(ctx context.Context, merchant id.ID, status Status) error {
	tag, err := s.DB.Exec(ctx, updateStatus, merchant, status, s.Now())
	if err == nil && tag.RowsAffected() == 0 {
		return notFound("merchant")
	}
	return fault.Wrap(err, "set a merchant's status")
}

// IssueKey makes an API key. Its text is returned here and kept nowhere.
func (s *Store) IssueKey(ctx context.Context, merchant id.ID, label string) (id.ID, telemetry.Secret, error) {
	key := s.NewID()
	text, err := newKey(key, s.Rand)
	if err != nil {
		return id.ID{}, "", fault.Wrap(err, "make a key's secret")
	}
	_, err = s.DB.Exec(ctx, insertKey, key, merchant, hash(text), label, s.Now())
	if postgres.HasCode(err, foreignKeyViolation) {
		return id.ID{}, "", notFound("merchant")
	}
	if err != nil {
		return id.ID{}, "", fault.Wrap(err, "issue a key")
	}
	return key, telemetry.Secret(text), nil
}

// RevokeKey refuses the key from now on. Once revoked it stays so.
func (s *Store) RevokeKey(ctx context.Context, key id.ID) error {
	tag, err := s.DB.Exec(ctx, revokeKey, key, s.Now())
	if err == nil && tag.RowsAffected() == 0 {
		return notFound("key that is not revoked")
	}
	return fault.Wrap(err, "revoke a key")
}

func notFound(what string) error {
	return fault.New(fault.NotFound, "There is no such %s.", what)
}
