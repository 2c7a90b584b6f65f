package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// Fields that Cloud Logging lifts out of the JSON:
// https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
const (
	fieldSeverity = "severity"
	fieldMessage  = "message"
	fieldTrace    = "logging.googleapis.com/trace"
	fieldSpanID   = "logging.googleapis.com/spanId"
	fieldSampled  = "logging.googleapis.com/trace_sampled"
	fieldLabels   = "logging.googleapis.com/labels"
)

// LogOption changes a logger from NewLogger.
type LogOption func(*handler)

// WithProject writes traces by their full name, projects/ID/traces/…, which is how
// Cloud Logging links a line to its trace.
func WithProject(id string) LogOption {
	return func(h *handler) { h.project = id }
}

// NewLogger returns a logger that writes one JSON object per line to w for Cloud
// Logging: severity, message, time, the service, and, from the context, the trace,
// request_id, correlation_id and execution id. Call the Context methods
// (InfoContext, …), or a line has none of the latter.
//
// Messages and attributes are masked as by Mask, whatever their type and depth.
// Durations are written as text with their unit.
func NewLogger(w io.Writer, level slog.Leveler, service string, options ...LogOption) *slog.Logger {
	h := &handler{
		json:   slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: renameBuiltin}),
		scopes: []scope{{attrs: []slog.Attr{slog.String("service", service)}}},
	}
	for _, option := range options {
		option(h)
	}
	return slog.New(h)
}

// handler masks records and adds what their context says. It keeps groups and
// attributes itself rather than hand them to the JSON handler, because the
// context's fields must stay at the top when a logger has groups.
type handler struct {
	json    slog.Handler
	project string
	scopes  []scope // outermost first; never empty, never changed in place
}

// scope is a group that a logger opened, and the attributes it was given there.
type scope struct {
	group string // "" at the top
	attrs []slog.Attr
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.json.Enabled(ctx, level)
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	clone := *h
	clone.scopes = append(slices.Clone(h.scopes), scope{group: name})
	return &clone
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clone := *h
	clone.scopes = slices.Clone(h.scopes)
	last := &clone.scopes[len(clone.scopes)-1]
	last.attrs = append(slices.Clip(last.attrs), maskAttrs(attrs)...)
	return &clone
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, maskAttr(a))
		return true
	})
	for _, s := range slices.Backward(h.scopes) {
		attrs = append(slices.Clip(s.attrs), attrs...)
		if s.group != "" {
			attrs = []slog.Attr{{Key: s.group, Value: slog.GroupValue(attrs...)}}
		}
	}
	out := slog.NewRecord(r.Time, r.Level, Mask(r.Message), r.PC)
	out.AddAttrs(h.contextAttrs(ctx)...)
	out.AddAttrs(attrs...)
	return h.json.Handle(ctx, out)
}

func (h *handler) contextAttrs(ctx context.Context) []slog.Attr {
	var attrs []slog.Attr
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		name := span.TraceID().String()
		if h.project != "" {
			name = "projects/" + h.project + "/traces/" + name
		}
		attrs = append(attrs,
			slog.String(fieldTrace, name),
			slog.String(fieldSpanID, span.SpanID().String()),
			slog.Bool(fieldSampled, span.IsSampled()))
	}
	t := TraceFrom(ctx)
	if t.ExecutionID != "" {
		attrs = append(attrs, slog.Group(fieldLabels, slog.String("execution_id", Mask(t.ExecutionID))))
	}
	if t.RequestID != "" {
		attrs = append(attrs, slog.String("request_id", Mask(t.RequestID)))
	}
	if id := CorrelationID(ctx); id != "" {
		attrs = append(attrs, slog.String("correlation_id", Mask(id)))
	}
	return attrs
}

// renameBuiltin gives slog's own fields the names that Cloud Logging reads.
func renameBuiltin(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.LevelKey:
		if level, ok := a.Value.Any().(slog.Level); ok {
			return slog.String(fieldSeverity, severity(level))
		}
	case slog.MessageKey:
		a.Key = fieldMessage
	}
	return a
}

func severity(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "DEBUG"
	case level < slog.LevelWarn:
		return "INFO"
	case level < slog.LevelError:
		return "WARNING"
	default:
		return "ERROR"
	}
}
