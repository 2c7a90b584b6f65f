package endpoint

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// What a rotation may ask for.
const (
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 7 * 24 * time.Hour

	// maxSecrets bounds the signatures that an event carries.
	maxSecrets = 5
)

// Secret is a signing secret of an endpoint, without the secret.
type Secret struct {
	CreatedAt time.Time  `db:"created_at"`
	ExpiresAt *time.Time `db:"expires_at"` // nil for the current one
}

// RotateSecret makes an endpoint a new signing secret of the scheme it has. The ones
// before it go on signing beside it for the overlap, or until they end by an earlier
// rotation; with an overlap of 0 they end now. An endpoint may have five that sign: one
// more is invalid_state. The new secret is returned, and in which times all of them sign,
// the newest first.
func (s *Service) RotateSecret(ctx context.Context, merchant, endpoint id.ID, overlap time.Duration) (telemetry.Secret, []Secret, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return "", nil, fault.Invalid("overlap_seconds", "must be between 0 and %d, which is 7 days", int64(MaxOverlap/time.Second))
	}
	var key sender.Key
	var live []Secret
	now := s.Now()
	// Sealed before the transaction, which must not wait for the network.
	e, err := s.Get(ctx, merchant, endpoint)
	if err != nil {
		return "", nil, err
	}
	key, sealed, err := s.newKey(ctx, endpoint, e.Signature)
	if err != nil {
		return "", nil, err
	}
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, lockEndpoint, endpoint, merchant, now).Scan(nil); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, endSecrets, endpoint, now.Add(overlap)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, destroyExpired, endpoint, now); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertSecret, s.NewID(), endpoint, sealed, now); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, selectSecrets, endpoint) // CollectRows returns the error
		if live, err = pgx.CollectRows(rows, pgx.RowToStructByName[Secret]); err != nil {
			return err
		}
		if len(live) > maxSecrets {
			return tooManySecrets(live)
		}
		return nil
	})
	var f *fault.Error
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", nil, none(endpoint)
	case errors.As(err, &f):
		return "", nil, err
	case err != nil:
		return "", nil, fault.Wrap(err, "rotate a signing secret")
	}
	return key.Spell(), live, nil
}

func tooManySecrets(live []Secret) error {
	first := live[1].ExpiresAt
	for _, s := range live[2:] {
		if s.ExpiresAt.Before(*first) {
			first = s.ExpiresAt
		}
	}
	return fault.New(fault.InvalidState, "The endpoint has %d secrets that sign, and can't have more. The next of them ends at %s; "+
		"rotate after that, or with overlap_seconds 0, which ends all of them now.", maxSecrets, first.UTC().Format(time.RFC3339))
}

// newKey makes a signing key of the scheme, and seals it for the endpoint.
func (s *Service) newKey(ctx context.Context, endpoint id.ID, scheme string) (key sender.Key, sealed []byte, err error) {
	if key, err = sender.NewKey(scheme, s.Rand); err != nil {
		return key, nil, fault.Wrap(err, "make a signing secret")
	}
	sealed, err = s.Sealer.Seal(ctx, endpoint, key.Secret)
	return key, sealed, fault.Wrap(err, "seal a signing secret")
}
