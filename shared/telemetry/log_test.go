package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// logged runs write with a logger and returns its one line, without its time.
func logged(t *testing.T, write func(*slog.Logger), options ...LogOption) map[string]any {
	t.Helper()
	var out bytes.Buffer
	write(NewLogger(&out, slog.LevelDebug, "createpayment", options...))
	line := map[string]any{}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	at, _ := line["time"].(string)
	if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
		t.Errorf("time: %v", err)
	}
	delete(line, "time")
	return line
}

func TestLogLine(t *testing.T) {
	t.Parallel()
	ctx := Extract(t.Context(), map[string]string{"traceparent": traceparent, "request-id": "req_1"})
	ctx = WithExecutionID(ctx, "exec1")
	got := logged(t, func(l *slog.Logger) {
		l.With("merchant", "mer_1").WithGroup("payment").With("id", "pay_1").WithGroup("amount").
			WarnContext(ctx, "slow", "minor", 5000, "took", 1500*time.Millisecond)
	}, WithProject("tollgate-prod"))
	want := map[string]any{
		"severity":                             "WARNING",
		"message":                              "slow",
		"service":                              "createpayment",
		"logging.googleapis.com/trace":         "projects/tollgate-prod/traces/0af7651916cd43dd8448eb211c80319c",
		"logging.googleapis.com/spanId":        "b7ad6b7169203331",
		"logging.googleapis.com/trace_sampled": true,
		"logging.googleapis.com/labels":        map[string]any{"execution_id": "exec1"},
		"request_id":                           "req_1",
		"correlation_id":                       "req_1",
		"merchant":                             "mer_1",
		"payment":                              map[string]any{"id": "pay_1", "amount": map[string]any{"minor": 5000.0, "took": "1.5s"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestLogLineOfAnEmptyContext(t *testing.T) {
	t.Parallel()
	got := logged(t, func(l *slog.Logger) { l.Info("hello") })
	want := map[string]any{"severity": "INFO", "message": "hello", "service": "createpayment"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestTraceWithoutProjectIsBare(t *testing.T) {
	t.Parallel()
	ctx := Extract(t.Context(), map[string]string{"traceparent": traceparent})
	got := logged(t, func(l *slog.Logger) { l.InfoContext(ctx, "hello") })
	if got["logging.googleapis.com/trace"] != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("trace %v", got["logging.googleapis.com/trace"])
	}
}

func TestSeverity(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "DEBUG", slog.LevelDebug + 1: "DEBUG",
		slog.LevelInfo: "INFO", slog.LevelInfo + 2: "INFO",
		slog.LevelWarn: "WARNING", slog.LevelError: "ERROR", slog.LevelError + 4: "ERROR",
	} {
		got := logged(t, func(l *slog.Logger) { l.Log(context.Background(), level, "x") })
		if got["severity"] != want {
			t.Errorf("level %d is %v, want %s", level, got["severity"], want)
		}
	}
}

func TestLevelFilters(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var level slog.LevelVar
	l := NewLogger(&out, &level, "x")
	l.Debug("hidden")
	if out.Len() > 0 {
		t.Errorf("wrote %s", out.String())
	}
	level.Set(slog.LevelDebug)
	l.Debug("shown")
	if out.Len() == 0 {
		t.Error("wrote nothing after the level was lowered")
	}
}

// Loggers made from one logger must not write into each other's attributes.
func TestSiblingLoggersDoNotShare(t *testing.T) {
	t.Parallel()
	got := logged(t, func(l *slog.Logger) {
		parent := l.With("a", 1)
		one, two := parent.With("b", 2), parent.With("c", 3)
		_ = two.WithGroup("g").With("d", 4)
		one.Info("x")
	})
	want := map[string]any{"severity": "INFO", "message": "x", "service": "createpayment", "a": 1.0, "b": 2.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// TestHandlerKeepsTheContract runs the standard library's tests of handlers, with
// our names of the built-in fields turned back.
func TestHandlerKeepsTheContract(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return NewLogger(&out, slog.LevelInfo, "x").Handler()
	}, func(t *testing.T) map[string]any {
		line := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		for ours, theirs := range map[string]string{"severity": slog.LevelKey, "message": slog.MessageKey} {
			if v, ok := line[ours]; ok {
				line[theirs] = v
				delete(line, ours)
			}
		}
		return line
	})
}

const (
	card      = "4242 4242 4242 4242"
	cardBare  = "4242424242424242"
	cardWide  = "４２４２４２４２４２４２４２４２"
	stripeKey = "sk_test_51HunterKey"
)

type request struct {
	Number  string            `json:"number"`
	Numeric int64             `json:"numeric"`
	Headers map[string]string `json:"headers"`
	Nested  []any             `json:"nested"`
	Err     *textError        `json:"err"`
	Raw     json.RawMessage   `json:"raw"`
}

type textError struct{ text string }

func (e *textError) Error() string                { return e.text }
func (e *textError) MarshalText() ([]byte, error) { return []byte(e.text), nil }

type jsonError struct{ text string }

func (e jsonError) Error() string { return e.text }
func (e jsonError) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"why": e.text})
}

type lazy struct{ v any }

func (l lazy) LogValue() slog.Value { return slog.AnyValue(l.v) }

type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("carrying " + card) }

// TestNothingSecretIsLogged sends secrets through every way into a line.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	values := map[string]any{
		"string":           "card " + card,
		"full width":       cardWide,
		"key":              stripeKey,
		"bearer":           "Bearer " + stripeKey,
		"int":              int64(4242424242424242),
		"uint":             uint64(4242424242424242),
		"float":            float64(4242424242424242),
		"error":            errors.New("declined " + card),
		"wrapped":          fmt.Errorf("a: %w", errors.Join(errors.New(stripeKey), &textError{card})),
		"error of JSON":    jsonError{card},
		"bytes":            []byte(card),
		"strings":          []string{"a", card},
		"map":              map[string]any{card: "key", "value": stripeKey},
		"struct":           request{Number: card, Numeric: 4242424242424242, Headers: map[string]string{"Authorization": "Bearer hunterHunter"}, Nested: []any{map[string]any{"deep": []string{card}}}, Err: &textError{card}, Raw: json.RawMessage(`{"n":` + cardBare + `}`)},
		"pointer":          &request{Number: card},
		"group":            slog.GroupValue(slog.String("n", card), slog.Group("g", slog.Any("e", errors.New(card)))),
		"attrs":            []slog.Attr{slog.String("n", card)},
		"lazy":             lazy{lazy{card}},
		"lazy group":       lazy{[]slog.Attr{slog.Any("k", lazy{stripeKey})}},
		"panics":           explosive{},
		"can't be encoded": map[string]any{card: make(chan int)},
		"secret":           Secret("hunterHunter"),
	}
	for name, v := range values {
		var out bytes.Buffer
		l := NewLogger(&out, slog.LevelInfo, "x")
		ctx := WithExecutionID(WithCorrelationID(WithRequestID(t.Context(), cardBare), cardBare), cardBare)
		l.InfoContext(ctx, "message "+card, "v", v)
		l.With("v", v).WithGroup("g").With("w", v).Info(stripeKey, "x", slog.GroupValue(slog.Any("y", v)))
		for _, secret := range []string{card, cardBare, cardWide, stripeKey, "hunterHunter", "NDI0MiA0MjQy", "4.242424242424242e"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%s: %q in\n%s", name, secret, out.String())
			}
		}
		for line := range strings.Lines(out.String()) {
			if !json.Valid([]byte(line)) || !strings.Contains(line, masked) {
				t.Errorf("%s: line %s", name, line)
			}
		}
	}
}

func TestValuesKeepTheirShape(t *testing.T) {
	t.Parallel()
	var nilError *textError
	got := logged(t, func(l *slog.Logger) {
		l.Info("x",
			"int", int64(1<<53+1), "float", 0.5, "bool", true, "nil", nil, "err", errors.New("no <tag>"),
			"nil pointer", nilError,
			"struct", struct {
				Big  int64
				List []string
			}{1<<62 + 1, []string{"a"}},
			"group", slog.GroupValue(slog.Int("a", 1)))
	})
	want := map[string]any{
		"severity": "INFO", "message": "x", "service": "createpayment",
		"int": float64(1<<53 + 1), "float": 0.5, "bool": true, "nil": nil, "err": "no <tag>",
		"nil pointer": "!PANIC: runtime error: invalid memory address or nil pointer dereference",
		"struct":      map[string]any{"Big": float64(1<<62 + 1), "List": []any{"a"}},
		"group":       map[string]any{"a": 1.0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func BenchmarkLog(b *testing.B) {
	l := NewLogger(discard{}, slog.LevelInfo, "x").With("merchant_id", "mer_01jd3k7z9x4m2n8p5q6r3s1t0v")
	ctx := WithRequestID(context.Background(), "req_01jd3k7z9x4m2n8p5q6r3s1t0v")
	b.ReportAllocs()
	for b.Loop() {
		l.InfoContext(ctx, "payment authorized", "payment", "pay_01jd3k7z9x4m2n8p5q6r3s1t0v", "took", time.Second, "amount_minor", 5000)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
