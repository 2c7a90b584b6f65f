// Package stack is the local system: the functions as they are deployed, and stand-ins for all that Google and the
// provider do around them, on loopback and on one clock.
//
// It has two halves. A Host serves the functions, in this process or in another that may be killed at any instant. A
// Stack is everything else: PostgreSQL, the clock, the issuer of ID tokens, Cloud Tasks, Pub/Sub, the scheduler, the
// providers' simulators and the API gateway. The names, limits and accounts are those of terraform.
//
// It owns no behaviour of its own beyond the wiring: what the system does it does here by the same code as in
// production, each function with a login of its own in the database. It is for tests and scripts/dev, and never linked
// into a deployed function.
package stack

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/cloudtasks"
	"github.com/tollgate/tollgate/shared/local/controlplane"
	"github.com/tollgate/tollgate/shared/local/oidc"
	"github.com/tollgate/tollgate/shared/local/pubsubpush"
	"github.com/tollgate/tollgate/shared/local/scheduler"
	"github.com/tollgate/tollgate/shared/postgres/migrations"
	"github.com/tollgate/tollgate/shared/postgres/pglocal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// Epoch is where a clock starts that nobody chose.
var Epoch = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// Options say how a stack differs from the usual one.
type Options struct {
	// DatabaseURL names a database for this stack alone, with a superuser's rights, migrated or empty.
	// Empty: a PostgreSQL server of the stack's own.
	DatabaseURL string

	Clock *clock.Clock // nil: frozen at Epoch
	Run   bool         // what falls due is done by itself; else only by Settle and Advance

	// ExternalHost leaves the functions to a Host that the caller starts by HostConfig, as in another process.
	ExternalHost bool
	Hook         func(ctx context.Context, point string) // see HostOptions; not with ExternalHost
	Log          io.Writer                               // of the functions, JSON lines; nil: nowhere

	GatewayAddress string // empty: any that is free
	OpenAPI        []byte // empty: functions/openapi.yaml of the repository around the working directory
	// Violation is told of each answer, and each accepted request, that does not fit the document; nil: nobody looks.
	// It is called concurrently.
	Violation func(error)

	Jobs            []string      // the scheduled jobs that run; nil: all of them
	SweepSchedule   string        // cron, in UTC; empty: each minute
	BankDelay       time.Duration // until a transfer that the payer authorized is confirmed; 0: ten minutes
	WebhookSchedule string        // waits between attempts; empty: the functions' default
	PubSubChaos     pubsubpush.Chaos
	TasksChaos      cloudtasks.Chaos
	Seed            uint64 // of the simulators' identifiers
	SealsFolder     string // for the audit log's seals; empty: one of the stack's own, gone when it ends

	// Calls are more variables of the functions that call providers, such as timeouts.
	Calls map[string]string
}

// Stack is a running local system.
type Stack struct {
	Clock   *clock.Clock
	Tasks   *cloudtasks.Server
	PubSub  *pubsubpush.Server
	Tokens  *oidc.Issuer
	Control *control.Memory // the control plane's documents

	// The providers.
	Stripe *providersim.Stripe
	PayPal *providersim.PayPal
	Bank   *providersim.GoCardless

	// DB is a superuser's, for looking and for what operators do. The functions have their own connections.
	DB *pgxpool.Pool

	// Where things are served.
	GatewayURL  string // to merchants, and to the providers
	DatabaseURL string // to a superuser
	OperatorURL string // the database's, to scripts/ops
	ClockURL    string
	IssuerURL   string
	ControlURL  string

	host       *Host // nil when it is elsewhere
	hosts      HostConfig
	jobs       *scheduler.Scheduler
	places     []*place
	simulators []simulator     // as Providers lists them
	server     *pglocal.Server // nil when the database was given
	logins     []migrations.Login
	databases  map[string]string // the database's URL to each function
	newID      func() id.ID
	undo       []func() // in order of making; run backwards
}

// Start starts a stack. It returns when everything answers, but for an external host.
func Start(ctx context.Context, o Options) (_ *Stack, err error) {
	s := &Stack{Clock: o.Clock}
	if s.Clock == nil {
		s.Clock = clock.NewFrozen(Epoch)
	}
	s.newID = id.Source{Now: s.Clock.Now}.New
	defer func() {
		if err != nil {
			s.Stop()
			err = fmt.Errorf("stack: %w", err)
		}
	}()
	s.defers(s.closeDatabase)
	database := make(chan error, 1)
	go func() { database <- s.openDatabase(ctx, o.DatabaseURL) }()
	err = s.startServices(ctx, o)
	if err = errors.Join(<-database, err); err != nil {
		return nil, err
	}
	if s.hosts, err = s.hostConfig(o); err != nil {
		return nil, err
	}
	if err := s.connect(ctx, o); err != nil {
		return nil, err
	}
	if !o.ExternalHost {
		if s.host, err = StartHost(ctx, s.hosts, HostOptions{Now: s.Clock.Now, Log: o.Log, Hook: o.Hook}); err != nil {
			return nil, err
		}
		s.defers(s.stopHost)
	}
	s.registerParticipants()
	if o.Run {
		s.run()
	}
	return s, nil
}

// Stop ends everything. Stopping twice is harmless.
func (s *Stack) Stop() {
	undo := s.undo
	s.undo = nil
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
}

func (s *Stack) defers(undo func()) { s.undo = append(s.undo, undo) }

func (s *Stack) stopHost() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	_ = s.host.Stop(ctx) // what did not end by then is broken off
}

// startServices starts what the functions call and are called by, but for the gateway.
func (s *Stack) startServices(ctx context.Context, o Options) (err error) {
	if s.ClockURL, err = s.serve(s.Clock.Handler(), "", cut); err != nil {
		return err
	}
	if err := s.startIssuer(); err != nil {
		return err
	}
	if err := s.startProviders(o); err != nil {
		return err
	}
	if err := s.startControl(); err != nil {
		return err
	}
	s.Tasks, err = cloudtasks.New(cloudtasks.Options{
		Now: s.Clock.Now, Token: s.Tokens.Token, Wake: s.Clock.Wake, Chaos: o.TasksChaos,
	})
	if err != nil {
		return err
	}
	s.defers(s.Tasks.Close)
	s.PubSub, err = pubsubpush.New(pubsubpush.Options{
		Now: s.Clock.Now, Token: s.Tokens.Token, Wake: s.Clock.Wake, Chaos: o.PubSubChaos,
	})
	if err != nil {
		return err
	}
	s.defers(s.PubSub.Close)
	return nil
}

// startControl serves the control plane.
func (s *Stack) startControl() error {
	places, err := s.reserve(ControlPlane)
	if err != nil {
		return err
	}
	s.Control, s.ControlURL = control.NewMemory(), places[0].url()
	return places[0].open(controlplane.Handler(s.Control))
}

// startIssuer serves the issuer at the address that its tokens name.
func (s *Stack) startIssuer() (err error) {
	var late lateHandler
	if s.IssuerURL, err = s.serve(&late, "", cut); err != nil {
		return err
	}
	if s.Tokens, err = oidc.New(s.IssuerURL, s.Clock.Now); err != nil {
		return err
	}
	late.set(s.Tokens.Handler())
	return nil
}

func (s *Stack) hostConfig(o Options) (HostConfig, error) {
	addresses, admin, err := s.reserveHost()
	if err != nil {
		return HostConfig{}, err
	}
	seals, err := s.sealsFolder(o)
	if err != nil {
		return HostConfig{}, err
	}
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing) // never fails
	c := HostConfig{
		Databases: s.databases, Addresses: addresses, AdminAddress: admin,
		PubSubAddress: s.PubSub.Addr(), TasksAddress: s.Tasks.Addr(), ClockURL: s.ClockURL, IssuerURL: s.IssuerURL, ControlURL: s.ControlURL,
		Calls: s.accounts(), Signatures: s.signatures(),
		SealingKey: base64.StdEncoding.EncodeToString(sealing), WebhookSchedule: o.WebhookSchedule,
		AuditSeals: (&url.URL{Scheme: "file", Path: seals}).String(),
	}
	maps.Copy(c.Calls, o.Calls)
	return c, nil
}

// sealsFolder is where the seals go, which production keeps outside the database too.
func (s *Stack) sealsFolder(o Options) (string, error) {
	if o.SealsFolder != "" {
		return filepath.Abs(o.SealsFolder)
	}
	folder, err := os.MkdirTemp("", "tollgate-seals-")
	if err == nil {
		s.defers(func() { _ = os.RemoveAll(folder) })
	}
	return folder, err
}

// connect makes what leads to the functions: queues, topics, subscriptions, jobs, routes.
func (s *Stack) connect(ctx context.Context, o Options) error {
	for _, make := range []func(context.Context, Options) error{s.createQueues, s.createTopics, s.createJobs, s.openGateway} {
		if err := make(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// HostConfig is what a Host of this stack needs.
func (s *Stack) HostConfig() HostConfig { return s.hosts }

// MetricsURL shows what the functions measured, as Prometheus text.
func (s *Stack) MetricsURL() string { return "http://" + s.hosts.AdminAddress + "/metrics" }

const hostPoll = 10 * time.Millisecond

// AwaitHost waits until an external host answers.
func (s *Stack) AwaitHost(ctx context.Context) error {
	tick := time.NewTicker(hostPoll)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.hosts.AdminAddress+"/activity", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("stack: the host does not answer: %w", errors.Join(ctx.Err(), err))
		}
	}
}
