package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

func (w world) file(name string) string { return filepath.Join(w.folder, name) }

// What is in the folder.
const (
	stateFile = "state.json"
	lockFile  = "lock"
	logFile   = "functions.log"
	seals     = "seals" // a folder: the audit log's seals, as they lie outside the database
)

// A state is how the running stack is reached. scripts/ops reads it too.
type state struct {
	PID                 int    `json:"pid"`
	GatewayURL          string `json:"gateway_url"`
	ClockURL            string `json:"clock_url"`
	ControlURL          string `json:"control_url"`
	StripeURL           string `json:"stripe_url"`
	PayPalURL           string `json:"paypal_url"`
	BankURL             string `json:"bank_url"`
	MetricsURL          string `json:"metrics_url"`
	DatabaseURL         string `json:"database_url"` // of an operator
	TasksAddr           string `json:"tasks_addr"`
	TasksLocation       string `json:"tasks_location"`
	TasksServiceAccount string `json:"service_account"`
	ResumeURL           string `json:"resume_url"`
	DeliverURL          string `json:"deliver_url"`
	SettleURL           string `json:"settle_url"`
	SealingKey          string `json:"sealing_key"`
	AuditSeals          string `json:"audit_seals"`
}

func stateOf(s *stack.Stack) state {
	tasks := s.TasksConfig()
	return state{
		PID:        os.Getpid(),
		GatewayURL: s.GatewayURL, ClockURL: s.ClockURL, ControlURL: s.ControlURL, MetricsURL: s.MetricsURL(),
		StripeURL: s.ProviderURL(stripe.Name), PayPalURL: s.ProviderURL(paypal.Name), BankURL: s.ProviderURL(bank.Name),
		DatabaseURL: s.OperatorURL,
		TasksAddr:   s.Tasks.Addr(), TasksLocation: tasks.Location, TasksServiceAccount: tasks.ServiceAccount,
		ResumeURL: tasks.ResumeURL, DeliverURL: tasks.DeliverURL, SettleURL: tasks.SettleURL,
		SealingKey: s.HostConfig().SealingKey, AuditSeals: s.HostConfig().AuditSeals,
	}
}

// A seat is the place of the one scripts/dev that the commands of others reach. Its lock ends with the process,
// however that ends, so what a killed one left behind stops nobody.
type seat struct {
	world
	lock *os.File
}

// takeSeat returns nil if another process has the seat.
func (w world) takeSeat() (*seat, error) {
	if err := os.MkdirAll(w.folder, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(w.file(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return &seat{w, lock}, nil
}

func (s *seat) tell(st state) error {
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	draft := s.file(stateFile + ".draft") // renamed, so that nobody reads half of it
	if err := os.WriteFile(draft, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(draft, s.file(stateFile))
}

func (s *seat) leave() {
	_ = os.Remove(s.file(stateFile))
	_ = s.lock.Close()
}

var errNoneRuns = errors.New("no scripts/dev is running here. Start one with: scripts/dev")

// readState finds the scripts/dev that is running.
func (w world) readState() (state, error) {
	text, err := os.ReadFile(w.file(stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return state{}, errNoneRuns
	}
	if err != nil {
		return state{}, err
	}
	empty, err := w.takeSeat()
	if err != nil {
		return state{}, err
	}
	if empty != nil { // what wrote the state was killed
		empty.leave()
		return state{}, errNoneRuns
	}
	var st state
	if err := json.Unmarshal(text, &st); err != nil {
		return state{}, fmt.Errorf("%s: %w", stateFile, err)
	}
	return st, nil
}
