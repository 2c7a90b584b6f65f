package wire

import (
	"fmt"
	"log/slog"
	"time"
)

// Options are what an adapter is wired with. Now is required.
type Options struct {
	Now func() time.Time
	Log *slog.Logger // nil logs nothing

	// Dial replaces TCP, for tests.
	Dial Dialer

	// ConnectTimeout bounds DNS, TCP and TLS together, ReadTimeout everything after
	// it, of each request. 0 is no limit but the one of the call's context, which is the
	// one for all the requests of an operation together.
	ConnectTimeout, ReadTimeout time.Duration
}

// Open makes the transport of the adapter of the name, and fills in what may be left
// out.
func (o *Options) Open(adapter string) (*Transport, error) {
	if o.Now == nil {
		return nil, fmt.Errorf("%s: Options.Now is not set", adapter)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return New(o.Dial, Limits{Connect: o.ConnectTimeout, Read: o.ReadTimeout}), nil
}
