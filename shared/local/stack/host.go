package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/controlplane"
	"github.com/tollgate/tollgate/shared/telemetry"
	"github.com/tollgate/tollgate/shared/telemetry/prom"
)

// HostConfig is all that a Host has to know, as plain data: marshal it to JSON to run the functions in another
// process. Addresses are hosts with ports.
type HostConfig struct {
	Databases       map[string]string `json:"databases"`     // the URL of each function's own login
	Addresses       map[string]string `json:"addresses"`     // where each function listens
	AdminAddress    string            `json:"admin_address"` // of the Host itself
	PubSubAddress   string            `json:"pubsub_address"`
	TasksAddress    string            `json:"tasks_address"`
	ClockURL        string            `json:"clock_url"`
	ControlURL      string            `json:"control_url"` // of the control plane; empty: the Firestore that Calls name, if any
	IssuerURL       string            `json:"issuer_url"`  // of the callers' ID tokens
	Calls           map[string]string `json:"calls"`       // variables of the functions that call providers
	Signatures      map[string]string `json:"signatures"`  // variables of the function that providers call
	SealingKey      string            `json:"sealing_key"`
	WebhookSchedule string            `json:"webhook_schedule"` // empty: the functions' default
	AuditSeals      string            `json:"audit_seals"`      // where the audit log's seals are, as a URL
}

// URL is the address of a function: where it is called, and the audience of the tokens with which it is.
func (c HostConfig) URL(function string) string { return "http://" + c.Addresses[function] }

// HostOptions are what a Host gets from the process that it is in.
type HostOptions struct {
	Now  func() time.Time                        // nil: the clock at ClockURL
	Log  io.Writer                               // of JSON lines; nil: nowhere
	Hook func(ctx context.Context, point string) // see api.Env; FunctionOf tells in which function
}

// Host serves the functions, each as production does: built by its own Build with an environment of its own, mounted
// at the root of a listener of its own. Beside them is an address of its own:
//
//	GET  /activity   {"in_flight": …, "begun": …}: requests being answered, what is done after the answer included
//	POST /quiesce    answers when there was a moment without any
//	GET  /metrics    what the functions measured, as Prometheus text
type Host struct {
	now      func() time.Time
	shared   control.Store
	log      io.Writer
	activity activity
	servers  []*http.Server
	serving  errgroup.Group
	lives    []*api.Lifecycle
}

// StartHost builds the functions and serves them. It takes over addresses that the Stack has reserved, so a Host can
// be killed and started again at the same ones.
func StartHost(ctx context.Context, c HostConfig, o HostOptions) (_ *Host, err error) {
	h := &Host{now: o.Now, log: o.Log}
	if c.ControlURL != "" {
		h.shared = controlplane.NewClient(c.ControlURL)
	}
	if h.now == nil {
		h.now = clock.Remote(c.ClockURL)
	}
	if h.log == nil {
		h.log = io.Discard
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	meters, metrics := prom.New()
	instruments, err := telemetry.NewMetrics(meters)
	if err != nil {
		return nil, fmt.Errorf("stack: %w", err)
	}
	for _, f := range functions {
		env := h.env(f, c, o)
		env.Metrics = instruments
		h.lives = append(h.lives, env.Lifecycle)
		handler, err := f.build(ctx, env)
		if err != nil {
			return nil, fmt.Errorf("stack: build %s: %w", f.name, err)
		}
		if err := h.serve(f.name, c.Addresses[f.name], h.counted(h.contained(f.name, env.Log, handler))); err != nil {
			return nil, err
		}
	}
	if err := h.serve("admin", c.AdminAddress, h.admin(metrics)); err != nil {
		return nil, err
	}
	return h, nil
}

// env is the world of one function.
func (h *Host) env(f function, c HostConfig, o HostOptions) api.Env {
	variables := f.variables(c)
	return api.Env{
		Lookup: func(name string) (string, bool) {
			value, ok := variables[name]
			return value, ok
		},
		Now:     h.now,
		NewID:   id.Source{Now: h.now}.New,
		Log:     telemetry.NewLogger(h.log, slog.LevelInfo, f.name),
		Google:  insecureAt(c.PubSubAddress),
		Tasks:   insecureAt(c.TasksAddress),
		Control: h.shared,
		Hook:    o.Hook,

		Lifecycle: &api.Lifecycle{},
	}
}

func insecureAt(address string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(address),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

func (h *Host) serve(name, address string, handler http.Handler) error {
	l, err := listenReserved(address)
	if err != nil {
		return fmt.Errorf("stack: %s: %w", name, err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(telemetry.NewLogger(h.log, slog.LevelInfo, name).Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), functionKey{}, name)
		},
	}
	h.servers = append(h.servers, server)
	h.serving.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("stack: %s: %w", name, err)
		}
		return nil
	})
	return nil
}

type functionKey struct{}

// FunctionOf is the name of the function that a request's context belongs to, for hooks.
func FunctionOf(ctx context.Context) string {
	name, _ := ctx.Value(functionKey{}).(string)
	return name
}

// contained keeps a panic of one function from the others, and answers it as the Functions Framework does.
func (h *Host) contained(name string, log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				log.ErrorContext(r.Context(), "panic", "function", name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				w.Header().Set("X-Google-Status", "crash")
				http.Error(w, "A panic occurred during request handling. Please see logs for more details.", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// Stop ends the host once the requests under way are answered, or when ctx ends, whichever is first.
func (h *Host) Stop(ctx context.Context) error {
	var stopping errgroup.Group
	for _, server := range h.servers {
		stopping.Go(func() error { return server.Shutdown(ctx) })
	}
	if err := stopping.Wait(); err != nil {
		h.close()
		return fmt.Errorf("stack: stop the functions: %w", err)
	}
	err := h.serving.Wait()
	h.closeParts()
	return err
}

func (h *Host) close() {
	for _, server := range h.servers {
		_ = server.Close()
	}
	_ = h.serving.Wait()
	h.closeParts()
}

// closeParts closes what the functions have open, as production does at SIGTERM.
func (h *Host) closeParts() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	for _, life := range h.lives {
		life.Close(ctx, telemetry.NewLogger(h.log, slog.LevelWarn, "host"))
	}
}

const closeTime = 5 * time.Second
