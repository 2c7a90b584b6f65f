package isolation

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
	"github.com/tollgate/tollgate/scripts/internal/setup"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
)

// Usage explains the command.
const Usage = `scripts/load isolation [--quick] [--sick PROVIDER] [--rate N] [--pairs N]

Measures whether payments at Stripe are slower while another provider hangs, what
the circuit breaker does in four processes that share Firestore's emulator, and
whether payments go on without Firestore. Takes a dozen minutes.

    --quick          show in half a minute that all of it happens; no times are held
                     to bounds
    --sick PROVIDER  paypal (the default) or bank
    --rate N         payments a second to each provider, 50 by default
    --pairs N        runs without the sick provider, and as many with it; 3 by default
`

// Command reads the command line, and returns what does as it says.
func Command(args []string) (measure.Benchmark, error) {
	p := plan{
		Warm: 5 * time.Second, Hang: time.Minute, Hold: 1500 * time.Millisecond, Whole: 85 * time.Second,
		Alone: 10 * time.Second, Recovery: 90 * time.Second,
	}
	flags := measure.NewFlags("isolation")
	flags.StringVar(&p.Sick, "sick", paypal.Name, "")
	flags.IntVar(&p.Rate, "rate", 50, "")
	flags.IntVar(&p.Pairs, "pairs", 3, "")
	hurried := flags.Bool("quick", false, "")
	if err := measure.Parse(flags, args, func() bool {
		return p.Rate > 0 && p.Pairs > 0 && (p.Sick == paypal.Name || p.Sick == bank.Name)
	}); err != nil {
		return nil, err
	}
	return func(ctx context.Context, progress io.Writer) (measure.Report, error) {
		if err := errors.Join(setup.Postgres(ctx, progress), setup.Firestore(ctx, progress)); err != nil {
			return nil, err
		}
		if *hurried {
			return quick(p.Sick).rehearse(ctx, worldOptions{})
		}
		return p.measure(ctx, progress)
	}, nil
}
