package providersim

import (
	"testing"

	"go.uber.org/goleak"
)

// A closed simulator leaves nothing running.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
