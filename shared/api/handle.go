package api

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/pan"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// HandlerFunc does one request: decode, call one domain operation, encode.
type HandlerFunc func(*http.Request) (Response, error)

// requestTimeout bounds a request where the platform sets no deadline of its own.
const requestTimeout = 60 * time.Second

// Handle serves the one operation of a function. The pattern is a method and a path,
// such as "POST /v1/payments/{id}/capture", or a method alone for any path; whatever
// else reaches the function is refused with not_found or method_not_allowed. Every
// answer carries Request-Id, every request is one line of the log.
func Handle(env Env, function, pattern string, h HandlerFunc) http.Handler {
	return HandleAll(env, function, Routes{pattern: h})
}

// Routes are the operations of a function by their patterns, as Handle takes them. No
// path may fit two patterns of one method.
type Routes map[string]HandlerFunc

// HandleAll is Handle for a function of several operations.
func HandleAll(env Env, function string, all Routes) http.Handler {
	e := &endpoint{env: env, function: function, health: health{env: env, function: function}}
	for _, pattern := range slices.Sorted(maps.Keys(all)) {
		o := operation{do: all[pattern]}
		o.method, o.route, _ = strings.Cut(pattern, " ")
		o.segments = strings.Split(o.route, "/")
		e.operations = append(e.operations, o)
	}
	return http.HandlerFunc(e.serve)
}

type endpoint struct {
	env        Env
	function   string // what logs and metrics call it: the path itself may hold anything
	operations []operation
	health     health
}

type operation struct {
	method   string
	route    string
	segments []string
	do       HandlerFunc
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	if p := probeOf(r); p != "" {
		e.health.serve(w, r, p)
		return
	}
	start := e.env.Now()
	note := new(note)
	ctx, cancel := detach(r.Context())
	defer cancel()
	ctx = context.WithValue(e.identify(ctx, r), noteKey{}, note)
	r = r.WithContext(ctx)

	op, allowed := e.find(r)
	resp, f := run(r, op, allowed)
	ctx = r.Context() // a push handler learns what its message belongs to, and says so there
	if f != nil {
		resp = refuse(f, r)
	}
	if op == nil && len(allowed) > 0 {
		resp.Header.Set("Allow", strings.Join(allowed, ", "))
	}
	if op != nil && op.route != "" {
		note.attrs = append(note.attrs, slog.String("route", op.route))
	}
	w.Header().Set("Request-Id", telemetry.RequestID(ctx))
	err := resp.write(w, r)
	e.record(ctx, r, note, resp.Status, f, err, e.env.Now().Sub(start))
	if err == nil && resp.After != nil {
		e.after(ctx, resp.After)
	}
}

// detach keeps a caller that hangs up from cutting short what it started: a provider
// call that is given up half-way is an unknown outcome, which costs far more than the
// rest of the call. The platform's deadline stays.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	free := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(free, deadline)
	}
	return context.WithTimeout(free, requestTimeout)
}

// identify finds what the request belongs to, or begins something new.
func (e *endpoint) identify(ctx context.Context, r *http.Request) context.Context {
	ctx = telemetry.ExtractHeader(ctx, r.Header)
	if telemetry.RequestID(ctx) == "" {
		ctx = telemetry.Extract(ctx, map[string]string{telemetry.KeyRequestID: r.Header.Get("X-Request-Id")})
	}
	if given := telemetry.RequestID(ctx); given == "" || pan.Find(given) {
		ctx = telemetry.WithRequestID(ctx, id.Request.External(e.env.NewID()))
	}
	if pan.Find(telemetry.CorrelationID(ctx)) {
		ctx = telemetry.WithCorrelationID(ctx, "")
	}
	return telemetry.WithExecutionID(ctx, funcframework.ExecutionIDFromContext(ctx))
}

// run calls the operation's handler, if there is one. A panic is an internal fault.
func run(r *http.Request, op *operation, allowed []string) (resp Response, f *fault.Error) {
	defer func() {
		if p := recover(); p != nil {
			f = &fault.Error{Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	switch {
	case op == nil && len(allowed) == 0:
		return Response{}, fault.New(fault.NotFound, "There is nothing at this path.")
	case op == nil:
		return Response{}, fault.New(fault.MethodNotAllowed, "Use %s.", strings.Join(allowed, " or "))
	}
	resp, err := op.do(r)
	if err != nil {
		return Response{}, known(fault.As(err))
	}
	return resp, nil
}

// known tells apart, among internal faults, that the database can't be reached. It is
// nobody's mistake and passes: a merchant is told to try again, and Cloud Tasks, at a
// 503, slows the queue down.
func known(f *fault.Error) *fault.Error {
	if f.Kind() != fault.KindInternal || !postgres.Unreachable(f.Err) {
		return f
	}
	return &fault.Error{
		Code: fault.Unavailable, Err: f, Retry: databaseRetry,
		Detail: "The gateway can't serve this now. Send the request again, with the same Idempotency-Key if it has one: it can't take effect twice.",
	}
}

// databaseRetry is about what a failover of the database takes to begin to help.
const databaseRetry = 2 * time.Second

// find is the operation that the request is for. Without one, allowed lists the methods
// that its path takes; none, if there is nothing at it.
func (e *endpoint) find(r *http.Request) (found *operation, allowed []string) {
	for i := range e.operations {
		op := &e.operations[i]
		values, ok := op.matches(r)
		switch {
		case !ok:
		case op.method != r.Method:
			allowed = append(allowed, op.method)
		default:
			for name, value := range values {
				r.SetPathValue(name, value)
			}
			return op, nil
		}
	}
	return nil, allowed
}

// matches compares the path segment by segment as it came, escapes and all: net/http's
// own multiplexer would redirect what it finds untidy, and a POST must not be redirected.
func (o *operation) matches(r *http.Request) (values map[string]string, ok bool) {
	if o.route == "" {
		return nil, true
	}
	got := strings.Split(r.URL.EscapedPath(), "/")
	if len(got) != len(o.segments) {
		return nil, false
	}
	for i, want := range o.segments {
		if name, ok := strings.CutPrefix(want, "{"); ok && got[i] != "" {
			if values == nil {
				values = make(map[string]string, 1)
			}
			values[strings.TrimSuffix(name, "}")] = got[i]
		} else if got[i] != want {
			return nil, false
		}
	}
	return values, true
}

// refuse turns a fault into a problem document.
func refuse(f *fault.Error, r *http.Request) Response {
	entry := fault.Lookup(f.Code)
	instance := r.URL.EscapedPath()
	if len(instance) > maxInstance || pan.Find(instance) {
		instance = ""
	}
	resp := Response{Status: entry.Status, Body: fault.Problem(f, instance), Header: http.Header{}}
	if f.Retry > 0 {
		resp.retryAfter(f.Retry)
	}
	if entry.Status == http.StatusUnauthorized {
		resp.Header.Set("WWW-Authenticate", `Bearer realm="tollgate"`)
	}
	return resp
}

const maxInstance = 500

func (e *endpoint) record(ctx context.Context, r *http.Request, n *note, status int, f *fault.Error, write error, took time.Duration) {
	level := slog.LevelInfo
	attrs := append([]slog.Attr{
		slog.String("function", e.function), slog.String("method", r.Method),
		slog.Int("status", status), slog.Int64("duration_ms", took.Milliseconds()),
	}, n.attrs...)
	if f != nil {
		attrs = append(attrs, slog.String("code", string(fault.Lookup(f.Code).Code)))
		if f.Err != nil || fault.Lookup(f.Code).Kind == fault.KindInternal {
			attrs = append(attrs, slog.String("error", f.Error()))
		}
	}
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	if write != nil {
		attrs = append(attrs, slog.String("write_error", write.Error()))
	}
	e.env.Log.LogAttrs(ctx, level, "request", attrs...)
	e.env.Metrics.HTTPRequest(ctx, e.function, status, took)
}

// afterBudget bounds Response.After: 300 ms to publish, and as much to make a task.
const afterBudget = 600 * time.Millisecond

func (e *endpoint) after(ctx context.Context, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterBudget)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			e.env.Log.ErrorContext(ctx, "panic after the answer", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	do(ctx)
}

// note gathers what a handler learns about the request for its line of the log.
type note struct{ attrs []slog.Attr }

type noteKey struct{}

// Annotate adds to the request's line of the log. Only the request's own goroutine
// may call it.
func Annotate(ctx context.Context, attrs ...slog.Attr) {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		n.attrs = append(n.attrs, attrs...)
	}
}
