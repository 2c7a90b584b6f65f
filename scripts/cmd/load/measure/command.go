package measure

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// A Benchmark measures. What is going on it writes to progress.
type Benchmark func(ctx context.Context, progress io.Writer) (Report, error)

// A Report is what was measured, and what is thought of it. It can be marshalled to JSON.
type Report interface {
	Print(out io.Writer) // for people
	OK() bool            // every bound was kept
}

// NewFlags makes an empty set of flags.
func NewFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// Parse reads flags, and nothing else, and has their values checked.
func Parse(flags *flag.FlagSet, args []string, valid func() bool) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || !valid() {
		return fmt.Errorf("%q is not understood", strings.Join(args, " "))
	}
	return nil
}

// ErrBroken means that a report shows a bound that was not kept.
var ErrBroken = errors.New("a bound was broken")
