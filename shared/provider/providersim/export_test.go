package providersim

import (
	"testing"

	"go.uber.org/goleak"
)

// FaultKinds lets the tests hold themselves, and the documentation, to every
// fault there is.
func FaultKinds() []string { return kindNames() }

// A closed simulator leaves nothing running.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
