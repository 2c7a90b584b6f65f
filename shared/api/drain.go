package api

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/otel"
)

// Cloud Run gives 10 s between SIGTERM and SIGKILL.
// https://cloud.google.com/run/docs/container-contract#instance-shutdown
const (
	// drainTimeout is for the requests in flight.
	drainTimeout = 8 * time.Second
	// flushPause lets net/http write the ends of answers that have no Content-Length, and
	// who was about to send a request notice.
	flushPause = 100 * time.Millisecond
	// closeTimeout is for the parts, telemetry last.
	closeTimeout = 1500 * time.Millisecond
)

// drainOnTerm ends the process at SIGTERM, once no request is in flight. The
// framework has no such thing: its process dies at the signal, with the requests.
// Requests that arrive while it drains are still served. Then the parts are closed.
func drainOnTerm(h http.Handler, env Env, exit func(int)) http.Handler {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	var d inFlight
	go func() {
		<-term
		drain(&d, env)
		exit(0)
	}()
	return d.counted(h)
}

// counted counts a request as in flight until its answer has left.
func (f *inFlight) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.begin()
		defer f.end()
		h.ServeHTTP(w, r)
		if w.Header().Get("Content-Length") != "" {
			// net/http would write the last of it after the handler, when nobody counts it
			// as in flight any more. The error is the caller's, who has gone.
			_ = http.NewResponseController(w).Flush()
		}
	})
}

func drain(d *inFlight, env Env) {
	if env.Lifecycle != nil {
		env.Lifecycle.draining.Store(true)
	}
	background := context.Background()
	ctx, cancel := context.WithTimeout(background, drainTimeout)
	defer cancel()
	env.Log.InfoContext(ctx, "draining", "in_flight", d.count())
	for {
		d.wait(ctx)
		begun := d.begun()
		pause(flushPause)
		if ctx.Err() != nil || d.count() == 0 && d.begun() == begun {
			break
		}
	}
	if left := d.count(); left > 0 {
		env.Log.ErrorContext(ctx, "requests are broken off", "in_flight", left)
	}
	closing, done := context.WithTimeout(background, closeTimeout)
	defer done()
	closed := env.Lifecycle.Close(closing, env.Log)
	env.Log.InfoContext(closing, "drained", "closed", closed)
}

func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// flushTelemetry sends what the process's exporters, if it has any, still hold.
func flushTelemetry(ctx context.Context) (err error) {
	for _, provider := range []any{otel.GetTracerProvider(), otel.GetMeterProvider()} {
		if p, ok := provider.(interface{ ForceFlush(context.Context) error }); ok {
			err = errors.Join(err, p.ForceFlush(ctx))
		}
	}
	return err
}
