package core

import (
	"time"

	"github.com/tollgate/tollgate/shared/task"
)

// ResumeURL has a function need RESUME_URL, which others that make tasks may lack.
type ResumeURL struct {
	URL string `env:"RESUME_URL,required" desc:"where tasks carry open operations on" who:"terraform"`
}

// DeliverURL has a function need DELIVER_URL.
type DeliverURL struct {
	URL string `env:"DELIVER_URL,required" desc:"where tasks deliver webhooks" who:"terraform"`
}

// SettleURL has a function need SETTLE_URL.
type SettleURL struct {
	URL string `env:"SETTLE_URL,required" desc:"where tasks carry settlements on" who:"terraform"`
}

// Called is the configuration of a function that Google's services call, and nobody else.
type Called struct {
	OIDC    task.Config
	Callers []string `env:"OIDC_CALLERS,required" desc:"service accounts that may call this function" who:"terraform"`
}

// Verifier verifies the callers.
func (c Called) Verifier(now func() time.Time) (*task.Verifier, error) {
	c.OIDC.Callers = c.Callers
	return task.NewVerifier(c.OIDC, now)
}
