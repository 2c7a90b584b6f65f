// Command ops is the operators' command line: merchants, their keys and their endpoints,
// the queues, what was not delivered, the providers' circuits, and what happened to a
// payment. Developers listen to webhooks with it.
//
// It works on the deployment that its flags and environment name, or, where they
// name none, on the local stack that scripts/dev is running. What it changes it
// changes by the packages that own it, and whatever a task can do it leaves to a
// task: it calls no provider and no merchant itself.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// A world is what a command runs in.
type world struct {
	lookup   func(string) (string, bool) // the environment
	now      func() time.Time            // the local stack's clock takes its place
	root     string                      // the repository, where scripts/dev leaves its state
	out      io.Writer
	problems io.Writer
}

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as by nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	code := run(ctx, world{os.LookupEnv, time.Now, ".", os.Stdout, os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// The statuses that the program ends with.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // the command line is wrong, and nothing was done
)

// A usageError is about the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

func run(ctx context.Context, w world, args []string) int {
	err := dispatch(ctx, w, args)
	if err == nil {
		return exitDone
	}
	_, _ = fmt.Fprintln(w.problems, "scripts/ops:", explain(err))
	if _, wrong := errors.AsType[usageError](err); wrong {
		return exitUsage
	}
	return exitFailed
}

// dispatch finds the command and runs it.
func dispatch(ctx context.Context, w world, args []string) error {
	if len(args) == 0 || isHelp(args[0]) {
		return usage(w.out, "")
	}
	if len(args) == 1 || isHelp(args[1]) {
		return usage(w.out, args[0])
	}
	name := args[0] + " " + args[1]
	for _, c := range commands {
		if c.name == name {
			return c.run(ctx, w, args[2:])
		}
	}
	return usageError(fmt.Sprintf("%q is no command; see scripts/ops --help", name))
}

// A command is two words, positional arguments, and flags.
type command struct {
	name  string
	args  []string // the positional ones, all required
	flags string   // as usage shows them
	does  string
	make  func(*flag.FlagSet) action
}

// An action does what the command is for, with as many arguments as it asks for.
type action func(ctx context.Context, s *session, args []string) (result, error)

// A result is printed as text, or marshalled to JSON. Without one the command has said everything.
type result interface {
	text(io.Writer) error
}

var commands = []command{
	{"merchants create", nil, "--name NAME [--webhook-url URL] [--seal-for PUBLIC_KEY]", "make a merchant with an API key, and its endpoint for webhooks", merchantsCreate},
	{"merchants list", nil, "", "list the merchants, the newest first", merchantsList},
	{"merchants suspend", []string{"MERCHANT"}, "", "refuse the merchant's requests; what is under way goes on", merchantsSuspend},
	{"merchants activate", []string{"MERCHANT"}, "", "accept the merchant's requests again", merchantsActivate},
	{"merchants prefer", []string{"MERCHANT"}, "[--providers NAME,NAME…]", "choose its providers in this order, where several can take a payment", merchantsPrefer},
	{"merchants settle", []string{"MERCHANT"}, "--timezone ZONE [--cutoff HH:MM]", "end its business days at this time there, at midnight unless said; each night settles the last one that ended", merchantsSettle},
	{"keys create", []string{"MERCHANT"}, "[--label LABEL] [--seal-for PUBLIC_KEY]", "issue another API key", keysCreate},
	{"keys list", []string{"MERCHANT"}, "", "list the merchant's API keys, without their secrets", keysList},
	{"keys revoke", []string{"KEY"}, "", "refuse an API key from now on", keysRevoke},
	{"tasks list", nil, "[--queue QUEUE]", "list the tasks that wait, by the time they are due", tasksList},
	{"tasks run", []string{"TASK"}, "[--queue QUEUE]", "run a task now, whenever it is due", tasksRun},
	{"webhooks listen", nil, "[--forward-to URL] [--merchant MERCHANT] [--events TYPE,TYPE…]", "show a merchant's events as they are sent, and forward them to your own server; on the local stack alone", webhooksListen},
	{"deliveries list", nil, "--undelivered|--exhausted [--merchant MERCHANT] [--endpoint ENDPOINT] [--limit N]", "list what never reached its endpoint, the oldest first, or what was given up, the latest first", deliveriesList},
	{"deliveries show", []string{"DELIVERY"}, "", "show a delivery with all its attempts", deliveriesShow},
	{"deliveries redeliver", []string{"DELIVERY"}, "", "give a delivery that is over, well or not, another attempt, by a new task", deliveriesRedeliver},
	{"endpoints list", nil, "[--merchant MERCHANT] [--failing] [--limit N]", "list the webhook endpoints and how they answer, the newest first", endpointsList},
	{"endpoints disable", []string{"ENDPOINT"}, "--why TEXT", "send an endpoint nothing more; what happens meanwhile is kept for it", endpointsDisable},
	{"endpoints enable", []string{"ENDPOINT"}, "[--replay-missed]", "send an endpoint events again, and with the flag what it missed; its own failures are made up for unless it says =false", endpointsEnable},
	{"replays start", []string{"ENDPOINT"}, "--since WHEN [--until WHEN] [--events TYPE,TYPE…] [--all]", "send an endpoint again what it did not get, or with --all everything; WHEN is a time or how long ago, such as 60h", replaysStart},
	{"replays list", []string{"MERCHANT"}, "[--endpoint ENDPOINT] [--limit N]", "list the merchant's replays, the latest first", replaysList},
	{"replays show", []string{"REPLAY"}, "", "show how far a replay is", replaysShow},
	{"replays cancel", []string{"REPLAY"}, "", "stop a replay; what it did not get to stays undelivered", replaysCancel},
	{"circuits list", nil, "", "show whether the providers are called, and why not", circuitsList},
	{"circuits force-open", []string{"PROVIDER"}, "--why TEXT [--by NAME]", "call the provider no more, until reset", circuitsForceOpen},
	{"circuits force-closed", []string{"PROVIDER"}, "--why TEXT [--by NAME]", "call the provider whatever happens, until reset", circuitsForceClosed},
	{"circuits reset", []string{"PROVIDER"}, "--why TEXT [--by NAME]", "call the provider from now on, as long as its answers allow", circuitsReset},
	{"payments show", []string{"PAYMENT"}, "", "show all that is known of a payment", paymentsShow},
	{"audit verify", nil, "[--merchant MERCHANT]", "hold the audit log against its seals, and the payments against the log; with AUDIT_SEALS, where the seals are", auditVerify},
	{"audit rebuild", nil, "--into URL", "make payments, refunds and disputes from the audit log alone, in an empty migrated database, and prove that they are equal", auditRebuild},
	{"personal erase", nil, "--payment PAYMENT --why TEXT [--evidence]", "erase what the merchant said of a payment and its refunds in words; with the flag also what providers' raw messages repeat", personalErase},
	{"fees set", []string{"MERCHANT"}, "--provider NAME --currency CODE [--basis-points N] [--fixed N] [--rounding half_up|half_even|up|down] [--refunds-return-it] [--dispute-fee N] [--from TIME]", "choose what a merchant pays for each capture from now or a time on: so many hundredths of a percent and minor units", feesSet},
	{"fees list", []string{"MERCHANT"}, "", "list what a merchant pays, paid and will pay", feesList},
	{"balances list", nil, "[--merchant MERCHANT] [--provider PROVIDER] [--currency CODE]", "show what the ledger's accounts stand at", balancesList},
	{"obligations list", nil, "[--limit N]", "list what must still be released at a provider, the oldest first", obligationsList},
	{"settlements list", nil, "[--limit N]", "list the nights' settlement runs, the latest first", settlementsList},
	{"settlements show", []string{"DATE"}, "", "show a date's run: its settlements, what was left out, its alerts", settlementsShow},
	{"settlements run", nil, "--date DATE", "have a date's run begun, or carried on if nobody is at it, by a new task", settlementsRun},
	{"settlements retry", []string{"DATE"}, "", "have a date's run that failed carried on now, by a new task", settlementsRetry},
	{"settlements csv", []string{"SETTLEMENT"}, "", "write what a settlement is made of as CSV, the bytes that its hash is of", settlementsCSV},
	{"differences list", nil, "[--kind KIND] [--provider NAME] [--owner NAME] [--merchant MERCHANT] [--all] [--limit N]", "list where our facts, the providers' reports and the ledger do not agree, the oldest first; with --all what was resolved too", differencesList},
	{"differences show", []string{"DIFFERENCE"}, "", "show a difference with its evidence and what was done about it", differencesShow},
	{"differences assign", []string{"DIFFERENCE"}, "--to NAME [--who NAME]", "make a difference somebody's", differencesAssign},
	{"differences resolve", []string{"DIFFERENCE"}, "--why TEXT [--who NAME] [--write-off]", "close a difference that is explained; --write-off has the ledger follow the provider", differencesResolve},
	{"differences approve", []string{"DIFFERENCE"}, "--why TEXT [--who NAME]", "have an orphan charge refunded at the provider", differencesApprove},
	{"differences reject", []string{"DIFFERENCE"}, "--why TEXT [--who NAME]", "leave an orphan charge where it is", differencesReject},
	{"differences sums", nil, "", "hold our balance at each provider against the provider's own", differencesSums},
	{"sagas list", nil, "[--limit N]", "list the operations that are not done, the oldest first", sagasList},
	{"sagas resume", []string{"SAGA"}, "", "have an operation carried on now, by a new task", sagasResume},
}

// run parses the command's arguments, does it, and prints what came of it.
func (c command) run(ctx context.Context, w world, args []string) error {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints the error
	asJSON := flags.Bool("json", false, "")
	target := targetFlags(flags)
	do := c.make(flags)
	positional, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		return usage(w.out, c.name)
	}
	if err != nil {
		return usageError(err.Error() + "; see scripts/ops " + c.name + " --help")
	}
	if len(positional) != len(c.args) {
		return usageError("usage: " + c.line())
	}
	s, err := open(w, target)
	if err != nil {
		return err
	}
	defer s.close()
	s.asJSON = *asJSON
	r, err := do(ctx, s, positional)
	if err != nil || r == nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(w.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	return r.text(w.out)
}

// line is the command's usage.
func (c command) line() string {
	words := append([]string{"scripts/ops", c.name}, c.args...)
	if c.flags != "" {
		words = append(words, c.flags)
	}
	return strings.Join(words, " ")
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
