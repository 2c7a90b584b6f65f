// Package api is the HTTP edge: how a function is registered and wired, and how a
// request becomes one call of a domain package and its outcome an answer.
//
// It owns the form of everything that crosses the edge: strict JSON in (Decode),
// Idempotency-Key, API keys (Gate), Request-Id, and problem documents (RFC 9457)
// out. Domain packages return faults; this package alone turns them into answers,
// and logs the internal ones, once. It refuses bodies that are too large or not
// exactly what the operation takes, card numbers anywhere, and callers it can't
// name.
//
// It owns a function's life too: the platform's probes at /health/ (Probe), and its
// end at SIGTERM, which loses no answer (Lifecycle).
//
// Faults of its own: invalid_request, invalid_json, body_too_large,
// unsupported_media_type, card_number_refused, idempotency_key_missing,
// idempotency_key_invalid, unauthenticated, not_found, method_not_allowed.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/api/option"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Env is what a function gets from the world. Production's is made by Function; the
// local stack and tests make their own.
type Env struct {
	Lookup  func(string) (string, bool) // configuration; nothing else reads the environment
	Now     func() time.Time
	NewID   func() id.ID
	Log     *slog.Logger
	Metrics *telemetry.Metrics    // nil: not measured
	Google  []option.ClientOption // for the Pub/Sub client
	Tasks   []option.ClientOption // for the Cloud Tasks client, which locally is elsewhere
	KMS     []option.ClientOption // for the Cloud KMS client
	Storage []option.ClientOption // for the Cloud Storage client

	// Lifecycle is where parts register that are looked after and closed; nil: nobody does.
	Lifecycle *Lifecycle

	// Control is the control plane; nil is Firestore's, if the configuration names one.
	Control   control.Store
	Firestore []option.ClientOption // for its client

	// Hook is called at the kill points of crash tests; nil in production.
	Hook func(ctx context.Context, point string)
}

// Build wires one function: it reads its configuration, makes its parts, and
// returns its handler, or all that is wrong with the configuration.
type Build func(context.Context, Env) (http.Handler, error)
