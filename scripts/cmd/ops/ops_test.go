package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// An endpoint is down, its delivery is given up, and an operator brings it there.
func TestAWaitingAttemptIsRunAndAGivenUpDeliveryIsRedelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant("--webhook-url", r.endpoint.url)
	r.endpoint.setDown(true)
	r.notify(r.pay(m))
	r.advance(0) // the first attempt

	type task struct {
		Queue, Task string
		DueAt       time.Time `json:"due_at"`
	}
	waiting := asked[[]task](r, "tasks", "list", "--queue", "webhooks")
	if len(waiting) != 1 || waiting[0].Queue != "webhooks" || waiting[0].DueAt.Before(epoch.Add(time.Minute)) {
		t.Fatalf("the second attempt waits as %+v", waiting)
	}
	if out := r.ops("tasks", "list"); !strings.Contains(out, waiting[0].Task) || !strings.HasPrefix(out, "QUEUE ") {
		t.Errorf("the table:\n%s", out)
	}
	delivery := regexp.MustCompile(`whd_[0-9a-z]{26}`).FindString(waiting[0].Task)
	r.refused(exitFailed, "still being tried", "deliveries", "redeliver", delivery)
	r.ops("tasks", "run", waiting[0].Task) // long before it is due
	r.refused(exitFailed, "no task", "tasks", "run", waiting[0].Task)

	type given struct {
		ID, Status, Task string
		Attempts         int
		Code             int              `json:"response_code"`
		Log              []map[string]any `json:"attempt_log"`
	}
	lost := asked[[]given](r, "deliveries", "list", "--exhausted")
	if len(lost) != 1 || lost[0].ID != delivery || lost[0].Attempts != 2 || lost[0].Code != 503 {
		t.Fatalf("given up: %+v", lost)
	}
	shown := r.ops("deliveries", "show", delivery)
	if !strings.Contains(shown, "status_5xx") || !strings.Contains(shown, "closed for") || strings.Contains(shown, "\x1b") {
		t.Errorf("shown:\n%q", shown)
	}

	r.endpoint.setDown(false)
	if out := r.ops("deliveries", "redeliver", delivery); !strings.Contains(out, "Attempt 3") {
		t.Errorf("said %s", out)
	}
	if after := asked[given](r, "deliveries", "show", delivery); after.Status != "PENDING" || !strings.Contains(after.Task, delivery) {
		t.Errorf("while the task waits: %+v", after)
	}
	r.advance(0)
	if after := asked[given](r, "deliveries", "show", delivery); after.Status != "DELIVERED" || len(after.Log) != 3 || r.endpoint.received() != 1 {
		t.Errorf("in the end: %+v, received %d", after, r.endpoint.received())
	}
	r.ops("deliveries", "redeliver", delivery) // the merchant lost it, say
	r.advance(0)
	if after := asked[given](r, "deliveries", "show", delivery); after.Status != "DELIVERED" || len(after.Log) != 4 || r.endpoint.received() != 2 {
		t.Errorf("sent once more: %+v, received %d", after, r.endpoint.received())
	}
	if out := r.ops("deliveries", "list", "--exhausted"); !strings.Contains(out, "No deliveries") {
		t.Errorf("in the end:\n%s", out)
	}
}

// Stripe's answer is lost: the operation is open, and an operator has it carried on.
func TestAnOpenOperationIsListedAndResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	if out := r.ops("sagas", "list"); !strings.Contains(out, "Every operation is done") {
		t.Errorf("at first:\n%s", out)
	}
	var lost []string
	for range 2 {
		if err := r.sim.Inject(providersim.Rule{Operation: providersim.Authorize, Fault: providersim.Fault{Kind: providersim.DropAfter}}); err != nil {
			t.Fatal(err)
		}
		lost = append(lost, r.pay(m))
		r.advance(time.Second)
	}
	type open struct {
		ID      string
		Payment string `json:"payment_id"`
		State   string
	}
	sagas := asked[[]open](r, "sagas", "list")
	if len(sagas) != 2 || sagas[0].Payment != lost[0] || sagas[1].Payment != lost[1] || sagas[0].State != "unknown" {
		t.Fatalf("open: %+v, of %v", sagas, lost)
	}
	if first := asked[[]open](r, "sagas", "list", "--limit", "1"); len(first) != 1 || first[0] != sagas[0] {
		t.Errorf("the oldest: %+v", first)
	}
	r.ops("sagas", "resume", sagas[0].ID)
	waiting := asked[[]map[string]any](r, "tasks", "list")
	if len(waiting) != 1 || waiting[0]["queue"] != "provider-stripe" || !strings.Contains(fmt.Sprint(waiting[0]["task"]), sagas[0].ID) {
		t.Errorf("waiting: %v", waiting)
	}
	r.advance(0)
	type shown struct {
		Payment struct{ Status string }
		Sagas   []struct{ State, Outcome, Rule string }
	}
	after := asked[shown](r, "payments", "show", lost[0])
	if after.Payment.Status != "AUTHORIZED" || len(after.Sagas) != 1 || after.Sagas[0].Rule != payment.RuleReplay {
		t.Errorf("resumed: %+v", after)
	}
	r.refused(exitFailed, `its outcome is "approved"`, "sagas", "resume", sagas[0].ID)
	r.refused(exitFailed, "no saga", "sagas", "resume", r.payments.NewID().String())
	r.refused(exitUsage, "UUID", "sagas", "resume", lost[0])

	// A worker holds the other one.
	_, err := r.pool.Exec(t.Context(), `UPDATE transaction_saga SET state = 'leased', lease_token = $2, lease_until = $3, due_at = NULL WHERE id = $1`,
		sagas[1].ID, r.payments.NewID(), r.clock.Now().Add(20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	r.refused(exitFailed, "holds it until 2027-03-01T09:00:22.000Z", "sagas", "resume", sagas[1].ID)
	r.advance(time.Minute) // the worker is dead
	r.ops("sagas", "resume", sagas[1].ID)
}

// A decline leaves an object at Stripe, which must be cancelled.
func TestWhatMustBeReleasedIsListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	if out := r.ops("obligations", "list"); !strings.Contains(out, "Nothing is to be released") {
		t.Errorf("at first:\n%s", out)
	}
	declined := r.payBy(m, "pm_card_visa_chargeDeclined")
	type open struct {
		ID, Kind, Reference string
		Payment             string `json:"payment_id"`
	}
	owed := asked[[]open](r, "obligations", "list")
	if len(owed) != 1 || owed[0].Payment != declined || owed[0].Kind != "void" || !strings.HasPrefix(owed[0].Reference, "pi_") {
		t.Fatalf("owed: %+v", owed)
	}
	if out := r.ops("payments", "show", declined); !regexp.MustCompile(`void +` + owed[0].Reference + ` +0 .* open`).MatchString(out) {
		t.Errorf("the payment:\n%s", out)
	}
	obligation, err := id.Parse(owed[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.payments.Discharge(t.Context(), obligation); err != nil {
		t.Fatal(err)
	}
	if left := asked[[]open](r, "obligations", "list"); len(left) != 0 {
		t.Errorf("in the end: %+v", left)
	}
}

func TestAPaymentIsShownWithAllThatIsKnownOfIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant("--webhook-url", r.endpoint.url)
	p := r.pay(m)
	r.notify(p)
	r.advance(0)
	text := r.ops("payments", "show", p)
	for _, form := range []string{
		`(?m)^payment +` + p + `$`, `(?m)^merchant name +Demo shop$`, `(?m)^status +AUTHORIZED$`, `(?m)^previous status +PENDING$`,
		`(?m)^authorized +5000$`, `(?m)^currency +JPY$`, `(?m)^provider transaction +pi_\w+$`,
		`(?m)^Refunds\n\nnone$`, `authorize +- +done +approved`, `authorization +pi_\w+ +authorized +5000 +call +applied`,
		`(?m)^1 +evt_\w+ +payment.authorized`, `whd_\w+ +we_\w+ +DELIVERED +1 +200`,
		`change +payment +1 +create +merchant:`, `change +payment +2 +authorization.authorized`,
	} {
		if !regexp.MustCompile(form).MatchString(text) {
			t.Errorf("no %s in\n%s", form, text)
		}
	}
	uuid, err := id.Payment.Parse(p)
	if err != nil {
		t.Fatal(err)
	}
	if again := r.ops("payments", "show", uuid.String()); again != text { // as logs name it
		t.Errorf("by its UUID:\n%s", again)
	}
	all := asked[map[string]any](r, "payments", "show", p)
	for _, part := range []string{"refunds", "sagas", "attempts", "provider_responses", "provider_facts", "provider_events", "obligations", "events", "deliveries", "audit_log"} {
		if _, isList := all[part].([]any); !isList {
			t.Errorf("%s is %v", part, all[part])
		}
	}
	r.refused(exitFailed, "no payment", "payments", "show", id.Payment.External(r.payments.NewID()))
	r.refused(exitUsage, "pay_…", "payments", "show", "order-17")
}

func TestWrongCommandLinesSaySoAndDoNothing(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, root: t.TempDir()}
	r.refused(exitUsage, "no command", "merchants", "delete")
	r.refused(exitUsage, "no command", "merchant")
	r.refused(exitUsage, "-force", "merchants", "list", "--force")
	r.refused(exitUsage, "usage: scripts/ops keys revoke KEY", "keys", "revoke")
	r.refused(exitUsage, "usage: ", "merchants", "list", "all")
	r.refused(exitFailed, "scripts/dev", "merchants", "list") // no stack, and nothing else is named
}

func TestUsageShowsEveryCommand(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, root: t.TempDir()}
	all := r.ops("--help")
	for _, c := range commands {
		if !strings.Contains(all, c.line()+"\n") {
			t.Errorf("no %s in the usage", c.line())
		}
		for _, args := range [][]string{{"--help"}, {"-h"}} {
			if one := r.ops(append(strings.Fields(c.name), args...)...); !strings.Contains(one, c.does) || strings.Count(one, "scripts/ops ") > 2 {
				t.Errorf("usage of %s:\n%s", c.name, one)
			}
		}
	}
	if keys := r.ops("keys"); strings.Contains(keys, "merchants create") || !strings.Contains(keys, "keys revoke") {
		t.Errorf("usage of keys:\n%s", keys)
	}
}

// A deployment that is named wholly or in part is never mixed with the local stack.
func TestANamedDeploymentIsTheOnlyOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	local, err := readState(r.root + "/" + stateFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		want string
	}{
		{"the database by the environment", map[string]string{"DATABASE_URL": local.DatabaseURL}, []string{"merchants", "list"}, exitDone, ""},
		{"the database by a flag", nil, []string{"merchants", "list", "--database-url", local.DatabaseURL}, exitDone, ""},
		{"a flag wins", map[string]string{"DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/x"}, []string{"merchants", "list", "--database-url", local.DatabaseURL}, exitDone, ""},
		{"nobody there", map[string]string{"DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/x"}, []string{"merchants", "list"}, exitFailed, "check DATABASE_URL"},
		{"not a URL", map[string]string{"DATABASE_URL": "postgres://u:hunter2@[x"}, []string{"merchants", "list"}, exitFailed, "DATABASE_URL is not"},
		{"its queues are not named", map[string]string{"DATABASE_URL": local.DatabaseURL}, []string{"tasks", "list"}, exitFailed, "TASKS_LOCATION"},
		{"its database is not named", nil, []string{"merchants", "list", "--tasks-location", where}, exitFailed, "DATABASE_URL"},
		{"its sealing key is not named", map[string]string{"DATABASE_URL": local.DatabaseURL}, []string{"merchants", "create", "--name", "x", "--webhook-url", "https://example.com"}, exitFailed, "WEBHOOK_SEALING_KEY"},
		{"its queues", map[string]string{"TASKS_LOCATION": where, "TASKS_ENDPOINT": r.tasks.Addr()}, []string{"tasks", "list"}, exitDone, ""},
		{"no such queue", map[string]string{"TASKS_LOCATION": where, "TASKS_ENDPOINT": r.tasks.Addr()}, []string{"tasks", "list", "--queue", "mail"}, exitFailed, "no queue mail"},
	} {
		var out, problems bytes.Buffer
		w := world{lookup: config.Map(c.env), now: func() time.Time { return epoch }, root: r.root, out: &out, problems: &problems}
		if code := run(t.Context(), w, c.args); code != c.code || !strings.Contains(problems.String(), c.want) {
			t.Errorf("%s: status %d and %q, want %d and %q", c.name, code, problems.String(), c.code, c.want)
		}
		if strings.Contains(problems.String(), "hunter2") {
			t.Errorf("%s: the password is shown: %s", c.name, problems.String())
		}
	}
}

func TestAStackThatIsGoneIsSaidToBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	local, err := readState(r.root + "/" + stateFile)
	if err != nil {
		t.Fatal(err)
	}
	local.DatabaseURL, local.TasksAddr = "postgres://nobody@127.0.0.1:1/x", "127.0.0.1:1"
	r.writeState(local)
	r.refused(exitFailed, "start scripts/dev again", "merchants", "list")
	if s := r.try("tasks", "list"); s.code != exitFailed || !strings.Contains(s.problems, "start scripts/dev again") {
		t.Errorf("tasks: %+v", s)
	}
}

func TestStatementsArePrepared(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := r.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range []string{
		selectMerchants, selectKeys, selectAttempts, selectOpenSagas, selectOpenObligations, selectPayment, selectRefunds, selectSagas,
		selectProviderAttempts, selectResponses, selectFacts, selectProviderEvents, selectObligations, selectEvents,
		selectDeliveries, selectAudit, selectEndpoints, selectUndelivered, selectEndpointsMerchant, selectReplaysMerchant,
	} {
		if _, err := conn.Conn().Prepare(context.Background(), sql, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestTablesKeepTerminalsAndReadersSafe(t *testing.T) {
	t.Parallel()
	type row struct {
		Name string  `json:"name" col:"name"`
		Note *string `json:"note" col:"note"`
	}
	note := "two\nlines \x1b[2J" + strings.Repeat("é", 100)
	var out bytes.Buffer
	if err := (list[row]{rows: []row{{"a", &note}, {"b", nil}}}).text(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 || strings.ContainsAny(out.String(), "\x1b") || !strings.HasSuffix(lines[1], "é…") || lines[2] != "b     -" {
		t.Errorf("the table:\n%q", lines)
	}
	whole, err := json.Marshal(list[row]{rows: []row{{"a", &note}}})
	if err != nil || !strings.Contains(string(whole), strings.Repeat("é", 100)) {
		t.Errorf("JSON: %s, %v", whole, err)
	}
}
