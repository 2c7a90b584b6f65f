package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/scripts/cmd/package/trial"
	"github.com/tollgate/tollgate/shared/local/stack"
)

// starts is how often each function is started; the middle one of its times counts.
const starts = 5

// A built target has a program.
type built struct {
	staged
	program string
	bytes   int64
	took    time.Duration
}

// measure builds what was staged, starts what are functions, and says how large and how
// quick they are.
func measure(ctx context.Context, all []staged, out io.Writer) error {
	work, err := os.MkdirTemp("", "tollgate-package-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	programs, err := build(ctx, all, work)
	if err != nil {
		return err
	}
	t, err := trial.New(ctx, stack.Options{})
	if err != nil {
		return err
	}
	defer t.Close()
	return measureStarts(ctx, t, programs, starts, out)
}

// build makes a program of each tree, in work.
func build(ctx context.Context, all []staged, work string) ([]built, error) {
	programs := make([]built, len(all))
	building, ctx := errgroup.WithContext(ctx)
	building.SetLimit(max(2, runtime.GOMAXPROCS(0)/2)) // go build has threads of its own
	for i, s := range all {
		building.Go(func() error {
			began := time.Now()
			program, err := trial.Build(ctx, s.dir, filepath.Join(work, s.name))
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			info, err := os.Stat(program)
			if err != nil {
				return err
			}
			programs[i] = built{s, program, info.Size(), time.Since(began)}
			return nil
		})
	}
	return programs, building.Wait()
}

// measureStarts starts each function so often, one after the other.
func measureStarts(ctx context.Context, t *trial.Trial, programs []built, times int, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) } // Flush has the error
	line("\nprogram\tMB\tbuilt in\tstartup probe answered after\n")
	for _, b := range programs {
		took := "a job, which has none"
		if b.isFunction() {
			middle, err := startTime(ctx, t, b, times)
			if err != nil {
				return err
			}
			took = fmt.Sprintf("%d ms", middle.Milliseconds())
		}
		line("%s\t%.1f\t%.1f s\t%s\n", b.name, megabytes(b.bytes), b.took.Seconds(), took)
	}
	return w.Flush()
}

func startTime(ctx context.Context, t *trial.Trial, b built, times int) (time.Duration, error) {
	var all []time.Duration
	for range times {
		p, err := t.Start(ctx, b.name, b.entryPoint, b.program)
		if err != nil {
			return 0, err
		}
		all = append(all, p.StartTime)
		if err := p.Stop(); err != nil {
			return 0, fmt.Errorf("%s: %w", b.name, err)
		}
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}
