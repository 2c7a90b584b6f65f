package main

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/control/controltest"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/controlplane"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// circuitRig is a local stack of which only the clock and the control plane run.
func circuitRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, root: t.TempDir(), clock: clock.NewFrozen(epoch), control: control.NewMemory()}
	clockServer := httptest.NewServer(r.clock.Handler())
	t.Cleanup(clockServer.Close)
	controlServer := httptest.NewServer(controlplane.Handler(r.control))
	t.Cleanup(controlServer.Close)
	r.writeState(state{ClockURL: clockServer.URL, ControlURL: controlServer.URL})
	return r
}

func (r *rig) breaker() *breaker.Breaker {
	return breaker.New(breaker.Options{Provider: "paypal", Store: r.control, Now: r.clock.Now, NewID: id.Source{Now: r.clock.Now}.New})
}

func (r *rig) circuit(provider string) circuitRow {
	r.t.Helper()
	for _, row := range asked[[]circuitRow](r, "circuits", "list") {
		if row.Provider == provider {
			return row
		}
	}
	r.t.Fatal("no circuit of " + provider)
	return circuitRow{}
}

func TestCircuitsAreForcedAndReset(t *testing.T) {
	t.Parallel()
	r := circuitRig(t)
	b := r.breaker()
	allowed := func() bool {
		r.advance(2 * time.Second)
		_, refused := b.Ask(t.Context())
		return refused == nil
	}
	if !allowed() {
		t.Fatal("refused at first")
	}
	out := r.ops("circuits", "force-open", "paypal", "--by", "ann", "--why", "they told us of maintenance")
	for _, words := range []string{"paypal", "open", "ann", "they told us of maintenance", "2 seconds"} {
		if !strings.Contains(out, words) {
			t.Errorf("no %q in\n%s", words, out)
		}
	}
	if allowed() {
		t.Error("allowed when forced open")
	}
	if row := r.circuit("paypal"); row.State != breaker.Open || row.Forced != breaker.ForcedOpen || row.By != "ann" || !row.Since.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("listed %+v", row)
	}
	if row := r.circuit("stripe"); row.State != breaker.Closed || row.Forced != "" || row.By != "" {
		t.Errorf("another provider: %+v", row)
	}
	r.ops("circuits", "force-closed", "paypal", "--by", "ann", "--why", "we try")
	if row := r.circuit("paypal"); row.State != breaker.Closed || row.Forced != breaker.ForcedClosed || !allowed() {
		t.Errorf("forced closed: %+v", row)
	}
	r.ops("circuits", "reset", "paypal", "--by", "bob", "--why", "all is well")
	if row := r.circuit("paypal"); row.State != breaker.Closed || row.Forced != "" || row.By != "bob" || row.Why != "all is well" || !allowed() {
		t.Errorf("reset: %+v", row)
	}
	for range 10 {
		p, refused := b.Ask(t.Context())
		if refused != nil {
			t.Fatal(refused.Why)
		}
		p.Done(t.Context(), breaker.Failed, time.Second)
	}
	if row := r.circuit("paypal"); row.State != breaker.Open || row.Forced != "" || !strings.Contains(row.Why, "10 of 10") || row.Until.IsZero() {
		t.Errorf("tripped: %+v", row)
	}
	if table := r.ops("circuits", "list"); !strings.HasPrefix(table, "PROVIDER ") || strings.Count(table, "\n") != 4 {
		t.Errorf("the table:\n%s", table)
	}
}

func TestACircuitIsNotForcedWithoutWhoAndWhy(t *testing.T) {
	t.Parallel()
	r := circuitRig(t)
	r.refused(exitUsage, "--why TEXT", "circuits", "force-open", "stripe", "--by", "ann")
	r.refused(exitUsage, "--by NAME", "circuits", "force-open", "stripe", "--why", "maintenance")
	r.refused(exitUsage, "stripe, paypal, bank", "circuits", "force-open", "strip", "--by", "ann", "--why", "maintenance")
	r.refused(exitUsage, "PROVIDER", "circuits", "reset", "--by", "ann", "--why", "maintenance")
	for _, row := range asked[[]circuitRow](r, "circuits", "list") {
		if row.Generation != 0 {
			t.Errorf("changed: %+v", row)
		}
	}
	r.writeState(state{})
	r.refused(exitFailed, "scripts/dev", "circuits", "list")
}

// On a deployment it is Firestore that is asked, and USER that says who.
func TestCircuitsOfADeployment(t *testing.T) {
	e := controltest.Start(t)
	t.Setenv("FIRESTORE_EMULATOR_HOST", e.Addr)
	store := e.Open(t, "deployed")
	var out, problems bytes.Buffer
	w := world{
		lookup: config.Map(map[string]string{"CONTROL_PROJECT": "deployed", "USER": "carol"}),
		now:    func() time.Time { return epoch }, root: t.TempDir(), out: &out, problems: &problems,
	}
	if code := run(t.Context(), w, []string{"circuits", "force-open", "bank", "--why", "a drill"}); code != exitDone {
		t.Fatalf("status %d: %s", code, problems.String())
	}
	c, err := breaker.Show(t.Context(), store, "bank")
	if err != nil || c.Forced == nil || c.Forced.By != "carol" || !c.Forced.At.Equal(epoch) {
		t.Errorf("%+v, %v", c.Forced, err)
	}
	w.lookup = config.Map(map[string]string{"DATABASE_URL": "postgres://nobody@localhost/none"})
	problems.Reset()
	if code := run(t.Context(), w, []string{"circuits", "list"}); code != exitFailed || !strings.Contains(problems.String(), "CONTROL_PROJECT") {
		t.Errorf("status %d: %s", code, problems.String())
	}
}
