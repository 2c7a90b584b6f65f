package deployment

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Unknown stands for what only a cloud could tell, or what is not read here.
const Unknown = "(unknown)"

// scope has the names that a block adds: each, count, and those of dynamic blocks.
type scope map[string]cty.Value

func (m *Module) local(name string) (cty.Value, error) {
	l := m.locals[name]
	switch {
	case l == nil:
		return cty.NilVal, errors.New("there is none of the name")
	case l.state == underWay:
		return cty.NilVal, errors.New("it needs itself")
	case l.state == untouched:
		l.state = underWay
		l.value, l.err = m.evaluate(l.expression, nil)
		l.state = evaluated
	}
	return l.value, l.err
}

func (m *Module) evaluate(e hcl.Expression, s scope) (cty.Value, error) {
	variables, err := m.environment(e.Variables(), s)
	if err != nil {
		return cty.NilVal, err
	}
	value, problems := e.Value(&hcl.EvalContext{Variables: variables, Functions: m.functions})
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	return value, nil
}

// environment makes what the traversals start from.
func (m *Module) environment(traversals []hcl.Traversal, s scope) (map[string]cty.Value, error) {
	variables := maps.Clone(s)
	if variables == nil {
		variables = scope{}
	}
	members := map[string]map[string]cty.Value{} // of local, module and data, and of each type of resource
	put := func(of, name string, v cty.Value) {
		if members[of] == nil {
			members[of] = map[string]cty.Value{}
		}
		members[of][name] = v
	}
	for _, t := range traversals {
		root := t.RootName()
		if _, ok := variables[root]; ok {
			continue
		}
		switch root {
		case "var":
			variables["var"] = m.given
		case "path":
			here := cty.StringVal(m.folder)
			variables["path"] = cty.ObjectVal(map[string]cty.Value{"module": here, "root": here, "cwd": here})
		case "terraform":
			variables["terraform"] = cty.ObjectVal(map[string]cty.Value{"workspace": cty.StringVal("default")})
		case "local":
			name := step(t, 1)
			value, err := m.local(name)
			if err != nil {
				return nil, fmt.Errorf("local.%s: %w", name, err)
			}
			put("local", name, value)
		case "data":
			variables["data"] = cty.DynamicVal // what a cloud would answer
		default:
			name := step(t, 1)
			value, err := m.reference(root + "." + name)
			if err != nil {
				return nil, fmt.Errorf("%s.%s: %w", root, name, err)
			}
			put(root, name, value)
		}
	}
	for of, values := range members {
		variables[of] = cty.ObjectVal(values)
	}
	return variables, nil
}

// step is the name in a traversal's place.
func step(t hcl.Traversal, i int) string {
	if i < len(t) {
		if attr, ok := t[i].(hcl.TraverseAttr); ok {
			return attr.Name
		}
	}
	return ""
}

// reference is a block as others see it: all that they ask of it.
func (m *Module) reference(address string) (cty.Value, error) {
	b := m.blocks[address]
	if b == nil {
		return cty.NilVal, errors.New("there is no such block")
	}
	if !b.looked {
		v, err := m.look(b, address)
		b.looked, b.value, b.err = true, v, err
	}
	return b.value, b.err
}

func (m *Module) look(b *block, address string) (cty.Value, error) {
	scopes, err := m.repetitions(b.body)
	if err != nil {
		return cty.NilVal, err
	}
	switch {
	case b.body.Attributes["count"] != nil:
		var all []cty.Value
		for i, s := range scopes {
			all = append(all, m.seen(b, fmt.Sprintf("%s[%d]", address, i), s.scope))
		}
		return cty.TupleVal(all), nil
	case b.body.Attributes["for_each"] != nil:
		all := map[string]cty.Value{}
		for _, s := range scopes {
			all[s.key] = m.seen(b, fmt.Sprintf("%s[%q]", address, s.key), s.scope)
		}
		return cty.ObjectVal(all), nil
	}
	return m.seen(b, address, nil), nil
}

// seen has an instance's attributes. Its names are as configured. Whatever else is a text
// that says where it comes from, so that what refers to the same thing is equal.
func (m *Module) seen(b *block, address string, s scope) cty.Value {
	values := map[string]cty.Value{}
	for name := range m.attrs {
		switch {
		case m.opened[name]:
			values[name] = cty.DynamicVal
		default:
			values[name] = cty.StringVal(address + "." + name)
		}
		if attribute := b.body.Attributes[name]; attribute != nil && slices.Contains([]string{"name", "account_id", "secret_id"}, name) {
			if value, err := m.evaluate(attribute.Expr, s); err == nil {
				values[name] = value
			}
		}
	}
	return cty.ObjectVal(values)
}

// repetition is one instance of a block.
type repetition struct {
	key   string
	scope scope
}

// repetitions are a block's instances, by its count or its for_each.
func (m *Module) repetitions(body *hclsyntax.Body) ([]repetition, error) {
	if attribute := body.Attributes["count"]; attribute != nil {
		var n int
		if err := m.decode(attribute.Expr, nil, &n); err != nil {
			return nil, fmt.Errorf("count: %w", err)
		}
		all := make([]repetition, n)
		for i := range all {
			index := cty.ObjectVal(map[string]cty.Value{"index": cty.NumberIntVal(int64(i))})
			all[i] = repetition{strconv.Itoa(i), scope{"count": index}}
		}
		return all, nil
	}
	if attribute := body.Attributes["for_each"]; attribute != nil {
		return m.each(attribute.Expr, nil, "each")
	}
	return []repetition{{}}, nil
}

// each evaluates what a block is repeated for. The iterator has its key and its value.
func (m *Module) each(e hcl.Expression, outer scope, iterator string) ([]repetition, error) {
	value, err := m.evaluate(e, outer)
	if err != nil {
		return nil, fmt.Errorf("for_each: %w", err)
	}
	if !value.IsKnown() || value.IsNull() || !value.CanIterateElements() {
		return nil, errors.New("for_each: it is not known which")
	}
	var all []repetition
	for it := value.ElementIterator(); it.Next(); {
		k, v := it.Element()
		if value.Type().IsSetType() {
			k = v
		}
		s := scope{}
		maps.Copy(s, outer)
		s[iterator] = cty.ObjectVal(map[string]cty.Value{"key": k, "value": v})
		all = append(all, repetition{fmt.Sprint(plain(k)), s})
	}
	slices.SortStableFunc(all, func(a, b repetition) int { return strings.Compare(a.key, b.key) })
	return all, nil
}

func (m *Module) decode(e hcl.Expression, s scope, out any) error {
	value, err := m.evaluate(e, s)
	if err != nil {
		return err
	}
	return decode(value, out)
}

// Instance is one resource or module call as it is deployed.
type Instance struct {
	Address string // such as google_pubsub_topic.events["payment-events"]
	Name    string // "events"
	Key     string // "payment-events"; empty without for_each and count
	// Values has the arguments by name; nested blocks are lists of the same. Text that is
	// not known here is Unknown, and what can't be evaluated says why.
	Values map[string]any
}

// Resources evaluates all resources of a type, such as "google_pubsub_topic", in order.
func (m *Module) Resources(kind string) ([]Instance, error) { return m.instances(kind + ".") }

// Calls evaluates all calls of modules.
func (m *Module) Calls() ([]Instance, error) { return m.instances("module.") }

func (m *Module) instances(prefix string) ([]Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Instance
	for _, address := range slices.Sorted(maps.Keys(m.blocks)) {
		name, ok := strings.CutPrefix(address, prefix)
		if !ok {
			continue
		}
		b := m.blocks[address]
		repeated, err := m.repetitions(b.body)
		if err != nil {
			return nil, fmt.Errorf("deployment: %s: %w", address, err)
		}
		for _, r := range repeated {
			in := Instance{Address: address, Name: name, Key: r.key, Values: m.body(b.body, r.scope)}
			if r.key != "" {
				in.Address = fmt.Sprintf("%s[%q]", address, r.key)
			}
			all = append(all, in)
		}
	}
	return all, nil
}

// Has reports whether there is a block of the address, such as "google_pubsub_topic.events"
// or "module.function", whether or not it has instances.
func (m *Module) Has(address string) bool { return m.blocks[address] != nil }

func (m *Module) body(body *hclsyntax.Body, s scope) map[string]any {
	values := map[string]any{}
	for name, attribute := range body.Attributes {
		if name == "for_each" || name == "count" || name == "depends_on" || name == "provider" || name == "providers" {
			continue
		}
		value, err := m.evaluate(attribute.Expr, s)
		if err != nil {
			values[name] = "(unreadable: " + err.Error() + ")"
			continue
		}
		values[name] = plain(value)
	}
	for _, b := range body.Blocks {
		if b.Type == "lifecycle" || b.Type == "provisioner" || b.Type == "connection" {
			continue
		}
		name, inner := b.Type, []any{m.body(b.Body, s)}
		if b.Type == "dynamic" {
			name, inner = b.Labels[0], m.dynamic(b, s)
		}
		list, _ := values[name].([]any)
		values[name] = append(list, inner...)
	}
	return values
}

// dynamic makes the blocks of a dynamic one.
func (m *Module) dynamic(b *hclsyntax.Block, s scope) []any {
	attribute := b.Body.Attributes["for_each"]
	if attribute == nil {
		return []any{"(unreadable: a dynamic block without for_each)"}
	}
	iterator := b.Labels[0]
	if named := b.Body.Attributes["iterator"]; named != nil {
		iterator = hcl.ExprAsKeyword(named.Expr)
	}
	repeated, err := m.each(attribute.Expr, s, iterator)
	if err != nil {
		return []any{"(unreadable: " + err.Error() + ")"}
	}
	all := []any{}
	for _, content := range b.Body.Blocks {
		for _, r := range repeated {
			all = append(all, m.body(content.Body, r.scope))
		}
	}
	return all
}

// At looks into an instance's values: names of members, and indices of lists. It is nil
// where there is nothing.
func (in Instance) At(steps ...any) any {
	var at any = in.Values
	for _, s := range steps {
		switch s := s.(type) {
		case string:
			members, _ := at.(map[string]any)
			at = members[s]
		case int:
			items, _ := at.([]any)
			if s >= len(items) {
				return nil
			}
			at = items[s]
		}
	}
	return at
}

// Text is At for text, and empty where there is none.
func (in Instance) Text(steps ...any) string {
	text, _ := in.At(steps...).(string)
	return text
}

// plain is the value as encoding/json has it.
func plain(v cty.Value) any {
	switch kind := v.Type(); {
	case !v.IsKnown():
		return Unknown
	case v.IsNull():
		return nil
	case kind == cty.String:
		return v.AsString()
	case kind == cty.Bool:
		return v.True()
	case kind == cty.Number:
		if n, exact := v.AsBigFloat().Int64(); exact == 0 {
			return n
		}
		f, _ := v.AsBigFloat().Float64()
		return f
	case kind.IsObjectType() || kind.IsMapType():
		members := map[string]any{}
		for it := v.ElementIterator(); it.Next(); {
			name, member := it.Element()
			members[name.AsString()] = plain(member)
		}
		return members
	case v.CanIterateElements():
		items := []any{}
		for it := v.ElementIterator(); it.Next(); {
			_, item := it.Element()
			items = append(items, plain(item))
		}
		return items
	}
	return Unknown
}
