package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

// Page sizes.
const (
	DefaultPage = 20
	MaxPage     = 100
)

// DeliveryFilter chooses deliveries of a merchant. Zero values do not filter.
type DeliveryFilter struct {
	EndpointID    id.ID
	PaymentID     id.ID
	EventID       id.ID
	ReplayID      id.ID     // the last replay that took them
	Undelivered   bool      // what never arrived, be it on its way still or given up
	Status        []string  // any of these
	EventTypes    []string  // types, or objects such as "refund.*"
	CreatedAfter  time.Time // of the events, exclusive
	CreatedBefore time.Time // of the events, exclusive
	Limit         int       // 1 to MaxPage; 0: DefaultPage
	Cursor        string
}

// DeliveryPage is one page of deliveries, those of the newest events first.
type DeliveryPage struct {
	Deliveries []Delivery
	Next       string // the cursor of the next page; "" on the last
}

// ListDeliveries reads a page of the merchant's deliveries. Pages are consistent with each
// other: an event that happens meanwhile shifts nothing. What a deleted endpoint got, and
// did not get, is there too.
func (s *Service) ListDeliveries(ctx context.Context, merchant id.ID, f DeliveryFilter) (DeliveryPage, error) {
	after, err := checkPage(&f.Limit, f.Cursor, "event_type", f.EventTypes, f.Status)
	if err != nil {
		return DeliveryPage{}, err
	}
	sql, args := f.query(merchant, after)
	rows, _ := s.Pool.Query(ctx, sql, args...) // CollectRows returns the error
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return DeliveryPage{}, unlisted(err, "list deliveries")
	}
	var page DeliveryPage
	if len(found) > f.Limit {
		found = found[:f.Limit]
		last := found[f.Limit-1]
		page.Next = cursor{At: last.EventAt.UnixMicro(), Event: last.EventID, Delivery: last.ID}.encode()
	}
	page.Deliveries = found
	return page, nil
}

// query is put together of what the filter asks for, so that each question is planned by
// itself: one text for all of them could not use the index of what never arrived. It asks
// each of the merchant's endpoints, of which there are few, for its newest, which the
// endpoint's indexes are ordered by, and puts those together.
func (f *DeliveryFilter) query(merchant id.ID, after *cursor) (sql string, args []any) {
	var q conditions
	of := "w.merchant_id = " + q.arg(merchant)
	if !f.EndpointID.IsZero() {
		of += " AND w.id = " + q.arg(f.EndpointID)
	}
	if !f.PaymentID.IsZero() {
		q.add("d.event_id IN (SELECT e.id FROM events e WHERE e.transaction_id = %s)", f.PaymentID)
	}
	if !f.EventID.IsZero() {
		q.add("d.event_id = %s", f.EventID)
	}
	if !f.ReplayID.IsZero() {
		q.add("d.replay_id = %s", f.ReplayID)
	}
	if f.Undelivered {
		q.add("d.delivered_at IS NULL")
	}
	if len(f.Status) > 0 {
		q.add("d.status = ANY (%s)", f.Status)
	}
	q.eventTypes("d.event_type", f.EventTypes)
	q.between("d.event_created_at", f.CreatedAfter, f.CreatedBefore)
	if after != nil {
		q.add("(d.event_created_at, d.event_id, d.id) < (%s, %s, %s)", time.UnixMicro(after.At), after.Event, after.Delivery)
	}
	limit := q.arg(f.Limit + 1)
	return `
	SELECT ` + deliveryColumns + ` FROM webhook_endpoints w, LATERAL (
		SELECT ` + deliveryColumns + ` FROM webhook_deliveries d
		WHERE d.webhook_id = w.id` + q.and() + `
		ORDER BY d.event_created_at DESC, d.event_id DESC LIMIT ` + limit + `) d
	WHERE ` + of + `
	ORDER BY d.event_created_at DESC, d.event_id DESC, d.id DESC LIMIT ` + limit, q.args
}

// Attempt is a row of webhook_delivery_logs.
type Attempt struct {
	Number       int            `db:"attempt"`
	At           time.Time      `db:"requested_at"`
	TookMS       int64          `db:"duration_ms"`
	Outcome      sender.Outcome `db:"outcome"`
	ResponseCode *int           `db:"response_code"`
	ResponseBody *string        `db:"response_body"`
	Error        *string        `db:"error"`
	ReplayID     *id.ID         `db:"replay_id"`
}

const (
	selectDeliveryFor = `SELECT ` + deliveryColumns + ` FROM webhook_deliveries d WHERE d.id = $1 AND d.merchant_id = $2`
	selectAttempts    = `
	SELECT attempt, requested_at, duration_ms, outcome, response_code, response_body, error, replay_id
	FROM webhook_delivery_logs WHERE delivery_id = $1 ORDER BY attempt`
)

// GetDelivery returns one of the merchant's deliveries with all its attempts, the first
// one first; another merchant's is not_found.
func (s *Service) GetDelivery(ctx context.Context, merchant, delivery id.ID) (Delivery, []Attempt, error) {
	var found []Delivery
	var attempts []Attempt
	var b pgx.Batch
	b.Queue(selectDeliveryFor, delivery, merchant).Query(collectDeliveries(&found))
	b.Queue(selectAttempts, delivery).Query(func(rows pgx.Rows) (err error) {
		attempts, err = pgx.CollectRows(rows, pgx.RowToStructByName[Attempt])
		return err
	})
	if err := postgres.Pipeline(ctx, s.Pool, &b); err != nil {
		return Delivery{}, nil, fault.Wrap(err, "read a delivery")
	}
	if len(found) == 0 {
		return Delivery{}, nil, fault.New(fault.NotFound, "There is no delivery %s.", id.Delivery.External(delivery))
	}
	return found[0], attempts, nil
}

// EventFilter chooses events of a merchant. Zero values do not filter.
type EventFilter struct {
	PaymentID     id.ID
	Types         []string  // types, or objects such as "refund.*"
	CreatedAfter  time.Time // exclusive
	CreatedBefore time.Time // exclusive
	Limit         int       // 1 to MaxPage; 0: DefaultPage
	Cursor        string
}

// EventPage is one page of events, the newest first, as webhooks in full have them.
type EventPage struct {
	Events []json.RawMessage
	Next   string // the cursor of the next page; "" on the last
}

type eventRow struct {
	ID        id.ID     `db:"id"`
	CreatedAt time.Time `db:"created_at"`
	Payload   []byte    `db:"payload"`
}

// ListEvents reads a page of the merchant's events, whether or not an endpoint subscribes
// to them.
func (s *Service) ListEvents(ctx context.Context, merchant id.ID, f EventFilter) (EventPage, error) {
	after, err := checkPage(&f.Limit, f.Cursor, "type", f.Types, nil)
	if err != nil {
		return EventPage{}, err
	}
	sql, args := f.query(merchant, after)
	rows, _ := s.Pool.Query(ctx, sql, args...) // CollectRows returns the error
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[eventRow])
	if err != nil {
		return EventPage{}, unlisted(err, "list events")
	}
	page := EventPage{Events: make([]json.RawMessage, 0, len(found))}
	if len(found) > f.Limit {
		found = found[:f.Limit]
		last := found[f.Limit-1]
		page.Next = cursor{At: last.CreatedAt.UnixMicro(), Event: last.ID}.encode()
	}
	for _, e := range found {
		page.Events = append(page.Events, e.Payload)
	}
	return page, nil
}

func (f *EventFilter) query(merchant id.ID, after *cursor) (sql string, args []any) {
	var q conditions
	of := "e.merchant_id = " + q.arg(merchant)
	if !f.PaymentID.IsZero() {
		q.add("e.transaction_id = %s", f.PaymentID)
	}
	q.eventTypes("e.type", f.Types)
	q.between("e.created_at", f.CreatedAfter, f.CreatedBefore)
	if after != nil {
		q.add("(e.created_at, e.id) < (%s, %s)", time.UnixMicro(after.At), after.Event)
	}
	return `SELECT e.id, e.created_at, e.payload FROM events e WHERE ` + of + q.and() + `
	ORDER BY e.created_at DESC, e.id DESC LIMIT ` + q.arg(f.Limit+1), q.args
}

const selectEvent = `SELECT payload FROM events WHERE id = $1 AND merchant_id = $2`

// GetEvent returns one of the merchant's events as webhooks in full have it; another
// merchant's is not_found.
func (s *Service) GetEvent(ctx context.Context, merchant, event id.ID) (json.RawMessage, error) {
	var payload []byte
	err := s.Pool.QueryRow(ctx, selectEvent, event, merchant).Scan(&payload)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "There is no event %s.", id.Event.External(event))
	}
	return payload, fault.Wrap(err, "read an event")
}

// statementTimeout is the SQLSTATE query_canceled, of statements that take too long.
const statementTimeout = "57014"

// unlisted is a list that was not read. Types are in no index: who asks for a rare one
// among millions has to say where to look.
func unlisted(err error, doing string) error {
	if postgres.HasCode(err, statementTimeout) {
		return fault.Invalid("created_after", "is needed: there are too many to look through in time; give created_after, and created_before too")
	}
	return fault.Wrap(err, "%s", doing)
}

// conditions are parts of a WHERE clause, and the arguments of the statement.
type conditions struct {
	parts []string
	args  []any
}

func (q *conditions) arg(v any) string {
	q.args = append(q.args, v)
	return fmt.Sprintf("$%d", len(q.args))
}

// add adds a part, whose %s stand for the values.
func (q *conditions) add(part string, values ...any) {
	places := make([]any, len(values))
	for i, v := range values {
		places[i] = q.arg(v)
	}
	q.parts = append(q.parts, fmt.Sprintf(part, places...))
}

func (q *conditions) and() string {
	if len(q.parts) == 0 {
		return ""
	}
	return " AND " + strings.Join(q.parts, " AND ")
}

func (q *conditions) eventTypes(column string, types []string) {
	if len(types) > 0 {
		at := q.arg(types)
		q.add(`(` + column + ` = ANY (` + at + `::text[]) OR split_part(` + column + `, '.', 1) || '.*' = ANY (` + at + `::text[]))`)
	}
}

func (q *conditions) between(column string, after, before time.Time) {
	if !after.IsZero() {
		q.add(column+" > %s", after)
	}
	if !before.IsZero() {
		q.add(column+" < %s", before)
	}
}

// cursor is where a page ended.
type cursor struct {
	At       int64 `json:"t"` // of the event, in microseconds, as the database keeps them
	Event    id.ID `json:"e"`
	Delivery id.ID `json:"d"`
}

func (c cursor) encode() string { return base64.RawURLEncoding.EncodeToString(encode(c)) }

func parseCursor(s string) (*cursor, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	var c cursor
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, err
	}
	at := time.UnixMicro(c.At).UTC()
	if at.Year() < 2000 || at.Year() > 9999 || c.Event.IsZero() || c.encode() != s { // what PostgreSQL can't hold was not ours
		return nil, fmt.Errorf("webhook: %q is not a cursor", s)
	}
	return &c, nil
}

// checkPage refuses filters that fit nothing, and reads the cursor; nil for the first page.
func checkPage(limit *int, at, typeName string, types, statuses []string) (after *cursor, err error) {
	var bad []fault.Field
	refuse := func(field, format string, args ...any) {
		bad = append(bad, fault.Field{Name: field, Detail: fmt.Sprintf(format, args...)})
	}
	if *limit == 0 {
		*limit = DefaultPage
	}
	if *limit < 1 || *limit > MaxPage {
		refuse("limit", "must be between 1 and %d", MaxPage)
	}
	for _, t := range types {
		if err := event.CheckFilter(t); err != nil {
			refuse(typeName, "%v", err)
		}
	}
	for _, st := range statuses {
		if !slices.Contains(Statuses(), Status(st)) {
			refuse("status", "%.40q is not a status of deliveries; send some of %s", st, statusNames())
		}
	}
	if at != "" {
		if after, err = parseCursor(at); err != nil {
			refuse("cursor", "is not a cursor of this list; send next_cursor of the page before, unchanged, or leave it out to begin")
		}
	}
	if len(bad) > 0 {
		f := fault.Invalid("", "")
		f.Fields = bad
		return nil, f
	}
	return after, nil
}

func statusNames() string {
	var names []string
	for _, st := range Statuses() {
		names = append(names, string(st))
	}
	return strings.Join(names, ", ")
}
