package guard

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/provider"
)

// Timeouts are how long a provider has for each thing asked of it. Connect bounds every
// connection by itself, and is added once to the others, which bound a whole operation
// with all the requests that it takes.
type Timeouts struct {
	Connect   time.Duration `env:"CONNECT_TIMEOUT" desc:"longest wait for a connection: DNS, TCP and TLS together" who:"terraform"`
	Authorize time.Duration `env:"AUTHORIZE_TIMEOUT" desc:"longest an authorize may take, which is on the payer's time" who:"terraform"`
	Capture   time.Duration `env:"CAPTURE_TIMEOUT" desc:"longest a capture may take" who:"terraform"`
	Void      time.Duration `env:"VOID_TIMEOUT" desc:"longest a void may take" who:"terraform"`
	Refund    time.Duration `env:"REFUND_TIMEOUT" desc:"longest a refund may take" who:"terraform"`
	LookUp    time.Duration `env:"LOOKUP_TIMEOUT" desc:"longest a look-up may take" who:"terraform"`
}

// Limits are what one provider may take of an instance.
type Limits struct {
	Timeouts        // in the environment their names stand beside CONCURRENCY
	Concurrency int `env:"CONCURRENCY" desc:"calls that may be under way at a time, in one instance" who:"terraform"`
}

// MaxOperation is above the longest operation, connecting included. A saga's lease and
// the functions' own time-out are 30 s, and claim and record need some of that.
const MaxOperation = 25 * time.Second

// DefaultConcurrency is how many calls a provider may have under way in an instance,
// unless it is configured.
const DefaultConcurrency = 12

// MaxConcurrency is the most calls that any provider may be allowed: instances take
// fewer requests than that at a time.
const MaxConcurrency = 100

// Read fills the limits in from the variables that begin with prefix, such as STRIPE_.
// What is not set stays as it is. It returns all that is wrong with the result.
func (l *Limits) Read(lookup func(string) (string, bool), prefix string) []config.Mistake {
	if err := config.Fill(lookup, prefix, l); err != nil {
		return config.Mistakes(err)
	}
	return l.check(prefix)
}

func (l *Limits) check(prefix string) (mistakes []config.Mistake) {
	wrong := func(variable, format string, args ...any) {
		mistakes = append(mistakes, config.Mistake{Variable: prefix + variable, Problem: fmt.Sprintf(format, args...), Who: "terraform"})
	}
	if l.Connect <= 0 {
		wrong("CONNECT_TIMEOUT", "is %v: it must be more than 0", l.Connect)
	}
	for _, o := range []struct {
		variable  string
		timeout   time.Duration
		afterAuth bool // nobody waits for it at a checkout: it has as long as an authorize at least
	}{
		{"AUTHORIZE_TIMEOUT", l.Authorize, false},
		{"CAPTURE_TIMEOUT", l.Capture, true},
		{"VOID_TIMEOUT", l.Void, false},
		{"REFUND_TIMEOUT", l.Refund, true},
		{"LOOKUP_TIMEOUT", l.LookUp, false},
	} {
		switch {
		case o.timeout <= 0:
			wrong(o.variable, "is %v: it must be more than 0", o.timeout)
		case o.afterAuth && o.timeout < l.Authorize:
			wrong(o.variable, "is %v: it must not be less than %sAUTHORIZE_TIMEOUT, %v", o.timeout, prefix, l.Authorize)
		case l.Connect+o.timeout >= MaxOperation:
			wrong(o.variable, "is %v: with %sCONNECT_TIMEOUT, %v, it must stay below %v", o.timeout, prefix, l.Connect, MaxOperation)
		}
	}
	if l.Concurrency < 1 || l.Concurrency > MaxConcurrency {
		wrong("CONCURRENCY", "is %d: it must be from 1 to %d", l.Concurrency, MaxConcurrency)
	}
	return mistakes
}

// Longest is the longest operation, without connecting.
func (t Timeouts) Longest() time.Duration {
	return max(t.Authorize, t.Capture, t.Void, t.Refund, t.LookUp)
}

// lookUp is the operation of Find, beside the steps.
const lookUp = "lookup"

// of is how long a whole operation may take.
func (t Timeouts) of(operation string) time.Duration {
	return t.Connect + map[string]time.Duration{
		string(provider.Authorize): t.Authorize,
		string(provider.Capture):   t.Capture,
		string(provider.Void):      t.Void,
		string(provider.Refund):    t.Refund,
		lookUp:                     t.LookUp,
	}[operation]
}
