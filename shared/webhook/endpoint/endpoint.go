// Package endpoint keeps the places to which merchants have their webhooks sent.
//
// It owns the tables webhook_endpoints and webhook_endpoint_secrets, but for what is
// known of an endpoint's health, which package webhook keeps in the same row and which
// is cleared here when an endpoint is enabled. It takes an endpoint's settings in, makes
// and ends its signing secrets, and turns it on and off; nothing is sent here.
//
// A signing secret is in the answer to what made it, and nowhere after that: the
// database has it sealed. So are the values of the merchant's own headers. A deleted
// endpoint has neither any more; its row stays, for the deliveries that name it.
//
// Another merchant's endpoint is as one that does not exist. Faults it returns:
// invalid_request, which names the member and how to mend it and has changed nothing,
// not_found, invalid_state, and temporarily_unavailable where a secret can't be sealed.
package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// Most is how many endpoints a merchant may have.
const Most = 20

// Endpoint is a row of webhook_endpoints.
type Endpoint struct {
	ID             id.ID      `db:"id"`
	MerchantID     id.ID      `db:"merchant_id"`
	URL            string     `db:"url"`
	Description    string     `db:"description"`
	Enabled        bool       `db:"enabled"`
	DisabledAt     *time.Time `db:"disabled_at"` // nil while it is enabled, as are the two below
	DisabledBy     *By        `db:"disabled_by"`
	DisabledReason *string    `db:"disabled_reason"`
	EventTypes     []string   `db:"event_types"` // empty: all
	APIVersion     string     `db:"api_version"`
	Payload        string     `db:"payload"` // event.Full or event.Thin
	Ordered        bool       `db:"ordered"`
	Signature      string     `db:"signature"`     // sender.SchemeV1 or SchemeV1a
	RateLimit      int        `db:"rate_limit"`    // attempts/s
	MaxInFlight    int        `db:"max_in_flight"` // attempts at a time
	FailingSince   *time.Time `db:"failing_since"` // the first failure after the last success
	Failures       int        `db:"failures"`      // since, in a row
	CreatedAt      time.Time  `db:"created_at"`
	UpdatedAt      time.Time  `db:"updated_at"`

	// HeaderNames are those of the merchant's own headers; nil when what seals them can't
	// be reached.
	HeaderNames []string `db:"-"`

	Sealed []byte `db:"headers"`
}

// Config is what a deployment decides.
type Config struct {
	AllowLocal bool `env:"WEBHOOK_ALLOW_LOCAL" envDefault:"false" desc:"take endpoints on loopback and by http; for local runs only" who:"scripts/dev"`
}

// By is who disabled an endpoint.
type By string

// Who disables endpoints. Gone and Failing are for the endpoint's own answers.
const (
	Merchant By = "merchant"
	Operator By = "operator"
	Gone     By = "gone"
	Failing  By = "failing"
)

// Service keeps endpoints. Fields are set where it is wired and not changed after.
type Service struct {
	DB         DB
	Now        func() time.Time
	NewID      func() id.ID
	Sealer     *seal.Sealer
	AllowLocal bool                      // as in Config
	Rand       func([]byte) (int, error) // of secrets; crypto/rand when nil
	Log        *slog.Logger

	// Webhooks replays what an endpoint missed, for Enable alone.
	Webhooks *webhook.Service
}

// DB is a pool, or a transaction that the changes are to be part of.
type DB interface {
	postgres.DB
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Create makes an enabled endpoint, and what its events are verified by: the secret of
// scheme v1, the public key of v1a. A merchant may have Most endpoints.
func (s *Service) Create(ctx context.Context, merchant id.ID, n New) (Endpoint, telemetry.Secret, error) {
	if err := n.check(s.AllowLocal); err != nil {
		return Endpoint{}, "", err
	}
	made := s.NewID()
	key, sealed, err := s.newKey(ctx, made, n.Signature)
	if err != nil {
		return Endpoint{}, "", err
	}
	headers, err := s.sealHeaders(ctx, made, n.Headers)
	if err != nil {
		return Endpoint{}, "", err
	}
	var e Endpoint
	var b pgx.Batch
	b.Queue(lockMerchant, merchant)
	b.Queue(insertEndpoint, made, merchant, n.URL, n.Description, append([]string{}, n.EventTypes...), n.APIVersion,
		n.Payload, n.Ordered, n.Signature, headers, n.RateLimit, n.MaxInFlight, s.Now(), s.NewID(), sealed, Most).Query(collect(&e))
	err = postgres.Pipeline(ctx, s.DB, &b)
	switch {
	case postgres.Violates(err, "webhook_endpoints_merchant_id_fkey"):
		return Endpoint{}, "", fault.New(fault.NotFound, "There is no merchant %s.", id.Merchant.External(merchant))
	case errors.Is(err, pgx.ErrNoRows):
		return Endpoint{}, "", fault.New(fault.InvalidRequest, "You have %d webhook endpoints, and can't have more. Delete one that you don't need; nothing was changed.", Most)
	case err != nil:
		return Endpoint{}, "", fault.Wrap(err, "create a webhook endpoint")
	}
	e.HeaderNames = names(n.Headers)
	return e, key.Spell(), nil
}

// List returns the merchant's endpoints, the oldest first.
func (s *Service) List(ctx context.Context, merchant id.ID) ([]Endpoint, error) {
	rows, _ := s.DB.Query(ctx, selectEndpoints, merchant) // CollectRows returns the error
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Endpoint])
	for i := range list {
		s.nameHeaders(ctx, &list[i])
	}
	return list, fault.Wrap(err, "list webhook endpoints")
}

// Get returns one endpoint of the merchant.
func (s *Service) Get(ctx context.Context, merchant, endpoint id.ID) (Endpoint, error) {
	rows, err := s.DB.Query(ctx, selectEndpoint, endpoint, merchant)
	if err != nil {
		return Endpoint{}, fault.Wrap(err, "read a webhook endpoint")
	}
	return s.one(ctx, endpoint, rows, "read a webhook endpoint")
}

// Update changes what c says, and returns the endpoint as it is then. Deliveries that
// exist keep the version and the form that they were made in. A failing endpoint that
// gets another URL is asked again at once.
func (s *Service) Update(ctx context.Context, merchant, endpoint id.ID, c Change) (Endpoint, error) {
	if err := c.check(s.AllowLocal); err != nil {
		return Endpoint{}, err
	}
	headers, err := s.sealHeaders(ctx, endpoint, c.Headers)
	if err != nil {
		return Endpoint{}, err
	}
	rows, err := s.DB.Query(ctx, updateEndpoint, endpoint, merchant, c.URL, c.Description, c.EventTypes, c.APIVersion,
		c.Payload, c.Ordered, c.RateLimit, c.MaxInFlight, c.Headers != nil, headers, s.Now())
	if err != nil {
		return Endpoint{}, fault.Wrap(err, "change a webhook endpoint")
	}
	return s.one(ctx, endpoint, rows, "change a webhook endpoint")
}

// Delete ends an endpoint: nothing is sent to it any more, and its secrets and headers
// are destroyed.
func (s *Service) Delete(ctx context.Context, merchant, endpoint id.ID) error {
	now := s.Now()
	err := pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, deleteEndpoint, endpoint, merchant, now).Scan(nil); err != nil {
			return err
		}
		var b pgx.Batch
		b.Queue(destroySecrets, endpoint)
		b.Queue(abandonHeld, endpoint, now)
		return postgres.Pipeline(ctx, tx, &b)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return none(endpoint)
	}
	return fault.Wrap(err, "delete a webhook endpoint")
}

// one reads the endpoint that a statement returned.
func (s *Service) one(ctx context.Context, endpoint id.ID, rows pgx.Rows, doing string) (Endpoint, error) {
	var e Endpoint
	err := collect(&e)(rows)
	if errors.Is(err, pgx.ErrNoRows) {
		return Endpoint{}, none(endpoint)
	}
	if err != nil {
		return Endpoint{}, fault.Wrap(err, "%s", doing)
	}
	s.nameHeaders(ctx, &e)
	return e, nil
}

func collect(into *Endpoint) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Endpoint])
		return err
	}
}

func none(endpoint id.ID) error {
	return fault.New(fault.NotFound, "There is no webhook endpoint %s.", id.Endpoint.External(endpoint))
}

// sealHeaders is the merchant's own headers as the row has them; nil for none.
func (s *Service) sealHeaders(ctx context.Context, endpoint id.ID, headers map[string]string) ([]byte, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(headers)
	if err != nil {
		return nil, fault.Wrap(err, "write an endpoint's headers")
	}
	return s.seal(ctx, endpoint, text)
}

// nameHeaders opens the headers for their names. That the keys are out of reach is no
// reason not to show or to disable an endpoint.
func (s *Service) nameHeaders(ctx context.Context, e *Endpoint) {
	if e.Sealed == nil {
		e.HeaderNames = []string{}
		return
	}
	var headers map[string]string
	text, err := s.Sealer.Open(ctx, e.ID, e.Sealed)
	if err == nil {
		err = json.Unmarshal(text, &headers)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "the headers of a webhook endpoint can't be read", "endpoint", id.Endpoint.External(e.ID), "error", err)
		return
	}
	e.HeaderNames = names(headers)
}

func names(headers map[string]string) []string {
	return append([]string{}, slices.Sorted(maps.Keys(headers))...)
}

func defaults() New {
	return New{APIVersion: event.Version, Payload: event.Full, Signature: sender.SchemeV1, RateLimit: 100, MaxInFlight: 20}
}
