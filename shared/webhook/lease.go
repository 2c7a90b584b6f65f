package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// verdict is what an endpoint's state says to an attempt that is about to be made.
type verdict string

const (
	admitted verdict = "go"
	disabled verdict = "off"   // it wants no events
	shut     verdict = "open"  // its circuit is open: the attempt is lost without a request
	crowded  verdict = "busy"  // as many attempts as it may have are under way
	early    verdict = "early" // its rate is used up until held.FreeAt, which is this attempt's from now on
)

// held is a delivery under this worker's lease, with what an attempt needs. When it is
// crowded or early there is no lease.
type held struct {
	Delivery
	Verdict   verdict    `db:"verdict"`
	FreeAt    *time.Time `db:"free_at"`
	Payload   []byte     `db:"body"`
	URL       string     `db:"url"`
	Signature string     `db:"signature"` // scheme
	Headers   []byte     `db:"headers"`   // the merchant's own, sealed; nil for none
	Ordered   bool       `db:"ordered"`
	Sealed    [][]byte   `db:"sealed"` // the secrets that have not expired, the newest first
	Token     id.ID      `db:"-"`
}

const (
	// lease is how long a worker may hold a delivery: an attempt, and time to write
	// it down. Only a dead worker overstays.
	lease = 30 * time.Second

	// maxCrowdedWait bounds the wait for a place: what waits at an endpoint that is slow
	// must come back, but not keep the queue busy.
	maxCrowdedWait = 5 * time.Minute

	// burst is how many seconds' worth of attempts an endpoint may get at once.
	burst = time.Second
)

// Of two workers that want the same delivery one waits for the other's row lock, and
// then finds the lease taken. That the attempt is due is not asked: an operator may
// run its task early.
//
// The endpoint's row is written to for the rate limit, which is the generic cell rate
// algorithm (ITU-T I.371, annex A) with next_slot_at as the theoretical arrival time; an
// attempt that comes too early takes the slot all the same, and waits for it. Where the
// circuit is open and its time is over, the row also says who found that first.
const leaseDelivery = `
	WITH asked AS MATERIALIZED (
		SELECT d.id, d.webhook_id, d.slot, CASE
			WHEN NOT w.enabled THEN 'off'
			WHEN w.open_until > $5 THEN 'open'
			WHEN (SELECT count(*) FROM webhook_deliveries l
			      WHERE l.webhook_id = w.id AND l.lease_token IS NOT NULL AND l.lease_until > $5) >= w.max_in_flight THEN 'busy'
			ELSE 'go' END AS verdict
		FROM webhook_deliveries d JOIN webhook_endpoints w ON w.id = d.webhook_id
		WHERE d.id = $1 AND d.status = 'PENDING' AND d.attempt_count = $2::int - 1 AND (d.lease_until IS NULL OR d.lease_until <= $5)
		FOR NO KEY UPDATE OF d
	), paced AS (
		UPDATE webhook_endpoints w
		SET next_slot_at = CASE WHEN a.slot THEN w.next_slot_at
		        ELSE greatest(w.next_slot_at, $5) + interval '1 second' / w.rate_limit END,
		    open_until = CASE WHEN w.open_until IS NOT NULL THEN $4::timestamptz END
		FROM asked a
		WHERE w.id = a.webhook_id AND a.verdict = 'go' AND (w.open_until IS NULL OR w.open_until <= $5)
		RETURNING CASE WHEN a.slot OR w.open_until IS NOT NULL THEN $5::timestamptz
			ELSE w.next_slot_at - interval '1 second' / w.rate_limit - $6::interval END AS free_at
	), judged AS (
		SELECT a.id, p.free_at, CASE
			WHEN a.verdict <> 'go' THEN a.verdict
			WHEN p.free_at IS NULL THEN 'open' -- another attempt is finding out already
			WHEN p.free_at > $5 THEN 'early'
			ELSE 'go' END AS verdict
		FROM asked a LEFT JOIN paced p ON true
	), leased AS (
		UPDATE webhook_deliveries d SET lease_token = $3, lease_until = $4, slot = false, updated_at = $5
		FROM judged j WHERE d.id = j.id AND j.verdict NOT IN ('busy', 'early')
	)
	SELECT j.verdict, j.free_at, ` + deliveryColumns + `, e.payload AS body, w.url, w.signature, w.headers, w.ordered,
		ARRAY (SELECT s.sealed FROM webhook_endpoint_secrets s
		       WHERE s.endpoint_id = w.id AND (s.expires_at IS NULL OR s.expires_at > $5)
		       ORDER BY s.created_at DESC, s.id DESC) AS sealed
	FROM judged j
	JOIN webhook_deliveries d ON d.id = j.id
	JOIN events e ON e.id = d.event_id
	JOIN webhook_endpoints w ON w.id = d.webhook_id`

// lease takes the delivery for an attempt; nil when there is none to be made, or another
// worker makes it.
func (s *Service) lease(ctx context.Context, delivery id.ID, number int) (*held, error) {
	now, token := s.Now(), s.NewID()
	rows, _ := s.Pool.Query(ctx, leaseDelivery, delivery, number, token, now.Add(lease), now, burst) // CollectExactlyOneRow returns the error
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[held])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, "lease a delivery")
	}
	d.Token = token
	return d, nil
}

const postponeDelivery = `
	UPDATE webhook_deliveries d
	SET next_retry_at = $3, slot = d.slot OR $4, task_generation = d.task_generation + 1, updated_at = $5
	WHERE d.id = $1 AND d.status = 'PENDING' AND d.attempt_count = $2::int - 1 AND (d.lease_until IS NULL OR d.lease_until <= $5)
	RETURNING ` + deliveryColumns

// postpone has the attempt made later. It is not lost: the endpoint was not asked.
func (s *Service) postpone(ctx context.Context, d *held, number int) error {
	now := s.Now()
	at := now.Add(d.crowdedWait(now))
	if d.Verdict == early {
		at = *d.FreeAt
	}
	rows, _ := s.Pool.Query(ctx, postponeDelivery, d.ID, number, at, d.Verdict == early, now) // CollectRows returns the error
	later, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return fault.Wrap(err, "postpone an attempt")
	}
	return s.enqueueAll(ctx, later)
}

// crowdedWait is how long an attempt waits that finds its endpoint crowded. It grows with the
// time that the delivery has waited, so that what piles up before an endpoint that hangs
// does not keep the queue busy, and it is spread, so that not all come back together.
func (d *held) crowdedWait(now time.Time) time.Duration {
	since := d.CreatedAt
	if d.LastAttemptAt != nil {
		since = *d.LastAttemptAt
	}
	wait := min(max(now.Sub(since), time.Second), maxCrowdedWait)
	sum := sha256.Sum256(strconv.AppendInt(d.ID[:], int64(d.TaskGeneration), 10))
	share := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
	return time.Duration(float64(wait) * (0.5 + share)).Truncate(time.Millisecond)
}
