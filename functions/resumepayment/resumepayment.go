// Package resumepayment is the function that tasks call to carry on one operation that
// was left open, or to discharge one obligation.
package resumepayment

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/task"
)

func init() { api.Function("ResumePayment", Build) }

// Build wires the function.
func Build(ctx context.Context, env api.Env) (http.Handler, error) {
	c, err := config.Load[struct {
		core.Config
		core.Called
	}](env.Lookup)
	if err != nil {
		return nil, err
	}
	verifier, err := c.Verifier(env.Now)
	if err != nil {
		return nil, err
	}
	payments, err := core.Payments(ctx, env, "resumepayment", c.Config)
	if err != nil {
		return nil, err
	}
	return task.Handler(env, "resumepayment", verifier, resume(env, payments)), nil
}

func resume(env api.Env, payments *payment.Service) func(context.Context, []byte) error {
	return func(ctx context.Context, body []byte) error {
		var wake payment.Wake
		err := json.Unmarshal(body, &wake)
		switch {
		case err != nil || wake.SagaID.IsZero() == wake.ObligationID.IsZero():
			// No repetition mends it, and what it should have been about is due in the
			// database: the sweep makes a right one.
			env.Log.ErrorContext(ctx, "a task names neither a saga nor an obligation, or both", "error", err)
			return nil
		case wake.SagaID.IsZero():
			return payments.Discharge(ctx, wake.ObligationID)
		default:
			return payments.Resume(ctx, wake)
		}
	}
}
