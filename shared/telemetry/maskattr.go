package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/tollgate/tollgate/shared/pan"
)

func maskAttrs(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = maskAttr(a)
	}
	return out
}

func maskAttr(a slog.Attr) slog.Attr {
	return slog.Attr{Key: a.Key, Value: maskValue(a.Value)}
}

func maskValue(v slog.Value) slog.Value {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(Mask(v.String()))
	case slog.KindGroup:
		return slog.GroupValue(maskAttrs(v.Group())...)
	case slog.KindInt64, slog.KindUint64:
		return maskNumber(v, v.String())
	case slog.KindFloat64:
		return maskNumber(v, strconv.FormatFloat(v.Float64(), 'f', -1, 64))
	case slog.KindDuration:
		return slog.StringValue(v.Duration().String())
	case slog.KindAny:
		return maskAny(v)
	default:
		return v
	}
}

func maskNumber(v slog.Value, digits string) slog.Value {
	if pan.Find(digits) {
		return slog.StringValue(masked)
	}
	return v
}

// maskAny turns a value into what the JSON handler would write for it, masked:
// the text of an error, or the JSON of anything else. As there, a value that
// panics becomes a note in the line, never a crash.
func maskAny(v slog.Value) (out slog.Value) {
	defer func() {
		if r := recover(); r != nil {
			out = slog.StringValue(Mask(fmt.Sprintf("!PANIC: %v", r)))
		}
	}()
	switch x := v.Any().(type) {
	case nil:
		return v
	case json.Marshaler:
		return maskJSON(x)
	case error:
		return slog.StringValue(Mask(x.Error()))
	case []byte:
		return slog.StringValue(Mask(string(x))) // base64 would hide what is in it
	default:
		return maskJSON(x)
	}
}

func maskJSON(x any) slog.Value {
	text, err := json.Marshal(x)
	if err != nil {
		return slog.StringValue(Mask("!ERROR: " + err.Error()))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // large integers keep their digits
	var tree any
	if err := d.Decode(&tree); err != nil {
		return slog.StringValue(Mask("!ERROR: " + err.Error()))
	}
	return slog.AnyValue(maskTree(tree))
}

// maskTree masks the strings, numbers and keys of decoded JSON.
func maskTree(tree any) any {
	switch tree := tree.(type) {
	case string:
		return Mask(tree)
	case json.Number:
		if pan.Find(tree.String()) {
			return masked
		}
		return tree
	case []any:
		for i := range tree {
			tree[i] = maskTree(tree[i])
		}
		return tree
	case map[string]any:
		out := make(map[string]any, len(tree))
		for key, value := range tree {
			out[Mask(key)] = maskTree(value)
		}
		return out
	default:
		return tree
	}
}
