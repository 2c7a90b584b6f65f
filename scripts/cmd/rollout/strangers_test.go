package main

import (
	"net/http"
	"testing"

	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// The functions themselves answer the smoke test's requests as it expects.
func TestTheFunctionsAnswerTheSmokeTest(t *testing.T) {
	t.Parallel()
	local, err := stack.Start(t.Context(), stack.Options{DatabaseURL: pgtest.New(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(local.Stop)
	s := &session{http: http.DefaultClient}
	hosts := local.HostConfig()
	for name, stranger := range strangers {
		variables := hosts.Variables(name)
		gateway, audience := variables["GATEWAY_CALLERS"], hosts.URL(name)
		if gateway == "" { // it verifies its callers' signatures, not Google's
			gateway = "anybody@example.com"
		}
		token := local.Tokens.Token(gateway, audience)
		for _, trial := range append(health[:len(health):len(health)], stranger) {
			if err := s.ask(t.Context(), audience, token, trial); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
