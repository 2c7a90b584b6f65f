package endpoint

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// What a rotation may ask for.
const (
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 7 * 24 * time.Hour

	// maxSigning bounds the signatures that an event carries.
	maxSigning = 5
)

// Rotation is what a rotation made.
type Rotation struct {
	Signature string           // scheme
	Key       telemetry.Secret // the new secret of scheme v1, or public key of v1a
	Signing   []Signing        // the keys that sign now, the newest first
}

// Signing is a key that signs, without the key.
type Signing struct {
	CreatedAt time.Time  `db:"created_at"`
	ExpiresAt *time.Time `db:"expires_at"` // nil for the newest
}

// RotateSecret makes an endpoint a new signing key of the scheme it has. The ones before
// it go on signing beside it for the overlap, or until an earlier rotation ends them; with
// an overlap of 0 they end now. Five may sign at a time: one more is invalid_state.
func (s *Service) RotateSecret(ctx context.Context, merchant, endpoint id.ID, overlap time.Duration) (Rotation, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Rotation{}, fault.Invalid("overlap_seconds", "must be between 0 and %d, which is 7 days", int64(MaxOverlap/time.Second))
	}
	var scheme string
	err := s.DB.QueryRow(ctx, selectScheme, endpoint, merchant).Scan(&scheme)
	if errors.Is(err, pgx.ErrNoRows) {
		return Rotation{}, none(endpoint)
	}
	if err != nil {
		return Rotation{}, fault.Wrap(err, "read a webhook endpoint")
	}
	// Sealed before the transaction, which must not wait for the network.
	key, sealed, err := s.newKey(ctx, endpoint, scheme)
	if err != nil {
		return Rotation{}, err
	}
	signing, err := s.rotate(ctx, merchant, endpoint, sealed, overlap)
	return Rotation{Signature: scheme, Key: key.Spell(), Signing: signing}, err
}

func (s *Service) rotate(ctx context.Context, merchant, endpoint id.ID, sealed []byte, overlap time.Duration) (signing []Signing, err error) {
	now := s.Now()
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, lockEndpoint, endpoint, merchant, now).Scan(nil); err != nil {
			return err
		}
		collect := func(rows pgx.Rows) (err error) {
			signing, err = pgx.CollectRows(rows, pgx.RowToStructByName[Signing])
			return err
		}
		rows, _ := tx.Query(ctx, selectSigning, endpoint, now) // collect returns the error
		if err := collect(rows); err != nil {
			return err
		}
		if overlap > 0 && len(signing) >= maxSigning {
			return tooMany(signing)
		}
		var b pgx.Batch
		b.Queue(endSecrets, endpoint, now.Add(overlap))
		b.Queue(destroyExpired, endpoint, now)
		b.Queue(insertSecret, s.NewID(), endpoint, sealed, now)
		b.Queue(selectSigning, endpoint, now).Query(collect)
		return postgres.Pipeline(ctx, tx, &b)
	})
	var refused *fault.Error
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, none(endpoint)
	case errors.As(err, &refused):
		return nil, refused
	default:
		return signing, fault.Wrap(err, "rotate a signing secret")
	}
}

func tooMany(signing []Signing) error {
	first := signing[1].ExpiresAt
	for _, s := range signing[2:] {
		if s.ExpiresAt.Before(*first) {
			first = s.ExpiresAt
		}
	}
	return fault.New(fault.InvalidState, "The endpoint has %d secrets that sign, and can't have more. The next of them ends at %s; "+
		"rotate after that, or with overlap_seconds 0, which ends all of them now.", maxSigning, first.UTC().Format(time.RFC3339))
}

// newKey makes a signing key of the scheme, and seals it for the endpoint.
func (s *Service) newKey(ctx context.Context, endpoint id.ID, scheme string) (key sender.Key, sealed []byte, err error) {
	if key, err = sender.NewKey(scheme, s.Rand); err != nil {
		return key, nil, fault.Wrap(err, "make a signing secret")
	}
	sealed, err = s.seal(ctx, endpoint, key.Secret)
	return key, sealed, err
}

// sealRetry is when it is worth trying again that keys are out of reach.
const sealRetry = 5 * time.Second

func (s *Service) seal(ctx context.Context, endpoint id.ID, secret []byte) ([]byte, error) {
	sealed, err := s.Sealer.Seal(ctx, endpoint, secret)
	if err != nil {
		return nil, &fault.Error{
			Code: fault.Unavailable, Err: fault.Wrap(err, "seal a secret"), Retry: sealRetry,
			Detail: "The gateway can't encrypt secrets now. Nothing was changed; send the request again.",
		}
	}
	return sealed, nil
}
