package stack

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/api/option"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/deployment"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// theWorld is the repository as it is.
func theWorld(t *testing.T) world {
	t.Helper()
	files, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	asked, err := asks()
	if err != nil {
		t.Fatal(err)
	}
	read, err := readCode(files)
	if err != nil {
		t.Fatal(err)
	}
	return world{files: files, code: read, asks: asked, functions: functions, subscribers: subscribers, jobs: jobs, queues: queues()}
}

// repository has the files in memory, so that they can be changed.
var repository = sync.OnceValues(func() (fstest.MapFS, error) {
	root, files := os.DirFS("../../.."), fstest.MapFS{}
	for _, pattern := range []string{"terraform/*.tf", "terraform/environments/*.tfvars", "functions/openapi.yaml", "functions/*/*.go"} {
		names, err := fs.Glob(root, pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := fs.ReadFile(root, name)
			if err != nil {
				return nil, err
			}
			files[name] = &fstest.MapFile{Data: text}
		}
	}
	return files, nil
})

// code is what a function's source says of it.
type code struct {
	registers string   // the name under which it does
	handler   string   // what takes its calls: api.Handle, task.Push or task.Handler
	routes    []string // "METHOD /path", sorted
}

// readCode reads the folders of functions/.
func readCode(files fs.FS) (map[string]code, error) {
	names, err := fs.Glob(files, "functions/*/*.go")
	if err != nil {
		return nil, err
	}
	all := map[string]code{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := once(files, name, func(text []byte) (*ast.File, error) {
			return parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		})
		if err != nil {
			return nil, err
		}
		folder := path.Base(path.Dir(name))
		c := all[folder]
		ast.Inspect(file, c.see)
		slices.Sort(c.routes)
		all[folder] = c
	}
	return all, nil
}

// document reads the API's.
func document(files fs.FS) (*openapi3.T, error) {
	return once(files, "functions/openapi.yaml", func(text []byte) (*openapi3.T, error) { return openapi3.NewLoader().LoadFromData(text) })
}

// deployed reads what terraform deploys to production.
func deployed(files fs.FS) (*deployment.Deployment, error) {
	names, err := fs.Glob(files, "terraform/*.tf")
	if err != nil {
		return nil, err
	}
	var all strings.Builder
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		all.Write(text)
	}
	together := fstest.MapFS{"all": {Data: []byte(all.String())}}
	return once(together, "all", func([]byte) (*deployment.Deployment, error) { return deployment.Load(files, "production") })
}

// once parses a file of this content only once: in hundreds of worlds all files but one are
// the same.
func once[T any](files fs.FS, name string, parse func([]byte) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	text, err := fs.ReadFile(files, name)
	if err != nil {
		var none T
		return none, err
	}
	key := name + "\n" + string(text)
	if known, ok := parsed.Load(key); ok {
		return known.(result).value, known.(result).err
	}
	value, err := parse(text)
	parsed.Store(key, result{value, err})
	return value, err
}

var parsed sync.Map

func (c *code) see(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		switch called := selected(n.Fun); called {
		case "api.Function":
			c.registers = literal(n.Args[0])
		case "api.Handle":
			c.handler = called
			c.routes = append(c.routes, literal(n.Args[2]))
		case "api.HandleAll":
			c.handler = "api.Handle"
		case "task.Push", "task.Handler":
			c.handler = called
		}
	case *ast.CompositeLit:
		if selected(n.Type) != "api.Routes" {
			break
		}
		for _, e := range n.Elts {
			if pair, ok := e.(*ast.KeyValueExpr); ok {
				c.routes = append(c.routes, literal(pair.Key))
			}
		}
	}
	return true
}

// selected is "package.Name" of an expression that is one.
func selected(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	of, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return of.Name + "." + s.Sel.Name
}

func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok {
		if s, err := strconv.Unquote(lit.Value); err == nil {
			return s
		}
	}
	return "something else than a literal"
}

// sample is a configuration without a stack, as far as names of variables go.
func sample(function string) HostConfig {
	calls := map[string]string{
		"PROVIDERS": strings.Join(Providers(), ","), "STRIPE_SECRET_KEY": stripeKey, "STRIPE_API_BASE": "http://127.0.0.1:1",
		"PAYPAL_CLIENT_ID": paypalClientID, "PAYPAL_CLIENT_SECRET": paypalClientSecret, "PAYPAL_API_BASE": "http://127.0.0.1:1",
		"GOCARDLESS_ACCESS_TOKEN": bankToken, "GOCARDLESS_API_BASE": "http://127.0.0.1:1",
	}
	signatures := map[string]string{
		"PROVIDERS": strings.Join(Providers(), ","), "STRIPE_WEBHOOK_SECRETS": stripeWebhookSecret, "PAYPAL_WEBHOOK_ID": paypalWebhookID,
		"PAYPAL_WEBHOOK_CERT_BASE": "http://127.0.0.1:1", "GOCARDLESS_WEBHOOK_SECRETS": bankWebhookSecret,
	}
	return HostConfig{
		Databases: map[string]string{function: "postgres://x@127.0.0.1:1/x"}, Addresses: map[string]string{function: "x"}, IssuerURL: "http://127.0.0.1:1",
		Calls: calls, Signatures: signatures, SealingKey: strings.Repeat("A", 43) + "=", AuditSeals: "file:///seals",
	}
}

// asks runs each function's Build and notes what it asks for. It connects to nothing: a
// part does when it is first used.
var asks = sync.OnceValues(func() (map[string][]string, error) {
	all := map[string][]string{}
	for _, f := range functions {
		c := sample(f.name)
		for _, other := range functions { // whose addresses tasks are for
			c.Addresses[other.name] = "127.0.0.1:1"
		}
		given := f.variables(c)
		asked := map[string]bool{}
		env := testEnv(func(name string) (string, bool) {
			asked[name] = true
			value, ok := given[name]
			return value, ok
		})
		_, err := f.build(context.Background(), env)
		env.Lifecycle.Close(context.Background(), env.Log)
		if err != nil {
			return nil, err
		}
		all[f.name] = names(asked)
	}
	return all, nil
})

// testEnv is a world without anything at the other end.
func testEnv(lookup func(string) (string, bool)) api.Env {
	metrics, _ := telemetry.NewMetrics(noop.NewMeterProvider())
	return api.Env{
		Lookup: lookup, Now: time.Now, NewID: id.Source{Now: time.Now}.New, Metrics: metrics,
		Log:    slog.New(slog.DiscardHandler),
		Google: insecureAt("127.0.0.1:1"), Tasks: insecureAt("127.0.0.1:1"), KMS: insecureAt("127.0.0.1:1"), Firestore: insecureAt("127.0.0.1:1"),
		Storage: []option.ClientOption{option.WithoutAuthentication()}, Lifecycle: &api.Lifecycle{},
	}
}
