package webhookadmin

import (
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/webhook"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// decode reads the body of a request whose path names nothing. No operation with a body
// has parameters.
func decode(r *http.Request, in any) error {
	if err := api.ReadQuery(r).Err(); err != nil {
		return err
	}
	return api.Decode(r, in)
}

// read is decode for a request whose path names something.
func read(r *http.Request, kind id.Prefix, in any) (id.ID, error) {
	if err := decode(r, in); err != nil {
		return id.ID{}, err
	}
	return api.PathID(r, kind)
}

// named is what the path of a request without body or parameters names.
func named(r *http.Request, kind id.Prefix) (id.ID, error) {
	if err := api.ReadQuery(r).Err(); err != nil {
		return id.ID{}, err
	}
	return api.PathID(r, kind)
}

type endpointView struct {
	ID             string       `json:"id"`
	Object         string       `json:"object"`
	URL            string       `json:"url"`
	Description    string       `json:"description"`
	Enabled        bool         `json:"enabled"`
	DisabledAt     *time.Time   `json:"disabled_at"`
	DisabledBy     *endpoint.By `json:"disabled_by"`
	DisabledReason *string      `json:"disabled_reason"`
	EventTypes     []string     `json:"event_types"`
	APIVersion     string       `json:"api_version"`
	Payload        string       `json:"payload"`
	Ordered        bool         `json:"ordered"`
	Signature      string       `json:"signature"`
	HeaderNames    *[]string    `json:"header_names"`
	RateLimit      int          `json:"rate_limit"`
	MaxInFlight    int          `json:"max_in_flight"`
	FailingSince   *time.Time   `json:"failing_since"`
	Failures       int          `json:"failures"`
	CreatedAt      time.Time    `json:"created_at"`
	UpdatedAt      time.Time    `json:"updated_at"`
}

func viewEndpoint(e *endpoint.Endpoint) endpointView {
	v := endpointView{
		ID: id.Endpoint.External(e.ID), Object: "webhook_endpoint", URL: e.URL, Description: e.Description, Enabled: e.Enabled,
		DisabledAt: utc(e.DisabledAt), DisabledBy: e.DisabledBy, DisabledReason: e.DisabledReason, EventTypes: e.EventTypes,
		APIVersion: e.APIVersion, Payload: e.Payload, Ordered: e.Ordered, Signature: e.Signature,
		RateLimit: e.RateLimit, MaxInFlight: e.MaxInFlight, FailingSince: utc(e.FailingSince), Failures: e.Failures,
		CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(),
	}
	if e.HeaderNames != nil {
		v.HeaderNames = &e.HeaderNames
	}
	return v
}

// keyView is what a merchant verifies events by: one of the two, by the scheme. It is
// the one place that shows a secret.
type keyView struct {
	Secret    *string `json:"secret"`
	PublicKey *string `json:"public_key"`
}

func spell(scheme string, key telemetry.Secret) keyView {
	text := key.Reveal()
	if scheme == sender.SchemeV1a {
		return keyView{PublicKey: &text}
	}
	return keyView{Secret: &text}
}

type createdView struct {
	endpointView
	keyView
}

type enabledView struct {
	endpointView
	ReplayID *string `json:"replay_id"`
}

type rotationView struct {
	WebhookID string `json:"webhook_id"`
	Object    string `json:"object"`
	keyView
	Signing []signingView `json:"signing"`
}

type signingView struct {
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
}

func viewRotation(of id.ID, r *endpoint.Rotation) rotationView {
	v := rotationView{WebhookID: id.Endpoint.External(of), Object: "webhook_secret", keyView: spell(r.Signature, r.Key)}
	for _, s := range r.Signing {
		v.Signing = append(v.Signing, signingView{s.CreatedAt.UTC(), utc(s.ExpiresAt)})
	}
	return v
}

// deliveryView has the names that the table has.
type deliveryView struct {
	ID             string         `json:"id"`
	Object         string         `json:"object"`
	WebhookID      string         `json:"webhook_id"`
	MerchantID     string         `json:"merchant_id"`
	EventID        string         `json:"event_id"`
	TransactionID  *string        `json:"transaction_id"`
	EventType      string         `json:"event_type"`
	Sequence       int64          `json:"sequence"`
	EventCreatedAt time.Time      `json:"event_created_at"`
	APIVersion     string         `json:"api_version"`
	Payload        string         `json:"payload"`
	Status         webhook.Status `json:"status"`
	AttemptCount   int            `json:"attempt_count"`
	LastAttemptAt  *time.Time     `json:"last_attempt_at"`
	NextRetryAt    *time.Time     `json:"next_retry_at"`
	ResponseCode   *int           `json:"response_code"`
	ResponseBody   *string        `json:"response_body"`
	DeliveredAt    *time.Time     `json:"delivered_at"`
	ReplayID       *string        `json:"replay_id"`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
	Attempts       *[]attemptView `json:"attempts,omitempty"`
}

func viewDelivery(d *webhook.Delivery) deliveryView {
	return deliveryView{
		ID: id.Delivery.External(d.ID), Object: "webhook_delivery", WebhookID: id.Endpoint.External(d.EndpointID),
		MerchantID: id.Merchant.External(d.MerchantID), EventID: id.Event.External(d.EventID),
		TransactionID: optional(id.Payment, d.PaymentID), EventType: d.EventType, Sequence: d.Sequence,
		EventCreatedAt: d.EventAt.UTC(), APIVersion: d.APIVersion, Payload: d.Form, Status: d.Status, AttemptCount: d.Attempts,
		LastAttemptAt: utc(d.LastAttemptAt), NextRetryAt: utc(d.NextAttemptAt), ResponseCode: d.ResponseCode,
		ResponseBody: d.ResponseBody, DeliveredAt: utc(d.DeliveredAt), ReplayID: optional(id.Replay, d.ReplayID),
		CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(),
	}
}

type attemptView struct {
	Number       int            `json:"number"`
	RequestedAt  time.Time      `json:"requested_at"`
	DurationMS   int64          `json:"duration_ms"`
	Outcome      sender.Outcome `json:"outcome"`
	ResponseCode *int           `json:"response_code"`
	ResponseBody *string        `json:"response_body"`
	Error        *string        `json:"error"`
	ReplayID     *string        `json:"replay_id"`
}

func viewAttempts(attempts []webhook.Attempt) *[]attemptView {
	views := make([]attemptView, len(attempts))
	for i, a := range attempts {
		views[i] = attemptView{
			Number: a.Number, RequestedAt: a.At.UTC(), DurationMS: a.TookMS, Outcome: a.Outcome, ResponseCode: a.ResponseCode,
			ResponseBody: a.ResponseBody, Error: a.Error, ReplayID: optional(id.Replay, a.ReplayID),
		}
	}
	return &views
}

type replayView struct {
	ID               string     `json:"id"`
	Object           string     `json:"object"`
	WebhookID        string     `json:"webhook_id"`
	Reason           string     `json:"reason"`
	Since            time.Time  `json:"since"`
	Until            time.Time  `json:"until"`
	EventTypes       []string   `json:"event_types"`
	IncludeDelivered bool       `json:"include_delivered"`
	State            string     `json:"state"`
	Total            int        `json:"total"`
	Delivered        int        `json:"delivered"`
	Waiting          int        `json:"waiting"`
	GivenUp          int        `json:"given_up"`
	CreatedAt        time.Time  `json:"created_at"`
	UpdatedAt        time.Time  `json:"updated_at"`
	FinishedAt       *time.Time `json:"finished_at"`
}

func viewReplay(r *webhook.Replay) replayView {
	return replayView{
		ID: id.Replay.External(r.ID), Object: "webhook_replay", WebhookID: id.Endpoint.External(r.EndpointID), Reason: r.Reason,
		Since: r.Since.UTC(), Until: r.Until.UTC(), EventTypes: r.EventTypes, IncludeDelivered: r.All, State: r.State,
		Total: r.Total, Delivered: r.Delivered, Waiting: r.Waiting, GivenUp: r.GivenUp,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), FinishedAt: utc(r.FinishedAt),
	}
}

func optional(kind id.Prefix, i *id.ID) *string {
	if i == nil {
		return nil
	}
	return spelled(kind, *i)
}

// spelled is nil for none.
func spelled(kind id.Prefix, i id.ID) *string {
	if i.IsZero() {
		return nil
	}
	s := kind.External(i)
	return &s
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
