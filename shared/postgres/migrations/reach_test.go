package migrations_test

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"regexp"
	"strings"
)

// Statements are constants in Go. Those that a function can send are the ones that its Build refers to, and what that
// refers to in turn. A method called through an interface is that of every type which has it and turns up on the way.
// That is more than can really happen, by a little, and never less, but for what the functions hand to a library to be
// called by it: there, calledBack names the methods that matter.
var calledBack = []string{"ServeHTTP", "Next", "Values", "Err", "Write", "Close"}

// reached is what can be sent.
type reached struct {
	statements map[string]string   // the text, and a function that has it
	assembled  map[string][]string // by functions and variables that put statements together: the texts, as far as they are known
}

// facts are what one function, or one variable, refers to.
type facts struct {
	refers     []types.Object // functions and variables of ours
	dynamic    []*types.Func  // methods of interfaces
	types      []*types.Named
	statements []string
	assembled  []string
}

// reach follows what is referred to from a package: from one of its functions, and from its init functions.
func (p *program) reach(path, function string) reached {
	w := walk{program: p, seen: map[types.Object]bool{}, found: reached{map[string]string{}, map[string][]string{}}}
	own := p.packages[module+path]
	w.enter(own.Scope().Lookup(function))
	for _, body := range p.inits[own] {
		w.take("init", p.facts(body))
	}
	for w.step() {
	}
	return w.found
}

type walk struct {
	*program
	seen    map[types.Object]bool
	todo    []types.Object
	types   []*types.Named // that turned up
	dynamic []*types.Func  // that are called
	found   reached
}

func (w *walk) enter(o types.Object) {
	if f, ok := o.(*types.Func); ok {
		o = f.Origin() // of what is generic
	}
	if !w.seen[o] {
		w.seen[o] = true
		w.todo = append(w.todo, o)
	}
}

// step takes what is to be done, or else joins interfaces and types, and reports whether there was anything.
func (w *walk) step() bool {
	if n := len(w.todo); n > 0 {
		o := w.todo[n-1]
		w.todo = w.todo[:n-1]
		if body := w.bodies[o]; body != nil {
			w.take(nameOf(o), w.facts(body))
		}
		return true
	}
	for _, t := range w.types {
		pointer := types.NewPointer(t)
		for _, m := range w.dynamic {
			if of, ok := m.Signature().Recv().Type().Underlying().(*types.Interface); ok && types.Implements(pointer, of) {
				w.method(pointer, m.Pkg(), m.Name())
			}
		}
		for _, name := range calledBack {
			w.method(pointer, nil, name)
		}
	}
	return len(w.todo) > 0
}

func (w *walk) method(of types.Type, in *types.Package, name string) {
	if o, _, _ := types.LookupFieldOrMethod(of, true, in, name); o != nil {
		if m, ok := o.(*types.Func); ok {
			w.enter(m)
		}
	}
}

func (w *walk) take(name string, f facts) {
	for _, o := range f.refers {
		w.enter(o)
	}
	for _, m := range f.dynamic {
		if !w.seen[m] {
			w.seen[m] = true
			w.dynamic = append(w.dynamic, m)
		}
	}
	for _, t := range f.types {
		if !w.seen[t.Obj()] {
			w.seen[t.Obj()] = true
			w.types = append(w.types, t)
		}
	}
	for _, text := range f.statements {
		w.found.statements[text] = name
	}
	if len(f.assembled) > 0 {
		w.found.assembled[name] = f.assembled
	}
}

// nameOf is such as (*shared/payment.Service).Create.
func nameOf(o types.Object) string {
	if f, ok := o.(*types.Func); ok {
		return strings.ReplaceAll(f.FullName(), module, "")
	}
	return strings.TrimPrefix(o.Pkg().Path(), module) + "." + o.Name()
}

// statement is how all of ours begin.
var statement = regexp.MustCompile(`^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|TRUNCATE|COPY|LOCK|MERGE|CREATE|ALTER|DROP|SET|RESET|GRANT|DO|CALL|VALUES|LISTEN|NOTIFY)\s`)

func (p *program) facts(body ast.Node) (f facts) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			p.refer(&f, p.info.Uses[n])
		case *ast.SelectorExpr:
			if n.Sel.Name == "CopyFrom" {
				f.assembled = append(f.assembled, n.Sel.Name)
			}
		case *ast.CallExpr:
			if p.formatsStatement(n) {
				f.assembled = append(f.assembled, constant.StringVal(p.info.Types[n.Args[0]].Value))
				for _, arg := range n.Args[1:] {
					f.add(p.facts(arg))
				}
				return false
			}
		case *ast.BinaryExpr:
			if p.info.Types[n].Value == nil && n.Op == token.ADD && p.isStatement(parts(n)[0]) {
				f.assembled = append(f.assembled, p.assemble(n, func(unknown ast.Expr) { f.add(p.facts(unknown)) }))
				return false
			}
		}
		if e, ok := n.(ast.Expr); ok {
			tv := p.info.Types[e]
			f.types = appendNamed(f.types, tv.Type)
			if tv.Value != nil && tv.Value.Kind() == constant.String {
				if text := constant.StringVal(tv.Value); statement.MatchString(text) {
					f.statements = append(f.statements, text)
				}
				return false
			}
		}
		return true
	})
	return f
}

func (f *facts) add(g facts) {
	f.refers, f.dynamic, f.types = append(f.refers, g.refers...), append(f.dynamic, g.dynamic...), append(f.types, g.types...)
	f.statements, f.assembled = append(f.statements, g.statements...), append(f.assembled, g.assembled...)
}

func (p *program) refer(f *facts, o types.Object) {
	switch o := o.(type) {
	case *types.Func:
		if recv := o.Signature().Recv(); recv != nil && types.IsInterface(recv.Type()) {
			f.dynamic = append(f.dynamic, o)
		} else if ours(o) {
			f.refers = append(f.refers, o)
		}
	case *types.Var:
		if ours(o) && o.Parent() == o.Pkg().Scope() {
			f.refers = append(f.refers, o)
		}
	}
}

func ours(o types.Object) bool { return o.Pkg() != nil && strings.HasPrefix(o.Pkg().Path(), module) }

// appendNamed adds the types of ours that a type is of: itself, or what it points to or has many of.
func appendNamed(all []*types.Named, t types.Type) []*types.Named {
	switch t := t.(type) {
	case *types.Named:
		if ours(t.Obj()) && !types.IsInterface(t) && t.TypeArgs() == nil && t.NumMethods()+embedded(t) > 0 {
			return append(all, t)
		}
	case *types.Pointer:
		return appendNamed(all, t.Elem())
	case *types.Slice:
		return appendNamed(all, t.Elem())
	case *types.Array:
		return appendNamed(all, t.Elem())
	case *types.Map:
		return appendNamed(all, t.Elem())
	}
	return all
}

// embedded counts what a struct has methods by, beside its own.
func embedded(t *types.Named) (n int) {
	if s, ok := t.Underlying().(*types.Struct); ok {
		for i := range s.NumFields() {
			if s.Field(i).Embedded() {
				n++
			}
		}
	}
	return n
}

// formatsStatement reports whether a call is of Sprintf with a statement's text.
func (p *program) formatsStatement(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Sprintf" && len(call.Args) > 1 && p.isStatement(call.Args[0])
}

func (p *program) isStatement(e ast.Expr) bool {
	v := p.info.Types[e].Value
	return v != nil && v.Kind() == constant.String && statement.MatchString(constant.StringVal(v)+" ")
}

// assemble puts a text together of constants and of variables that are. What is only known when the program runs is
// taken to be a value.
func (p *program) assemble(sum ast.Expr, unknown func(ast.Expr)) (text string) {
	for _, part := range parts(sum) {
		if v := p.info.Types[part].Value; v != nil {
			text += constant.StringVal(v)
			continue
		}
		if name, ok := part.(*ast.Ident); ok {
			if value, ok := p.bodies[p.info.Uses[name]].(ast.Expr); ok {
				text += p.assemble(value, unknown)
				continue
			}
		}
		unknown(part)
		text += " NULL "
	}
	return text
}

// parts are what a sum is of.
func parts(e ast.Expr) []ast.Expr {
	if sum, ok := e.(*ast.BinaryExpr); ok && sum.Op == token.ADD {
		return append(parts(sum.X), parts(sum.Y)...)
	}
	return []ast.Expr{e}
}
