package webhook

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook/seal"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// Endpoint is a row of webhook_endpoints.
type Endpoint struct {
	ID             id.ID     `db:"id"`
	MerchantID     id.ID     `db:"merchant_id"`
	URL            string    `db:"url"`
	Description    string    `db:"description"`
	Enabled        bool      `db:"enabled"`
	DisabledReason *string   `db:"disabled_reason"`
	EventTypes     []string  `db:"event_types"` // empty: all
	CreatedAt      time.Time `db:"created_at"`
	UpdatedAt      time.Time `db:"updated_at"`
}

// NewEndpoint is what an endpoint is made of.
type NewEndpoint struct {
	URL         string
	Description string
	EventTypes  []string // such as "payment.captured"; empty: all
}

// Endpoints keeps endpoints and their signing secrets.
type Endpoints struct {
	DB         postgres.DB
	Now        func() time.Time
	NewID      func() id.ID
	Sealer     *seal.Sealer
	AllowLocal bool                      // as in Config
	Rand       func([]byte) (int, error) // of secrets; crypto/rand when nil
}

const (
	maxDescription = 500 // characters
	maxEventTypes  = 100
)

// eventType is the form of a type by Standard Webhooks.
var eventType = regexp.MustCompile(`^[a-zA-Z0-9_]{1,64}(\.[a-zA-Z0-9_]{1,64}){0,7}$`)

func (n NewEndpoint) check(allowLocal bool) error {
	if !text(n.URL) {
		return fault.Invalid("url", "has characters that are not text")
	}
	if err := sender.CheckURL(n.URL, allowLocal); err != nil {
		return fault.Invalid("url", "%v; give the https URL of a public host", err)
	}
	if !text(n.Description) || utf8.RuneCountInString(n.Description) > maxDescription {
		return fault.Invalid("description", "must be text of at most %d characters", maxDescription)
	}
	if len(n.EventTypes) > maxEventTypes {
		return fault.Invalid("event_types", "must have at most %d entries; leave it out for all", maxEventTypes)
	}
	for _, t := range n.EventTypes {
		if !eventType.MatchString(t) {
			return fault.Invalid("event_types", "%.80q is not an event type, such as payment.captured", t)
		}
	}
	return nil
}

// text reports whether PostgreSQL takes the string.
func text(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// Create makes an enabled endpoint with a signing secret of its own. The secret's
// text is returned here and kept nowhere.
func (e *Endpoints) Create(ctx context.Context, merchant id.ID, n NewEndpoint) (Endpoint, telemetry.Secret, error) {
	if err := n.check(e.AllowLocal); err != nil {
		return Endpoint{}, "", err
	}
	secret, err := sender.NewSecret(e.Rand)
	if err != nil {
		return Endpoint{}, "", fault.Wrap(err, "make a signing secret")
	}
	now := e.Now().UTC()
	made := Endpoint{
		ID: e.NewID(), MerchantID: merchant, URL: n.URL, Description: n.Description, Enabled: true,
		EventTypes: append([]string{}, n.EventTypes...), CreatedAt: now, UpdatedAt: now,
	}
	sealed, err := e.Sealer.Seal(ctx, made.ID, secret)
	if err != nil {
		return Endpoint{}, "", fault.Wrap(err, "seal a signing secret")
	}
	_, err = e.DB.Exec(ctx, insertEndpoint, made.ID, merchant, made.URL, made.Description, made.EventTypes, now,
		e.NewID(), sealed)
	if postgres.Violates(err, "webhook_endpoints_merchant_id_fkey") {
		return Endpoint{}, "", fault.New(fault.NotFound, "There is no merchant %s.", id.Merchant.External(merchant))
	}
	if err != nil {
		return Endpoint{}, "", fault.Wrap(err, "create a webhook endpoint")
	}
	return made, sender.Spell(secret), nil
}

// List returns the merchant's endpoints, the oldest first.
func (e *Endpoints) List(ctx context.Context, merchant id.ID) ([]Endpoint, error) {
	rows, _ := e.DB.Query(ctx, selectEndpoints, merchant) // CollectRows returns the error
	endpoints, err := pgx.CollectRows(rows, pgx.RowToStructByName[Endpoint])
	return endpoints, fault.Wrap(err, "list webhook endpoints")
}

// Get returns one endpoint of the merchant; another's is not_found.
func (e *Endpoints) Get(ctx context.Context, merchant, endpoint id.ID) (Endpoint, error) {
	rows, _ := e.DB.Query(ctx, selectEndpoint, merchant, endpoint) // CollectExactlyOneRow returns the error
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Endpoint])
	if errors.Is(err, pgx.ErrNoRows) {
		return Endpoint{}, fault.New(fault.NotFound, "There is no webhook endpoint %s.", id.Endpoint.External(endpoint))
	}
	return found, fault.Wrap(err, "read a webhook endpoint")
}
