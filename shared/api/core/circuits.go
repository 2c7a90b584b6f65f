package core

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/provider/breaker"
)

// circuitsTimeout bounds a look at the circuits: the control plane's client would try for ever.
const circuitsTimeout = 3 * time.Second

// Circuits opens the control plane. What it returns names those of the providers that are
// not called now; it is nil where there is no control plane, and nobody knows.
func Circuits(ctx context.Context, env api.Env, c control.Config, of Enabled) (func(context.Context) ([]string, error), error) {
	store, err := controlPlane(ctx, env, c)
	if err != nil || store == nil {
		return nil, err
	}
	return func(ctx context.Context) (open []string, err error) {
		ctx, cancel := context.WithTimeout(ctx, circuitsTimeout)
		defer cancel()
		for _, name := range of.Names {
			circuit, err := breaker.Show(ctx, store, name)
			if err != nil {
				return nil, err
			}
			if circuit.At(env.Now()) == breaker.Open {
				open = append(open, name)
			}
		}
		return open, nil
	}, nil
}
