// Command rollout brings requests from the revisions that serve them to the ones that
// terraform has made of a new release, a few at first, and takes them back when the new
// ones do worse.
//
// It keeps nothing of its own: where a rollout stands is in the tags of Cloud Run's
// revisions, so any step can be given again, here or elsewhere, after a step that was
// cut off.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const usage = `Usage: scripts/rollout COMMAND [--project PROJECT] [--region REGION]

In the order of a release (cloudbuild.yaml does the same):
  migrate              run the job migrate and wait for its end
  pin                  keep requests on the revisions that serve them, before terraform apply
  review PLAN.json     refuse a plan (terraform show -json PLAN) that changes more than a release
  smoke                tag the new revisions canary, and try each at an address of its own
  canary [--steps 5,50,100] [--soak 10m]
                       give the canaries so many percent of the requests, each time for so
                       long, and take all back if one does worse than what it replaces
  promote [--now]      make the canaries stable; --now without having been tried

At any time:
  rollback [--previous]
                       back to the stable revisions; --previous also undoes the last promote
  status               show which revisions get the requests

smoke and canary roll back by themselves when they fail. Every command can be given
again, and does what is left to do.

PROJECT and REGION are taken from TF_VAR_project and TF_VAR_region unless given, as
terraform takes them. With CLOUD_ENDPOINT (host:port) it talks to a stand-in of Google
Cloud instead, without credentials.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w := world{lookup: os.LookupEnv, root: ".", clock: machine{}, http: http.DefaultClient, out: os.Stdout}
	err := run(ctx, w, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "scripts/rollout:", err)
		os.Exit(1)
	}
}

// A world is what a command runs in.
type world struct {
	lookup func(string) (string, bool) // the environment
	root   string                      // the repository, whose functions are rolled out
	clock  clock
	http   *http.Client
	out    io.Writer
}

// A clock is the machine's, or a test's that does not wait.
type clock interface {
	Now() time.Time
	Wait(context.Context, time.Duration) error // or until the context ends, with its error
}

type machine struct{}

func (machine) Now() time.Time { return time.Now() }

func (machine) Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A command does its part with a session and the flags that it declared.
type command struct {
	args int // how many it takes, beside flags
	make func(*flag.FlagSet) func(context.Context, *session, []string) error
}

var commands = map[string]command{
	"migrate": {0, plain((*session).migrate)},
	"pin":     {0, plain((*session).pin)},
	"smoke":   {0, plain((*session).smoke)},
	"status":  {0, plain((*session).status)},
	"review": {1, func(*flag.FlagSet) func(context.Context, *session, []string) error {
		return func(_ context.Context, s *session, args []string) error { return s.review(args[0]) }
	}},
	"canary": {0, func(flags *flag.FlagSet) func(context.Context, *session, []string) error {
		c := course{steps: []int32{5, 50, 100}}
		flags.Func("steps", "", func(text string) (err error) {
			c.steps, err = parseSteps(text)
			return err
		})
		flags.DurationVar(&c.soak, "soak", 10*time.Minute, "")
		return func(ctx context.Context, s *session, _ []string) error { return s.canary(ctx, c) }
	}},
	"promote": {0, func(flags *flag.FlagSet) func(context.Context, *session, []string) error {
		now := flags.Bool("now", false, "")
		return func(ctx context.Context, s *session, _ []string) error { return s.promote(ctx, *now) }
	}},
	"rollback": {0, func(flags *flag.FlagSet) func(context.Context, *session, []string) error {
		previous := flags.Bool("previous", false, "")
		return func(ctx context.Context, s *session, _ []string) error { return s.rollback(ctx, *previous) }
	}},
}

// plain makes a command without flags of its own.
func plain(do func(*session, context.Context) error) func(*flag.FlagSet) func(context.Context, *session, []string) error {
	return func(*flag.FlagSet) func(context.Context, *session, []string) error {
		return func(ctx context.Context, s *session, _ []string) error { return do(s, ctx) }
	}
}

func parseSteps(text string) (steps []int32, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil || n < 1 || n > 100 {
			return nil, fmt.Errorf("%q is no percentage", part)
		}
		steps = append(steps, int32(n))
	}
	if !slices.IsSorted(steps) || steps[len(steps)-1] != 100 {
		return nil, errors.New("the steps have to rise to 100")
	}
	return steps, nil
}

func run(ctx context.Context, w world, args []string) error {
	if len(args) == 0 {
		return flag.ErrHelp
	}
	if slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		return flag.ErrHelp
	}
	c, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("%q is no command; see scripts/rollout --help", args[0])
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is printed by main
	project, _ := w.lookup("TF_VAR_project")
	region, _ := w.lookup("TF_VAR_region")
	flags.StringVar(&project, "project", project, "")
	flags.StringVar(&region, "region", region, "")
	do := c.make(flags)
	rest, err := parse(flags, args[1:])
	if err != nil {
		return err
	}
	if len(rest) != c.args {
		return fmt.Errorf("%s takes %d arguments and not %d; see scripts/rollout --help", args[0], c.args, len(rest))
	}
	if project == "" || region == "" {
		return errors.New("which deployment? Give --project and --region, or set TF_VAR_project and TF_VAR_region")
	}
	s, err := open(ctx, w, project, region)
	if err != nil {
		return err
	}
	defer s.close()
	return do(ctx, s, rest)
}

// parse reads flags wherever they stand, and returns what is left.
func parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
}
