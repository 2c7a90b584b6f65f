package stripe

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"time"

	stripego "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/balancetransaction"
	"github.com/stripe/stripe-go/v76/dispute"
	"github.com/stripe/stripe-go/v76/paymentintent"
	"github.com/stripe/stripe-go/v76/payout"
	"github.com/stripe/stripe-go/v76/refund"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// Name is the provider's name, in configuration, in rows and in the public API.
const Name = "stripe"

// keyWindow is how long Stripe is sure to know an idempotency key:
// https://docs.stripe.com/api/idempotent_requests ("at least 24 hours")
const keyWindow = 24 * time.Hour

// Adapter is Stripe behind the provider port. It is safe for concurrent use.
type Adapter struct {
	intents   paymentintent.Client
	refunds   refund.Client
	disputes  dispute.Client
	movements balancetransaction.Client
	payouts   payout.Client
	transport *wire.Transport
	mode      string
	account   string
	log       *slog.Logger
	now       func() time.Time
}

var _ provider.Adapter = (*Adapter)(nil)

// Options are what an adapter is wired with. Now is required.
type Options = wire.Options

// New makes an adapter. It opens no connection; the error is about the configuration.
func New(cfg Config, opt Options) (*Adapter, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	transport, err := opt.Open(Name)
	if err != nil {
		return nil, err
	}
	backend := stripego.GetBackendWithConfig(stripego.APIBackend, &stripego.BackendConfig{
		URL:               stripego.String(strings.TrimRight(cfg.APIBase, "/")),
		HTTPClient:        transport.Client(),
		MaxNetworkRetries: stripego.Int64(0),
		EnableTelemetry:   stripego.Bool(false),
		// The library would log whole replies; what matters is in the evidence.
		LeveledLogger: &stripego.LeveledLogger{Level: stripego.LevelNull},
	})
	key := cfg.SecretKey.Reveal()
	return &Adapter{
		intents:   paymentintent.Client{B: backend, Key: key},
		refunds:   refund.Client{B: backend, Key: key},
		disputes:  dispute.Client{B: backend, Key: key},
		movements: balancetransaction.Client{B: backend, Key: key},
		payouts:   payout.Client{B: backend, Key: key},
		transport: transport,
		mode:      modeOf(cfg.SecretKey),
		account:   cmp.Or(cfg.Account, modeOf(cfg.SecretKey)),
		log:       opt.Log,
		now:       opt.Now,
	}, nil
}

// Name is "stripe".
func (*Adapter) Name() string { return Name }

// Account is the configured name of the one account, or "live" or "test", after the key.
func (a *Adapter) Account() string { return a.account }

// Close closes idle connections. Calls under way go on.
func (a *Adapter) Close() { a.transport.Close() }

// Capabilities are the same for every Stripe account.
func (*Adapter) Capabilities() provider.Capabilities { return capabilities() }

func capabilities() provider.Capabilities {
	return provider.Capabilities{
		Methods: []provider.Method{{Type: "card", Fits: isCard}},
		KeyWindow: map[provider.Step]time.Duration{
			provider.Authorize: keyWindow, provider.Capture: keyWindow, provider.Void: keyWindow, provider.Refund: keyWindow,
		},
		// A PaymentIntent is captured once or canceled once, whatever the key.
		Guarded:        map[provider.Step]bool{provider.Capture: true, provider.Void: true},
		ManualCapture:  true,
		PartialCapture: true,
		Currencies:     currencies(),
		MaxAmount:      maxUnits,
		Units:          Units,
		ReportLag:      reportLag,
		Elsewhere:      elsewhere,
	}
}

// isCard recognizes Stripe's names of cards: payment methods, and their elders.
func isCard(token string) bool {
	return strings.HasPrefix(token, "pm_") || strings.HasPrefix(token, "card_") || strings.HasPrefix(token, "src_")
}

// Execute performs one attempt with its own idempotency key, and classes what came of
// it by what is proven.
func (a *Adapter) Execute(ctx context.Context, call provider.Call) provider.Result {
	o, err := newOrder(call.Attempt())
	if err != nil {
		return a.unsendable(call, o, err)
	}
	x := a.exchange(ctx, func(ctx context.Context) error { return a.send(ctx, o) })
	v := classify(o, call.First(), x, a.now())
	result := provider.Result{
		Outcome: v.outcome, Facts: v.facts, Refusal: v.refusal, Reference: v.reference,
		TimedOut: x.TimedOut, Evidence: evidenceOf(x, v.doubt),
	}
	a.log.LogAttrs(ctx, slog.LevelDebug, "stripe answered",
		slog.String("step", string(o.Step)),
		slog.String("outcome", string(result.Outcome)),
		slog.Int("status", result.Evidence.Status),
		slog.String("provider_request_id", result.Evidence.RequestID),
		slog.Bool("replayed", result.Evidence.Replayed),
		slog.Duration("duration", result.Evidence.Duration),
		slog.String("error", result.Evidence.Error),
	)
	return result
}

// exchange makes one request and returns what became of it.
func (a *Adapter) exchange(ctx context.Context, send func(context.Context) error) *wire.Exchange {
	x := &wire.Exchange{}
	began := a.now()
	err := send(wire.With(ctx, x))
	x.Duration = a.now().Sub(began)
	if x.Err == nil && x.Status == 0 {
		x.Err = err // stripe-go refused to make the request
	}
	return x
}

// unsendable is the result of an attempt that can't be put to Stripe.
func (a *Adapter) unsendable(call provider.Call, o order, err error) provider.Result {
	result := call.Unsendable("Stripe", err)
	if result.Refusal == nil {
		return result
	}
	switch o.Step {
	case provider.Authorize:
		result.Facts = []provider.Fact{attemptFact(o, provider.KindAuthorization, result.Refusal, a.now())}
	case provider.Refund:
		result.Facts = []provider.Fact{attemptFact(o, provider.KindRefund, result.Refusal, a.now())}
	}
	return result
}
