package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
)

// stateFile is where scripts/dev says how its stack is reached.
const stateFile = ".dev/state.json"

// A state is what stateFile holds, as far as it is needed here.
type state struct {
	DatabaseURL         string `json:"database_url"` // of an operator
	TasksAddr           string `json:"tasks_addr"`
	TasksLocation       string `json:"tasks_location"`
	TasksServiceAccount string `json:"service_account"`
	ResumeURL           string `json:"resume_url"`
	DeliverURL          string `json:"deliver_url"`
	SettleURL           string `json:"settle_url"`
	SealingKey          string `json:"sealing_key"`
	AuditSeals          string `json:"audit_seals"`
	ClockURL            string `json:"clock_url"`
	ControlURL          string `json:"control_url"`
}

// settings are the state as the variables that a deployment would have.
func (s state) settings() func(string) (string, bool) {
	return config.Map(map[string]string{
		"DATABASE_URL":          s.DatabaseURL,
		"TASKS_ENDPOINT":        s.TasksAddr,
		"TASKS_LOCATION":        s.TasksLocation,
		"TASKS_SERVICE_ACCOUNT": s.TasksServiceAccount,
		"RESUME_URL":            s.ResumeURL,
		"DELIVER_URL":           s.DeliverURL,
		"SETTLE_URL":            s.SettleURL,
		"AUDIT_SEALS":           s.AuditSeals,
		"WEBHOOK_SEALING_KEY":   s.SealingKey,
		"WEBHOOK_ALLOW_LOCAL":   "true",
		"CONTROL_URL":           s.ControlURL,
	})
}

// A target is where a command works, as far as flags say.
type target struct{ databaseURL, tasksLocation, controlProject *string }

func targetFlags(f *flag.FlagSet) target {
	return target{f.String("database-url", "", ""), f.String("tasks-location", "", ""), f.String("control-project", "", "")}
}

// A session is the deployment that a command works on. It connects when it is first
// asked to.
type session struct {
	settings func(string) (string, bool)
	now      func() time.Time
	newID    func() id.ID
	user     string // who runs the command, as far as the machine says
	local    bool
	out      io.Writer // for what a command says before it ends
	asJSON   bool

	pool    *pgxpool.Pool
	closers []func()
}

// open chooses the deployment, all of it in one place: never one's database and
// another's queues.
func open(w world, t target) (*session, error) {
	given := func(name string) (string, bool) {
		switch {
		case name == "DATABASE_URL" && *t.databaseURL != "":
			return *t.databaseURL, true
		case name == "TASKS_LOCATION" && *t.tasksLocation != "":
			return *t.tasksLocation, true
		case name == "CONTROL_PROJECT" && *t.controlProject != "":
			return *t.controlProject, true
		}
		return w.lookup(name)
	}
	s := &session{settings: given, now: w.now, out: w.out}
	s.user, _ = w.lookup("USER")
	if !names(given) {
		local, err := readState(filepath.Join(w.root, stateFile))
		if err != nil {
			return nil, err
		}
		s.settings, s.local = local.settings(), true
		if local.ClockURL != "" {
			s.now = clock.Remote(local.ClockURL)
		}
	}
	s.newID = id.Source{Now: s.now}.New
	return s, nil
}

// names reports whether the settings name a deployment.
func names(settings func(string) (string, bool)) bool {
	for _, name := range []string{"DATABASE_URL", "DATABASE_URL_FILE", "TASKS_LOCATION", "CONTROL_PROJECT"} {
		if v, _ := settings(name); v != "" {
			return true
		}
	}
	return false
}

func readState(path string) (state, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, errors.New("which deployment? Start the local stack with scripts/dev, or name another by --database-url, --tasks-location and --control-project (or DATABASE_URL, TASKS_LOCATION and CONTROL_PROJECT)")
	}
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return state{}, fmt.Errorf("%s is not what scripts/dev writes: %w", path, err)
	}
	return s, nil
}

func (s *session) close() {
	for _, c := range s.closers {
		c()
	}
}

// db connects to the database, once.
func (s *session) db(ctx context.Context) (*pgxpool.Pool, error) {
	if s.pool != nil {
		return s.pool, nil
	}
	c, err := config.Load[postgres.Config](s.settings)
	if err != nil {
		return nil, err
	}
	pool, err := postgres.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, pool.Close)
	if err := pool.Ping(ctx); err != nil {
		return nil, fmt.Errorf("the database does not answer (%s): %w", s.hint("DATABASE_URL"), err)
	}
	s.pool = pool
	return pool, nil
}

// tasksOptions reach Cloud Tasks: Google's, or one at an address of its own. The
// client would try for a long time what does not listen, so that is found out first.
func (s *session) tasksOptions(ctx context.Context) ([]option.ClientOption, error) {
	endpoint, _ := s.settings("TASKS_ENDPOINT")
	if endpoint == "" {
		return nil, nil
	}
	conn, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return nil, fmt.Errorf("the queues do not answer (%s): %w", s.hint("TASKS_ENDPOINT"), err)
	}
	_ = conn.Close()
	return []option.ClientOption{
		option.WithEndpoint(endpoint),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}, nil
}

// hint says what to do about a part of the deployment that is not there.
func (s *session) hint(variable string) string {
	if s.local {
		return "the local stack of " + stateFile + " is gone: start scripts/dev again"
	}
	return "check " + variable
}

// location is where the queues are.
type location struct {
	Name string `env:"TASKS_LOCATION,required,notEmpty" desc:"projects/P/locations/L" who:"you, or --tasks-location"`
}

// queues makes the client of Cloud Tasks that looks at tasks and runs them.
func (s *session) queues(ctx context.Context) (*queues, error) {
	c, err := config.Load[location](s.settings)
	if err != nil {
		return nil, err
	}
	options, err := s.tasksOptions(ctx)
	if err != nil {
		return nil, err
	}
	client, err := cloudtasks.NewClient(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open Cloud Tasks: %w", err)
	}
	s.closers = append(s.closers, func() { _ = client.Close() })
	return &queues{client: client, location: c.Name}, nil
}

// tasks makes the client of Cloud Tasks that makes tasks, as the functions do.
func (s *session) tasks(ctx context.Context) (*outbox.Tasks, error) {
	c, err := config.Load[outbox.TasksConfig](s.settings)
	if err != nil {
		return nil, err
	}
	options, err := s.tasksOptions(ctx)
	if err != nil {
		return nil, err
	}
	tasks, err := outbox.OpenTasks(ctx, c, options...)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = tasks.Close() })
	return tasks, nil
}
