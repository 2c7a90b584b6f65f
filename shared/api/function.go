package api

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	"go.opentelemetry.io/otel"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Function registers a function with the Functions Framework if FUNCTION_TARGET names
// it, and does nothing otherwise, so that packages of several functions can live in
// one program. Call it from init. A function that can't be built ends the process:
// a revision with a wrong configuration must not get any requests.
//
// It registers plain HTTP functions only. The framework's Typed functions decode
// every request into one shared value, so that one merchant's members show up in
// another's request; its CloudEvent functions have no deadline and answer no probes.
func Function(name string, build Build) {
	if os.Getenv("FUNCTION_TARGET") != name {
		return
	}
	env, err := production(name)
	if err == nil {
		var handler http.Handler
		if handler, err = build(context.Background(), env); err == nil {
			functions.HTTP(name, drainOnTerm(handler, env, os.Exit).ServeHTTP)
			return
		}
	}
	env.Log.Error("the function can't start", "error", err.Error())
	os.Exit(1)
}

// now is the time as PostgreSQL keeps it, in whole microseconds: what is answered, what
// is written to the audit log and what is read back are then the same.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// production is the world as it is.
func production(name string) (Env, error) {
	project, _ := os.LookupEnv("GOOGLE_CLOUD_PROJECT")
	env := Env{
		Lookup:    os.LookupEnv,
		Now:       now,
		NewID:     id.Source{Now: now}.New,
		Log:       telemetry.NewLogger(os.Stderr, slog.LevelInfo, name, telemetry.WithProject(project)),
		Lifecycle: &Lifecycle{},
	}
	env.Lifecycle.Closes("telemetry", flushTelemetry) // the first is closed last: what the others measure still counts
	var err error
	// The provider does nothing until the process has an exporter.
	env.Metrics, err = telemetry.NewMetrics(otel.GetMeterProvider())
	return env, err
}
