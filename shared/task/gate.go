package task

import (
	"time"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/merchant"
)

// NewGate makes the gate of a function that serves merchants, behind the API gateway
// whose service accounts g names, or in the open if it names none.
func NewGate(c Config, g api.GatewayConfig, merchants *merchant.Store, now func() time.Time) (*api.Gate, error) {
	gate := &api.Gate{Merchants: merchants}
	if len(g.Callers) > 0 {
		c.Callers = g.Callers
		verifier, err := NewVerifier(c, now)
		if err != nil {
			return nil, err
		}
		gate.Gateway = verifier
	}
	return gate, nil
}
