package pgtest

import (
	"testing"

	"go.uber.org/goleak"
)

// Packages that look for leaked goroutines must not find any of ours.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
