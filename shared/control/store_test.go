package control_test

import (
	"testing"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/control/controltest"
)

func TestMemoryIsAStore(t *testing.T) {
	t.Parallel()
	m := control.NewMemory()
	controltest.Store(t, func(testing.TB) control.Store { return m })
}

func TestFirestoreIsAStore(t *testing.T) {
	t.Parallel()
	e := controltest.Start(t)
	controltest.Store(t, func(t testing.TB) control.Store { return e.Open(t, "suite") })
}
