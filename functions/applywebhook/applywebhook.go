// Package applywebhook is the function to which provider-events are pushed: it merges
// one stored event into its payment.
package applywebhook

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/core"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/task"
)

func init() { api.Function("ApplyWebhook", Build) }

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
	payments, err := core.Payments(ctx, env, "applywebhook", c.Config)
	if err != nil {
		return nil, err
	}
	in := &inbox.Inbox{
		Pool: payments.Pool, Payments: payments, Now: env.Now, NewID: env.NewID, Log: env.Log,
		Sources: map[string]inbox.Source{},
	}
	for name, adapter := range payments.Providers {
		in.Sources[name] = inbox.Source{Parse: adapter.ParseEvent}
	}
	return task.Push(env, "applywebhook", verifier, apply(in)), nil
}

func apply(in *inbox.Inbox) func(context.Context, task.Message) error {
	return func(ctx context.Context, m task.Message) error {
		var message inbox.Message
		if err := json.Unmarshal(m.Data, &message); err != nil || message.ID.IsZero() {
			return fault.New(fault.Internal, "message %s does not name an event", m.ID) // it ends in the dead letters
		}
		return in.Apply(ctx, message.ID)
	}
}
