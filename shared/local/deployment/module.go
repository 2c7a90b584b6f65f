package deployment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Module is one folder of terraform, with the values that its variables are given. It may
// be used concurrently.
type Module struct {
	files   fs.FS
	folder  string
	vars    map[string]cty.Value
	given   cty.Value // vars as one object
	locals  map[string]*local
	blocks  map[string]*block // by address, such as "google_pubsub_topic.events" or "module.function"
	calls   map[string]bool   // functions that are called somewhere
	attrs   map[string]bool   // attributes of other blocks that are asked for somewhere
	opened  map[string]bool   // those of them that are looked into, and so are no strings
	outputs []string

	functions map[string]function.Function

	mu sync.Mutex // what is evaluated is kept
}

// A local is evaluated when it is first asked for.
type local struct {
	expression hclsyntax.Expression
	value      cty.Value
	err        error
	state      progress
}

type progress int

const (
	untouched progress = iota
	underWay
	evaluated
)

// A block is a resource, a data source or a module call.
type block struct {
	kind    string // "resource", "data" or "module"
	address string
	body    *hclsyntax.Body

	looked bool // and seen as value, or not for err
	value  cty.Value
	err    error
}

// Read reads a folder of terraform: its own *.tf, not those of the modules that it calls.
// Variables get what given has, else what the tfvars files say (paths from the root of
// files), else their defaults. One that has none of these is the text "var.NAME".
func Read(files fs.FS, folder string, given map[string]any, tfvars ...string) (*Module, error) {
	m := &Module{
		files: files, folder: folder,
		vars: map[string]cty.Value{}, locals: map[string]*local{}, blocks: map[string]*block{},
		calls: map[string]bool{}, attrs: map[string]bool{}, opened: map[string]bool{},
	}
	names, err := fs.Glob(files, path.Join(folder, "*.tf"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("deployment: there is no terraform in %s", folder)
	}
	values, err := settings(files, given, tfvars)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		body, err := parse(files, name)
		if err != nil {
			return nil, err
		}
		for _, b := range body.Blocks {
			if err := m.add(b, values); err != nil {
				return nil, fmt.Errorf("deployment: %s: %w", name, err)
			}
		}
		m.notice(body)
	}
	m.given, m.functions = cty.ObjectVal(m.vars), m.know()
	return m, nil
}

func parse(files fs.FS, name string) (*hclsyntax.Body, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, fmt.Errorf("deployment: %w", err)
	}
	key := name + "\n" + string(text)
	if body, ok := parsed.Load(key); ok {
		return body.(*hclsyntax.Body), nil
	}
	file, problems := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	if problems.HasErrors() {
		return nil, fmt.Errorf("deployment: %w", problems)
	}
	parsed.Store(key, file.Body)
	return file.Body.(*hclsyntax.Body), nil
}

// parsed has the files that were parsed, by name and content. Nobody changes them, and
// tests read the same ones hundreds of times.
var parsed sync.Map

// settings merges the values of variables: the later of tfvars win, and given over all.
func settings(files fs.FS, given map[string]any, tfvars []string) (map[string]cty.Value, error) {
	values := map[string]cty.Value{}
	for _, name := range tfvars {
		body, err := parse(files, name)
		if err != nil {
			return nil, err
		}
		for variable, attribute := range body.Attributes {
			value, problems := attribute.Expr.Value(nil) // these files have constants alone
			if problems.HasErrors() {
				return nil, fmt.Errorf("deployment: %w", problems)
			}
			values[variable] = value
		}
	}
	for variable, value := range given {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("deployment: variable %s: %w", variable, err)
		}
		var simple ctyjson.SimpleJSONValue
		if err := simple.UnmarshalJSON(text); err != nil {
			return nil, fmt.Errorf("deployment: variable %s: %w", variable, err)
		}
		values[variable] = simple.Value
	}
	return values, nil
}

func (m *Module) add(b *hclsyntax.Block, values map[string]cty.Value) error {
	switch b.Type {
	case "locals":
		for name, attribute := range b.Body.Attributes {
			m.locals[name] = &local{expression: attribute.Expr}
		}
	case "variable":
		value, err := variable(b, values)
		if err != nil {
			return fmt.Errorf("variable %s: %w", b.Labels[0], err)
		}
		m.vars[b.Labels[0]] = value
	case "output":
		m.outputs = append(m.outputs, b.Labels[0])
	case "resource":
		address := strings.Join(b.Labels, ".")
		m.blocks[address] = &block{kind: b.Type, address: address, body: b.Body}
	case "data", "module":
		address := b.Type + "." + strings.Join(b.Labels, ".")
		m.blocks[address] = &block{kind: b.Type, address: address, body: b.Body}
	}
	return nil
}

func variable(b *hclsyntax.Block, values map[string]cty.Value) (cty.Value, error) {
	kind, defaults := cty.DynamicPseudoType, (*typeexpr.Defaults)(nil)
	if attribute, ok := b.Body.Attributes["type"]; ok {
		var problems hcl.Diagnostics
		if kind, defaults, problems = typeexpr.TypeConstraintWithDefaults(attribute.Expr); problems.HasErrors() {
			return cty.NilVal, problems
		}
	}
	value, ok := values[b.Labels[0]]
	if attribute, defaulted := b.Body.Attributes["default"]; !ok && defaulted {
		var problems hcl.Diagnostics
		if value, problems = attribute.Expr.Value(nil); problems.HasErrors() {
			return cty.NilVal, problems
		}
		ok = true
	}
	if !ok {
		return cty.StringVal("var." + b.Labels[0]), nil
	}
	if defaults != nil && !value.IsNull() {
		value = defaults.Apply(value)
	}
	return convert.Convert(value, kind)
}

// notice finds what is asked of other blocks, and which functions are called.
func (m *Module) notice(body *hclsyntax.Body) {
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
		switch e := n.(type) {
		case *hclsyntax.FunctionCallExpr:
			m.calls[e.Name] = true
		case *hclsyntax.ScopeTraversalExpr:
			m.ask(e.Traversal)
		case *hclsyntax.RelativeTraversalExpr:
			m.ask(e.Traversal)
		case *hclsyntax.IndexExpr:
			m.open(e.Collection)
		case *hclsyntax.SplatExpr:
			m.open(e.Source)
		case *hclsyntax.ForExpr:
			m.open(e.CollExpr)
		}
		return nil
	})
}

func (m *Module) ask(steps hcl.Traversal) {
	for i, step := range steps {
		attr, ok := step.(hcl.TraverseAttr)
		if !ok {
			continue
		}
		m.attrs[attr.Name] = true
		if i < len(steps)-1 {
			m.opened[attr.Name] = true
		}
	}
}

// open notes that what the expression ends with is looked into.
func (m *Module) open(e hclsyntax.Expression) {
	var steps hcl.Traversal
	switch e := e.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		steps = e.Traversal
	case *hclsyntax.RelativeTraversalExpr:
		steps = e.Traversal
	}
	if len(steps) == 0 {
		return
	}
	if attr, ok := steps[len(steps)-1].(hcl.TraverseAttr); ok {
		m.opened[attr.Name] = true
	}
}

// Outputs lists the names of what the module says in the end.
func (m *Module) Outputs() []string { return slices.Sorted(slices.Values(m.outputs)) }

// Variables lists the variables that there are.
func (m *Module) Variables() []string { return slices.Sorted(maps.Keys(m.vars)) }

// Local decodes a local value into out, a pointer, as JSON would. A member that out has
// no field for is an error, so that no column of a table goes unread.
func (m *Module) Local(name string, out any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, err := m.local(name)
	if err == nil {
		err = decode(value, out)
	}
	if err != nil {
		return fmt.Errorf("deployment: local.%s: %w", name, err)
	}
	return nil
}

func decode(value cty.Value, out any) error {
	text, err := json.Marshal(plain(value))
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(out)
}
