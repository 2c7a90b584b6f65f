package breaker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/control"
)

// Force holds a provider's circuit open or closed until Reset, whatever the calls say. by and why are required.
func Force(ctx context.Context, store control.Store, provider string, mode Mode, by, why string, now time.Time) error {
	if mode != ForcedOpen && mode != ForcedClosed {
		return fmt.Errorf("breaker: a circuit can't be forced %q", mode)
	}
	return operate(ctx, store, provider, Operation{by, why, now}, func(c Circuit, o Operation) Circuit { return c.force(mode, o) })
}

// Reset closes a provider's circuit and lets go of it; from then on the calls decide. by and why are required.
func Reset(ctx context.Context, store control.Store, provider, by, why string, now time.Time) error {
	return operate(ctx, store, provider, Operation{by, why, now}, Circuit.reset)
}

func operate(ctx context.Context, store control.Store, provider string, o Operation, do func(Circuit, Operation) Circuit) error {
	if strings.TrimSpace(o.By) == "" || strings.TrimSpace(o.Why) == "" {
		return errors.New("breaker: an operator says who and why")
	}
	o.At = o.At.UTC()
	return store.Change(ctx, path(provider), func(d control.Document) (control.Document, error) {
		var c Circuit
		if control.Decode(d, &c) != nil {
			c = Circuit{} // an operator may replace what nobody can read
		}
		return control.Encode(do(c, o))
	})
}

// Show returns a provider's circuit; Circuit.At tells its state.
func Show(ctx context.Context, store control.Store, provider string) (c Circuit, err error) {
	d, err := store.Get(ctx, path(provider))
	if err != nil {
		return c, err
	}
	return c, control.Decode(d, &c)
}
