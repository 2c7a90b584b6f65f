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
)

// The functions here, and who calls them, are those that terraform deploys.
func TestFunctionsAreThoseOfTerraform(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../terraform/functions.tf")
	if err != nil {
		t.Fatal(err)
	}
	deployed, pushed, scheduled := []string{}, map[string]string{}, map[string]string{}
	for _, r := range row.FindAllStringSubmatch(string(text), -1) {
		name, of := r[1], map[string]string{}
		for _, m := range member.FindAllStringSubmatch(r[2], -1) {
			of[m[1]] = m[2]
		}
		deployed = append(deployed, name)
		if of["topic"] != "" {
			pushed[name] = of["topic"]
		}
		if of["schedule"] != "" {
			scheduled[name] = of["schedule"]
		}
		i := slices.IndexFunc(functions, func(f function) bool { return f.name == name })
		if i < 0 {
			continue // the comparison of the names says so
		}
		v := functions[i].variables(HostConfig{Addresses: map[string]string{name: "x"}})
		caller := "call-from-" + of["caller"] + "@" + project + ".iam.gserviceaccount.com"
		if admits := v["OIDC_CALLERS"] + v["GATEWAY_CALLERS"]; name != "ingestwebhook" && admits != caller {
			t.Errorf("%s is called as %s in production, and admits %q here", name, caller, admits)
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
	if diff := cmp.Diff(map[string]string{"sweep": eachMinute}, scheduled); diff != "" {
		t.Errorf("jobs (-here +terraform):\n%s", diff)
	}
}

// The queues here are those that terraform makes.
func TestQueuesAreThoseOfTerraform(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../terraform/tasks.tf")
	if err != nil {
		t.Fatal(err)
	}
	type rates struct{ perSecond, concurrent string }
	deployed, local := map[string]rates{}, map[string]rates{}
	for _, r := range queueRow.FindAllStringSubmatch(string(text), -1) {
		deployed[location+"/queues/"+r[1]] = rates{r[2], r[3]}
	}
	for name, limits := range queues() {
		local[name] = rates{fmt.Sprint(limits.MaxDispatchesPerSecond), fmt.Sprint(limits.MaxConcurrentDispatches)}
	}
	if diff := cmp.Diff(deployed, local, cmp.AllowUnexported(rates{})); diff != "" {
		t.Errorf("queues (-terraform +here):\n%s", diff)
	}
}

var queueRow = regexp.MustCompile(`(?m)^    ([\w-]+)\s*= \{ per_second = (\d+), concurrent = (\d+) \}$`)

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
	callers := []string{"applywebhook", "cancelpayment", "capturepayment", "createpayment", "refundpayment", "resumepayment"}
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
