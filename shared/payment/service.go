// Package payment is the core: it moves payments through their lives.
//
// It owns the tables transactions, refunds, disputes, personal_data, transaction_audit_log,
// provider_facts, provider_responses and obligations, and the state machine of payments.
//
// Every operation that touches a provider has three phases, with a durable record
// between any two, so that a crash at any instant leaves an owner and no doubt
// about what may have happened:
//
//	claim   one transaction: the idempotency key, the guard on the amounts, the saga
//	        and its first attempt, the audit of the intent
//	call    the provider, with no transaction open
//	record  one transaction, fenced by the lease: what the reply proves
//
// What a reply, a webhook or a look-up proves comes as facts, and one function,
// dossier.apply, merges them, under the payment's row lock. A payment is never
// moved by the absence of an answer: an outcome that is not known stays unknown
// until the resolver (resolve.go) has proof, which is stored. What money a fact moved is
// posted to the ledger (post.go), in the transaction that records it.
//
// Faults it returns: invalid_request and its siblings for bad values, not_found,
// invalid_state, operation_in_progress, outcome_unknown, amount_exceeds_available,
// merchant_reference_taken, idempotency_key_reused, provider_busy, and the
// provider's own code when it can't be reached, such as STRIPE_UNAVAILABLE.
package payment

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Service performs operations on payments. Fields are set where it is wired and
// not changed after.
type Service struct {
	Pool      *pgxpool.Pool
	Now       func() time.Time
	NewID     func() id.ID
	Providers map[string]provider.Adapter // by name
	Relay     *outbox.Relay               // nil: the sweep publishes
	Tasks     *outbox.Tasks               // nil: the sweep makes the tasks
	Name      string                      // of the function, for the audit log
	Log       *slog.Logger
	Metrics   *telemetry.Metrics

	// Hook is called at each recovery point. It is nil in production; the crash
	// test kills the process there.
	Hook func(ctx context.Context, point string)
}

// The recovery points of an operation.
const (
	PointClaiming  = "claiming"  // before the claim commits
	PointClaimed   = "claimed"   // after it
	PointCalled    = "called"    // after the provider answered
	PointRecording = "recording" // before the record commits
	PointRecorded  = "recorded"  // after it
	PointPublish   = "publish"   // before its events are published
)

func (s *Service) at(ctx context.Context, point string) {
	if s.Hook != nil {
		s.Hook(ctx, point)
	}
}

// Caller is the merchant on whose behalf a request acts.
type Caller struct {
	MerchantID id.ID
	KeyID      id.ID
	Preference []string // the providers that it prefers, the first before the others
}

func (c Caller) actor(ctx context.Context) Actor {
	return Actor{Name: "merchant:" + c.KeyID.String(), RequestID: telemetry.RequestID(ctx)}
}

func (s *Service) self(ctx context.Context) Actor {
	return Actor{Name: "function:" + s.Name, RequestID: telemetry.RequestID(ctx)}
}

// The time that publishing and task-making may take after an answer.
const afterTimeout = 300 * time.Millisecond

// after publishes what was committed about the payment, and makes the task that
// will carry an open saga on. Both are hints: the database has it all, and the
// sweep does what is missed here.
func (s *Service) after(payment id.ID, next *wake) func(context.Context) {
	return func(ctx context.Context) {
		s.at(ctx, PointPublish)
		pool := s.Pool.Stat()
		s.Metrics.ConnectionPoolUsage(ctx, 100*float64(pool.AcquiredConns())/float64(pool.MaxConns()))
		if s.Relay != nil {
			bounded, cancel := context.WithTimeout(ctx, afterTimeout)
			if err := s.Relay.Publish(bounded, payment); err != nil {
				s.Log.WarnContext(ctx, "publishing is left to the sweep", "payment", payment, "error", err)
			}
			cancel()
		}
		if next != nil {
			s.wakeLater(ctx, *next)
		}
	}
}
