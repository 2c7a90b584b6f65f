// Package settlement settles with merchants, every night.
//
// It owns the tables batch_job_executions, batch_execution_errors, settlements and
// settlement_lines, and takes out of unsettled_entries (shared/ledger) what it settles.
//
// A run is for a date, and there is one for each: begun at 02:00 in Tokyo, and taken over
// at 06:00 if it has not succeeded by then. It goes through three phases, in steps; a step
// is one transaction, which leaves a checkpoint, and a task of Cloud Tasks does some of
// them and makes the next.
//
//	freeze  for each merchant and currency one statement moves what was posted before the
//	        cut-off of the merchant's last business day into a settlement: the entries
//	        that nobody has settled yet, however old they are. What commits later goes into
//	        the next one. Nothing is added to a settlement any more.
//	settle  in chunks of payments, in the order of their ids, CAPTURED ones become SETTLED.
//	        When all are done the settlement is posted to the ledger and COMPLETED, with
//	        the hash of its manifest, and the merchant is told.
//	check   what was frozen is what was settled and skipped, and what the ledger says.
//
// A payment that can't be settled is found, left out and written down, and its entries
// wait for the next settlement; the rest of its chunk goes on. A chunk that fails
// otherwise is tried three times more, five minutes apart, while others go on; then an
// alert is raised and the run ends FAILED, with all settled that can be. Who takes over
// begins where every settlement stands. A date that is unfinished comes before later ones.
//
// A settlement that is COMPLETED is never changed. To run a date again changes nothing.
//
// It refuses dates that are not due with invalid_request.
package settlement

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Job is what batch_job_executions and metrics call it.
const Job = "settlement"

// Service runs settlements. Fields are set where it is wired and not changed after.
type Service struct {
	Pool     *pgxpool.Pool
	Now      func() time.Time
	NewID    func() id.ID
	Payments *payment.Service
	Tasks    *outbox.Tasks
	Log      *slog.Logger
	Metrics  *telemetry.Metrics
	Chunk    int // payments of a transaction; DefaultChunk when zero

	// Circuits names the providers that are not called now. Nil: nobody knows.
	Circuits func(context.Context) ([]string, error)
}

// DefaultChunk is how many payments are settled in one transaction.
const DefaultChunk = 1000

const (
	retries    = 3               // of a chunk that failed
	retryAfter = 5 * time.Minute // each
	// patience is how long after a task was due its run counts as left by its holder.
	patience = 10 * time.Minute
	// lostAfter is how long a task may be overdue before the sweep makes it again.
	lostAfter = 2 * time.Minute
	// taskDeadline leaves time for the freezing of millions of entries.
	taskDeadline = 5 * time.Minute
)

func (s *Service) chunk() int {
	if s.Chunk > 0 {
		return s.Chunk
	}
	return DefaultChunk
}

// Zone is where 02:00 is.
const Zone = "Asia/Tokyo"

var tokyo = time.FixedZone(Zone, 9*60*60) // Japan has had no other time since 1951

// startHour is when a date's run begins, in Tokyo.
const startHour = 2

// Scheduled is when the run of a date is due. Dates are at midnight UTC.
func Scheduled(date time.Time) time.Time {
	return time.Date(date.Year(), date.Month(), date.Day(), startHour, 0, 0, 0, tokyo).UTC()
}

// Latest is the last date whose run is due.
func Latest(now time.Time) time.Time {
	local := now.In(tokyo).Add(-startHour * time.Hour)
	return time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
}
