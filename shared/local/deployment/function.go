package deployment

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// standard has those of terraform's functions that work alike in the library.
var standard = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc,
	"pow": stdlib.PowFunc, "range": stdlib.RangeFunc,
	"chunklist": stdlib.ChunklistFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc,
	"contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc,
	"keys": stdlib.KeysFunc, "merge": stdlib.MergeFunc, "reverse": stdlib.ReverseListFunc,
	"setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc,
	"setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,
	"format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc, "join": stdlib.JoinFunc,
	"lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "split": stdlib.SplitFunc,
	"substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc,
	"trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,
	"jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
	"can": tryfunc.CanFunc, "try": tryfunc.TryFunc,
	"tobool":   stdlib.MakeToFunc(cty.Bool),
	"tolist":   stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
	"tomap":    stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
	"tonumber": stdlib.MakeToFunc(cty.Number),
	"toset":    stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),
	"tostring": stdlib.MakeToFunc(cty.String),

	"alltrue":      over(func(all []cty.Value) cty.Value { return every(all, true) }),
	"anytrue":      over(func(all []cty.Value) cty.Value { return every(all, false).Not() }),
	"base64encode": text(base64.StdEncoding.EncodeToString),
	"coalesce":     stdlib.CoalesceFunc,
	"endswith":     test(strings.HasSuffix),
	"length":       length,
	"lookup":       lookup,
	"nonsensitive": same,
	"one":          over(one),
	"replace":      replace,
	"sensitive":    same,
	"startswith":   test(strings.HasPrefix),
	"sum":          over(sum),
}

// know finds every function that is called here. What a call of one yields that is not
// known to us is unknown.
func (m *Module) know() map[string]function.Function {
	all := map[string]function.Function{}
	for name := range m.calls {
		switch known, ok := standard[name]; {
		case ok:
			all[name] = known
		case name == "file":
			all[name] = m.file()
		default:
			all[name] = opaque
		}
	}
	return all
}

var anything = function.Parameter{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true}

var opaque = function.New(&function.Spec{
	VarParam: &anything,
	Type:     function.StaticReturnType(cty.DynamicPseudoType),
	Impl:     func([]cty.Value, cty.Type) (cty.Value, error) { return cty.DynamicVal, nil },
})

var same = function.New(&function.Spec{
	Params: []function.Parameter{anything},
	Type:   func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
	Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0], nil },
})

// file reads a file; its path begins with the module's folder, as path.module does.
func (m *Module) file() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			content, err := fs.ReadFile(m.files, path.Clean(args[0].AsString()))
			return cty.StringVal(string(content)), err
		},
	})
}

func text[T string | []byte](f func(T) string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal(f(T(args[0].AsString()))), nil
		},
	})
}

func test(f func(string, string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// over is a function of all elements of one collection.
func over(f func([]cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "collection", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if !args[0].CanIterateElements() {
				return cty.NilVal, errors.New("it is no collection")
			}
			return f(args[0].AsValueSlice()), nil
		},
	})
}

// every reports whether all are the bool; of anytrue's, whether none is true.
func every(all []cty.Value, want bool) cty.Value {
	for _, v := range all {
		if v.IsKnown() && !v.IsNull() && v.True() != want {
			return cty.False
		}
	}
	return cty.True
}

func one(all []cty.Value) cty.Value {
	if len(all) == 1 {
		return all[0]
	}
	return cty.NullVal(cty.DynamicPseudoType)
}

func sum(all []cty.Value) cty.Value {
	total := cty.Zero
	for _, v := range all {
		n, err := convert.Convert(v, cty.Number)
		if err != nil || !n.IsKnown() {
			return cty.DynamicVal
		}
		total = total.Add(n)
	}
	return total
}

var length = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		switch v := args[0]; {
		case v.Type() == cty.String:
			return cty.NumberIntVal(int64(utf8.RuneCountInString(v.AsString()))), nil
		case v.Type().IsObjectType():
			return cty.NumberIntVal(int64(len(v.Type().AttributeTypes()))), nil
		default:
			return v.Length(), nil
		}
	},
})

// lookup takes null for what there is otherwise.
var lookup = function.New(&function.Spec{
	Params: []function.Parameter{
		{Name: "map", Type: cty.DynamicPseudoType}, {Name: "key", Type: cty.String}, anything,
	},
	Type: function.StaticReturnType(cty.DynamicPseudoType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		of, key := args[0], args[1].AsString()
		switch kind := of.Type(); {
		case kind.IsObjectType() && kind.HasAttribute(key):
			return of.GetAttr(key), nil
		case kind.IsMapType() && of.HasIndex(args[1]).True():
			return of.Index(args[1]), nil
		}
		return args[2], nil
	},
})

// replace takes a pattern between slashes, as terraform's does.
var replace = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "old", Type: cty.String}, {Name: "new", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		old := args[1].AsString()
		if len(old) > 1 && strings.HasPrefix(old, "/") && strings.HasSuffix(old, "/") {
			return stdlib.RegexReplace(args[0], cty.StringVal(old[1:len(old)-1]), args[2])
		}
		return stdlib.Replace(args[0], args[1], args[2])
	},
})
