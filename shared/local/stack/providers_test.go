package stack_test

import (
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/tollgate/tollgate/shared/local/stack"
)

// answers tells what a provider's simulator answers a stranger.
func answers(t *testing.T, s *stack.Stack, provider string) (status int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.ProviderURL(provider)+"/_sim/due", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestAProviderGoesAwayAndComesBackAtItsAddress(t *testing.T) {
	t.Parallel()
	s := start(t, stack.Options{})
	for _, away := range stack.Providers() {
		address := s.ProviderURL(away)
		for range 2 { // the second changes nothing
			if err := s.TakeAway(away); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range stack.Providers() {
			status, err := answers(t, s, name)
			if gone := errors.Is(err, syscall.ECONNREFUSED); gone != (name == away) || !gone && status != http.StatusOK {
				t.Errorf("with %s away, %s answered %d, %v", away, name, status, err)
			}
		}
		for range 2 {
			if err := s.BringBack(away); err != nil {
				t.Fatal(err)
			}
		}
		if status, err := answers(t, s, away); err != nil || status != http.StatusOK || s.ProviderURL(away) != address {
			t.Errorf("%s came back at %s and answered %d, %v", away, s.ProviderURL(away), status, err)
		}
	}
	if err := errors.Join(s.TakeAway("none"), s.BringBack("none")); err == nil || strings.Count(err.Error(), "there is no none") != 2 {
		t.Errorf("a provider that there is not: %v", err)
	}
}
