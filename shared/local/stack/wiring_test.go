package stack

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

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
