package chaos

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/breaker"
	"github.com/tollgate/tollgate/shared/provider/guard"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
	"github.com/tollgate/tollgate/shared/telemetry"
)

var epoch = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)

// world is one simulated world. Everything in it is done by one goroutine, or by others
// while that one waits for them.
type world struct {
	ctx  context.Context
	seed uint64
	tag  string // the request id of everything that is done in it
	rand *rand.Rand
	pool *pgxpool.Pool            // a superuser's
	own  map[string]*pgxpool.Pool // the functions'

	clock struct {
		sync.Mutex
		at time.Time
	}
	newID func() id.ID

	stripe *providersim.Stripe
	paypal *providersim.PayPal
	bank   *providersim.GoCardless
	hosts  []*host // in a fixed order
	doors  receiver

	control  *control.Memory
	settings breaker.Settings
	service  *payment.Service
	inbox    *inbox.Inbox
	adapters []interface{ Close() }
	deployed int

	caller   payment.Caller
	requests []*request // that the merchant has sent
	pages    []string   // where payers were sent
	webhooks []webhook  // that came and were not dealt with
	mishap   *mishap    // what befalls the work under way
	asleep   bool       // a worker is
	slept    int        // workers did so often
	unruly   bool       // providers act later than they may
	calm     bool       // the trouble is over,
	calmAt   time.Time  // since then

	steps  []string
	broken []string
}

// newWorld makes the world of a seed.
func newWorld(ctx context.Context, pools Pools, seed uint64) (*world, error) {
	w := &world{
		seed: seed, tag: fmt.Sprintf("chaos-%d", seed), pool: pools.Superuser, own: pools.Functions,
		rand: rand.New(rand.NewPCG(seed, 0x6368616f73)), control: control.NewMemory(), settings: breaker.Default(),
	}
	w.ctx = telemetry.WithRequestID(ctx, w.tag)
	w.clock.at = epoch
	w.newID = id.Source{Now: w.now, Read: seededBytes(seed)}.New
	if w.chance(0.7) {
		w.settings.MinCalls = 3 // few payments are no reason otherwise
	}
	w.unruly = w.chance(0.25)

	post := &http.Client{Transport: &w.doors}
	const url = "http://127.0.0.1/webhooks/"
	w.stripe = providersim.NewStripe(providersim.StripeConfig{
		Now: w.now, SecretKeys: []string{credential(0)}, WebhookURL: url + stripe.Name, HTTP: post, Seed: seed,
	})
	w.paypal = providersim.NewPayPal(providersim.PayPalConfig{
		Now: w.now, ClientID: "app", ClientSecret: credential(0), WebhookID: "WH-CHAOS", WebhookURL: url + paypal.Name, HTTP: post,
		Seed: seed, Base: "http://127.0.0.1:2",
	})
	w.bank = providersim.NewGoCardless(providersim.GoCardlessConfig{
		Now: w.now, AccessTokens: []string{credential(0)}, WebhookSecret: "hush", WebhookURL: url + bank.Name, HTTP: post, Seed: seed,
	})
	for i, s := range []struct {
		name string
		sim  simulator
	}{{stripe.Name, w.stripe}, {paypal.Name, w.paypal}, {bank.Name, w.bank}} {
		w.hosts = append(w.hosts, newHost(s.name, fmt.Sprintf("http://127.0.0.1:%d", i+1), s.sim, seed+uint64(i), w.pass))
	}

	m := w.newID()
	const insert = `INSERT INTO merchants (id, name, status, created_at, updated_at) VALUES ($1, $2, 'ACTIVE', $3, $3)`
	if _, err := w.pool.Exec(ctx, insert, m, w.tag, w.now()); err != nil {
		return nil, err
	}
	w.caller = payment.Caller{MerchantID: m, KeyID: w.newID()}
	return w, w.deploy()
}

func (w *world) close() {
	for _, a := range w.adapters {
		a.Close()
	}
	for _, h := range w.hosts {
		h.close()
	}
}

func credential(n int) string { return fmt.Sprintf("sk_test_%d", n) }

// seededBytes are random bytes by a seed, for many readers.
func seededBytes(seed uint64) func([]byte) (int, error) {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%032d", seed))
	var mu sync.Mutex
	source := rand.NewChaCha8(key)
	return func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return source.Read(b)
	}
}

func (w *world) now() time.Time {
	w.clock.Lock()
	defer w.clock.Unlock()
	return w.clock.at
}

func (w *world) set(t time.Time) {
	w.clock.Lock()
	defer w.clock.Unlock()
	if t.After(w.clock.at) {
		// Rounded up to what PostgreSQL keeps, so that what is due at t is due.
		w.clock.at = t.UTC().Add(time.Microsecond - time.Nanosecond).Truncate(time.Microsecond)
	}
}

// pass lets time go by, in which the providers do what falls due, each thing at its time.
func (w *world) pass(d time.Duration) {
	to := w.now().Add(d)
	for {
		var next *host
		var at time.Time
		for _, h := range w.hosts {
			if due, ok := h.NextDue(); ok && !due.After(to) && (next == nil || due.Before(at)) {
				next, at = h, due
			}
		}
		if next == nil {
			break
		}
		w.set(at)
		next.RunDue(w.ctx)
		next.quiet()
	}
	w.set(to)
}

func (w *world) host(name string) *host {
	for _, h := range w.hosts {
		if h.name == name {
			return h
		}
	}
	panic("chaos: no provider " + name)
}

// deploy starts the service anew on the same database, with nothing of what the old one
// had in memory.
func (w *world) deploy() error {
	for _, a := range w.adapters {
		a.Close()
	}
	key := credential(w.deployed)
	card, err := stripe.New(stripe.Config{SecretKey: telemetry.Secret(key), APIBase: w.hosts[0].base}, stripe.Options{Now: w.now, Dial: w.hosts[0].dial})
	if err != nil {
		return err
	}
	wallet, err := paypal.New(paypal.Config{ClientID: "app", ClientSecret: telemetry.Secret(key), APIBase: w.hosts[1].base}, paypal.Options{Now: w.now, Dial: w.hosts[1].dial})
	if err != nil {
		return err
	}
	transfer, err := bank.New(bank.Config{AccessToken: telemetry.Secret(key), APIBase: w.hosts[2].base}, bank.Options{Now: w.now, Dial: w.hosts[2].dial})
	if err != nil {
		return err
	}
	w.adapters = []interface{ Close() }{card, wallet, transfer}
	places := guard.DefaultConcurrency
	if !w.calm && w.chance(0.2) {
		places = 1
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	w.service = &payment.Service{
		Now: w.now, NewID: w.newID, Name: "chaos", Log: log,
		Providers: map[string]provider.Adapter{}, Hook: w.hook,
	}
	sources := map[string]inbox.Source{}
	for _, a := range []provider.Adapter{card, wallet, transfer} {
		w.service.Providers[a.Name()] = guard.New(a, guard.Options{
			Limits: guard.Limits{Concurrency: places, Timeouts: guard.Timeouts{
				Connect: patience, Authorize: patience, Capture: patience, Void: patience, Refund: patience, LookUp: patience,
			}},
			Breaker: breaker.New(breaker.Options{
				Provider: a.Name(), Store: w.control, Now: w.now, NewID: w.newID, Settings: w.settings,
			}),
			Now: w.now,
		})
		sources[a.Name()] = inbox.Source{Verify: signed, Parse: a.ParseEvent}
	}
	split := sources[bank.Name]
	split.Split = bank.Split
	sources[bank.Name] = split
	w.inbox = &inbox.Inbox{Sources: sources, Now: w.now, NewID: w.newID, Log: log}
	return nil
}

// as is the service as a function has it: with that function's rights in the database.
func (w *world) as(function string) *payment.Service {
	s := *w.service
	s.Pool = w.own[function]
	return &s
}

// reads is the inbox as a function has it.
func (w *world) reads(function string) *inbox.Inbox {
	in := *w.inbox
	in.Pool, in.Payments = w.own[function], w.as(function)
	return &in
}

// patience is of real time, and never runs out: what hangs is given up by its host.
const patience = 10 * time.Minute

// signed takes every webhook for signed: what it says is what matters here, and some are
// handed in later than a signature is good for.
func signed(context.Context, http.Header, []byte, time.Time) error { return nil }

// receiver takes in the webhooks that the providers send.
type receiver struct {
	mu   sync.Mutex
	down bool
	came []webhook
}

type webhook struct {
	provider string
	header   http.Header
	body     []byte
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	_ = req.Body.Close()
	answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: req, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		answer.StatusCode = http.StatusServiceUnavailable
		return answer, nil
	}
	r.came = append(r.came, webhook{strings.TrimPrefix(req.URL.Path, "/webhooks/"), req.Header, body})
	return answer, nil
}

func (w *world) did(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf("%4d  %s  %s", len(w.steps), w.now().Sub(epoch).Round(time.Millisecond), fmt.Sprintf(format, args...)))
}

func (w *world) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
	w.did("BROKEN: "+format, args...)
}

func (w *world) chance(p float64) bool { return w.rand.Float64() < p }

// between draws a length of time, small ones as likely as large ones.
func (w *world) between(least, most time.Duration) time.Duration {
	ratio := float64(most) / float64(least)
	return time.Duration(float64(least) * math.Pow(ratio, w.rand.Float64())).Round(time.Millisecond)
}

func pick[T any](w *world, from []T) T { return from[w.rand.IntN(len(from))] }
