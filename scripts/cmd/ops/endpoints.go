package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
	"github.com/tollgate/tollgate/shared/webhook/seal"
)

// endpointStates wires the store of endpoints as far as it turns them on and off. What is sealed there stays so: who
// disables an endpoint needs no key.
func (s *session) endpointStates(ctx context.Context) (*endpoint.Service, error) {
	db, err := s.db(ctx)
	if err != nil {
		return nil, err
	}
	return &endpoint.Service{
		DB: db, Now: s.now, NewID: s.newID, Sealer: new(seal.Sealer), Log: slog.New(slog.DiscardHandler),
	}, nil
}

// sealing is what a deployment says of the secrets of its endpoints.
type sealing struct {
	Seal       seal.Config
	AllowLocal bool `env:"WEBHOOK_ALLOW_LOCAL" envDefault:"false" desc:"take endpoints on loopback and by http; for local runs only" who:"scripts/dev"`
}

// endpoints wires all of it, for making endpoints.
func (s *session) endpoints(ctx context.Context) (*endpoint.Service, error) {
	c, err := config.Load[sealing](s.settings)
	if err != nil {
		return nil, err
	}
	sealer, err := seal.Open(ctx, c.Seal, s.now)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = sealer.Close() })
	service, err := s.endpointStates(ctx)
	if err != nil {
		return nil, err
	}
	service.Sealer, service.AllowLocal = sealer, c.AllowLocal
	return service, nil
}

// endpointRow is an endpoint and how it answers.
type endpointRow struct {
	ID             external[ofEndpoint] `db:"id" json:"id" col:"endpoint"`
	Merchant       external[ofMerchant] `db:"merchant_id" json:"merchant_id" col:"merchant"`
	State          string               `db:"state" json:"state" col:"state"`
	Undelivered    int64                `db:"undelivered" json:"undelivered" col:"undelivered"`
	FailingSince   *time.Time           `db:"failing_since" json:"failing_since" col:"failing since"`
	Failures       int                  `db:"failures" json:"failures" col:"failures"`
	OpenUntil      *time.Time           `db:"open_until" json:"circuit_open_until" col:"circuit open until"`
	URL            string               `db:"url" json:"url" col:"url"`
	Ordered        bool                 `db:"ordered" json:"ordered"`
	EventTypes     []string             `db:"event_types" json:"event_types"`
	DisabledAt     *time.Time           `db:"disabled_at" json:"disabled_at"`
	DisabledReason *string              `db:"disabled_reason" json:"disabled_reason" col:"why"`
	CreatedAt      time.Time            `db:"created_at" json:"created_at" col:"created"`
}

// What was delivered at last, by a replay or by hand, is not undelivered.
const selectEndpoints = `
	SELECT w.id, w.merchant_id, w.url, w.ordered, w.event_types, w.failing_since, w.failures, w.open_until, w.disabled_at,
		w.disabled_reason, w.created_at,
		CASE WHEN NOT w.enabled THEN 'disabled (' || w.disabled_by || ')' WHEN w.failing_since IS NOT NULL THEN 'failing'
			ELSE 'enabled' END AS state,
		(SELECT count(*) FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.delivered_at IS NULL) AS undelivered
	FROM webhook_endpoints w
	WHERE w.deleted_at IS NULL AND ($1::uuid IS NULL OR w.merchant_id = $1)
	  AND (NOT $2 OR w.failing_since IS NOT NULL OR w.disabled_by IN ('gone', 'failing'))
	ORDER BY w.created_at DESC, w.id DESC LIMIT $3`

func endpointsList(f *flag.FlagSet) action {
	of, failing, limit := f.String("merchant", "", ""), f.Bool("failing", false, ""), limitFlag(f)
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		n, err := limit()
		if err != nil {
			return nil, err
		}
		merchant, err := optionalID[ofMerchant](*of)
		if err != nil {
			return nil, err
		}
		rows, err := query[endpointRow](ctx, s, selectEndpoints, merchant, *failing, n)
		none := "There are no webhook endpoints."
		if *failing {
			none = "All webhook endpoints answer, but those that somebody disabled."
		}
		return list[endpointRow]{rows, none}, err
	}
}

// optionalID reads an identifier that may be left out; nil: it was.
func optionalID[K kind](text string) (*id.ID, error) {
	if text == "" {
		return nil, nil
	}
	parsed, err := parseID[K](text)
	return &parsed.ID, err
}

func endpointsDisable(f *flag.FlagSet) action {
	why := f.String("why", "", "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		if strings.TrimSpace(*why) == "" {
			return nil, usageError("say why with --why TEXT; the merchant is shown it")
		}
		of, err := parseID[ofEndpoint](args[0])
		if err != nil {
			return nil, err
		}
		merchant, err := merchantOf(ctx, s, selectEndpointsMerchant, of)
		if err != nil {
			return nil, err
		}
		service, err := s.endpointStates(ctx)
		if err != nil {
			return nil, err
		}
		e, err := service.Disable(ctx, merchant, of.ID, endpoint.Operator, *why)
		if err != nil {
			return nil, err
		}
		if e.DisabledBy == nil || *e.DisabledBy != endpoint.Operator {
			return nil, fmt.Errorf("%s was disabled already, by others; their merchant can enable it", of)
		}
		return done{fmt.Sprintf("Nothing is sent to %s from now on. What happens meanwhile is kept for it; only operators can enable it.", of)}, nil
	}
}

func endpointsEnable(f *flag.FlagSet) action {
	missed := f.Bool("replay-missed", false, "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		of, err := parseID[ofEndpoint](args[0])
		if err != nil {
			return nil, err
		}
		merchant, err := merchantOf(ctx, s, selectEndpointsMerchant, of)
		if err != nil {
			return nil, err
		}
		service, err := s.endpointStates(ctx)
		if err != nil {
			return nil, err
		}
		if service.Webhooks, err = s.deliveryTasks(ctx); err != nil {
			return nil, err
		}
		_, replay, err := service.Enable(ctx, merchant, of.ID, endpoint.Operator, chosen(f, "replay-missed", missed))
		if err != nil {
			return nil, err
		}
		said := fmt.Sprintf("Events are sent to %s from now on.", of)
		if !replay.IsZero() {
			said += fmt.Sprintf(" What it missed is sent too, by the replay %s.", external[ofReplay]{replay})
		}
		return done{said}, nil
	}
}

// chosen is a flag's value; nil if nobody gave it.
func chosen[T any](f *flag.FlagSet, name string, value *T) (given *T) {
	f.Visit(func(flag *flag.Flag) {
		if flag.Name == name {
			given = value
		}
	})
	return given
}
