package stack

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

var (
	row    = regexp.MustCompile(`(?m)^    (\w+)\s*= \{(.*entry_point.*)\}$`)
	member = regexp.MustCompile(`(\w+)\s*= "([^"]*)"`)
	called = regexp.MustCompile(`callers\s*= \[([^\]]*)\]`)
	word   = regexp.MustCompile(`\w+`)
)

// The functions here, and who calls them, are those that terraform deploys.
func TestFunctionsAreThoseOfTerraform(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../terraform/functions.tf")
	if err != nil {
		t.Fatal(err)
	}
	deployed, pushed := []string{}, map[string]string{}
	for _, r := range row.FindAllStringSubmatch(string(text), -1) {
		name, of := r[1], map[string]string{}
		for _, m := range member.FindAllStringSubmatch(r[2], -1) {
			of[m[1]] = m[2]
		}
		deployed = append(deployed, name)
		if of["topic"] != "" {
			pushed[name] = of["topic"]
		}
		i := slices.IndexFunc(functions, func(f function) bool { return f.name == name })
		if i < 0 {
			continue // the comparison of the names says so
		}
		v := functions[i].variables(HostConfig{Addresses: map[string]string{name: "x"}})
		var callers []string
		for _, caller := range word.FindAllString(called.FindStringSubmatch(r[2])[1], -1) {
			callers = append(callers, "call-from-"+caller+"@"+project+".iam.gserviceaccount.com")
		}
		if admits, want := v["OIDC_CALLERS"]+v["GATEWAY_CALLERS"], strings.Join(callers, ","); name != "ingestwebhook" && admits != want {
			t.Errorf("%s is called as %s in production, and admits %q here", name, want, admits)
		}
	}
	local := Functions()
	slices.Sort(local)
	slices.Sort(deployed)
	if diff := cmp.Diff(deployed, local); diff != "" {
		t.Errorf("functions (-terraform +here):\n%s", diff)
	}
	if diff := cmp.Diff(pushed, subscribers); diff != "" {
		t.Errorf("topics that are pushed to functions (-terraform +here):\n%s", diff)
	}
}

// The jobs here are those that terraform makes, with the functions' own timeouts.
func TestJobsAreThoseOfTerraform(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../terraform/functions.tf")
	if err != nil {
		t.Fatal(err)
	}
	timeouts := map[string]string{}
	for _, r := range timeoutRow.FindAllStringSubmatch(string(text), -1) {
		timeouts[r[1]] = r[2]
	}
	var deployed, local []string
	for _, r := range jobRow.FindAllStringSubmatch(string(text), -1) {
		deployed = append(deployed, fmt.Sprintf("%v %s", r[1:], timeouts[r[2]]))
	}
	for _, j := range jobs {
		local = append(local, fmt.Sprintf("%v %d", []string{j.name, j.function, j.schedule, j.zone, strconv.Itoa(j.retries)}, j.timeout))
	}
	if diff := cmp.Diff(deployed, local); diff != "" {
		t.Errorf("jobs (-terraform +here):\n%s", diff)
	}
}

var (
	timeoutRow = regexp.MustCompile(`(?m)^    (\w+)\s*= \{.*\btimeout = (\d+)`)
	jobRow     = regexp.MustCompile(`(?m)^    ([\w-]+)\s*= \{ function = "(\w+)", schedule = "([^"]+)", time_zone = "([^"]+)", retries = (\d) \}$`)
)

// The queues here are those that terraform makes.
func TestQueuesAreThoseOfTerraform(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../terraform/tasks.tf")
	if err != nil {
		t.Fatal(err)
	}
	deployed, local := map[string]string{}, map[string]string{}
	for _, r := range queueRow.FindAllStringSubmatch(string(text), -1) {
		deployed[location+"/queues/"+r[1]] = strings.Join(r[2:], " ")
	}
	for name, q := range queues() {
		local[name] = fmt.Sprint(q.perSecond, q.concurrent, q.attempts, q.backoff)
	}
	if diff := cmp.Diff(deployed, local); diff != "" {
		t.Errorf("queues (-terraform +here):\n%s", diff)
	}
}

var queueRow = regexp.MustCompile(`(?m)^    ([\w-]+)\s*= \{ per_second = (\d+), concurrent = (\d+), attempts = (-?\d+), backoff = (\d+) \}$`)

var secretive = regexp.MustCompile("SECRET|SEALING|TOKEN")

// A function has the secrets that it uses, and no others.
func TestSecretsGoOnlyWhereTheyAreUsed(t *testing.T) {
	t.Parallel()
	s := Stack{PayPal: providersim.NewPayPal(providersim.PayPalConfig{Now: time.Now})}
	t.Cleanup(s.PayPal.Close)
	c := HostConfig{Calls: s.accounts(), Signatures: s.signatures(), SealingKey: "seal"}
	holders := map[string][]string{}
	for _, f := range functions {
		for name := range f.variables(c) {
			if secretive.MatchString(name) {
				holders[name] = append(holders[name], f.name)
			}
		}
	}
	for _, names := range holders {
		slices.Sort(names)
	}
	callers := []string{"applywebhook", "cancelpayment", "capturepayment", "createpayment", "reconcile", "refundpayment", "resumepayment"}
	want := map[string][]string{
		"STRIPE_SECRET_KEY":          callers,
		"PAYPAL_CLIENT_SECRET":       callers,
		"GOCARDLESS_ACCESS_TOKEN":    callers,
		"STRIPE_WEBHOOK_SECRETS":     {"ingestwebhook"},
		"GOCARDLESS_WEBHOOK_SECRETS": {"ingestwebhook"},
		"WEBHOOK_SEALING_KEY":        {"deliverwebhook", "webhookadmin"},
	}
	if diff := cmp.Diff(want, holders); diff != "" {
		t.Errorf("who has which secret (-want +got):\n%s", diff)
	}
}

func TestFunctionsHaveTheirRoleAlone(t *testing.T) {
	t.Parallel()
	address, err := asFunction(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	db, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(t.Context()) })
	var role string
	if err := db.QueryRow(t.Context(), `SELECT current_user`).Scan(&role); err != nil || role != functionRole {
		t.Errorf("the functions are %q, %v", role, err)
	}
	for _, sql := range []string{`DELETE FROM events`, `UPDATE transaction_audit_log SET actor = 'x'`, `CREATE TABLE x ()`, `DELETE FROM merchants`} {
		if _, err := db.Exec(t.Context(), sql); !postgres.HasCode(err, "42501") { // insufficient_privilege
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestAPanicIsAnsweredAndContained(t *testing.T) {
	t.Parallel()
	h := &Host{}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	server := httptest.NewServer(h.counted(h.contained("f", log, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(errors.New("a mistake"))
	}))))
	t.Cleanup(server.Close)
	for range 2 { // the first leaves the host as it was
		resp, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusInternalServerError || resp.Header.Get("X-Google-Status") != "crash" {
			t.Errorf("answered %d, %v", resp.StatusCode, resp.Header)
		}
	}
	if err := h.activity.wait(t.Context()); err != nil || h.activity.read() != (Activity{Begun: 2}) {
		t.Errorf("afterwards: %+v, %v", h.activity.read(), err)
	}
}

func TestReservedAddressesAreKeptAndCanBeListenedAt(t *testing.T) {
	t.Parallel()
	var r reservation
	t.Cleanup(r.release)
	addresses, err := r.reserve(2)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a host that comes back gets the same
		l, err := listenReserved(addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.NotFoundHandler()}
		go func() { _ = server.Serve(l) }()
		resp, err := http.Get("http://" + addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	var s Stack
	t.Cleanup(s.Stop)
	if _, err := s.serve(http.NotFoundHandler(), addresses[1], cut); err == nil {
		t.Error("somebody else could listen at a reserved address")
	}
}
