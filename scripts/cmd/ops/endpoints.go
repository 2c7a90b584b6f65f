package main

import (
	"context"
	"flag"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

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
