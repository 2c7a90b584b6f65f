package stack_test

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/local/stack"
)

// A function that lacks a right says so in its log, where tests look for it: by SQLSTATE 42501.
func TestAMissingRightIsTold(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	s := start(t, stack.Options{Log: log})
	if _, err := s.DB.Exec(t.Context(), `REVOKE INSERT ON webhook_deliveries FROM tollgate_notifymerchant`); err != nil {
		t.Fatal(err)
	}
	merchantID, key, err := s.CreateMerchant(t.Context(), "Test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateEndpoint(t.Context(), merchantID, "http://127.0.0.1:1/"); err != nil {
		t.Fatal(err)
	}
	create(t, s, key)
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(log.text()) {
		if strings.Contains(line, "SQLSTATE 42501") && strings.Contains(line, "notifymerchant") {
			return
		}
	}
	t.Errorf("nothing is said of it:\n%s", log.text())
}
