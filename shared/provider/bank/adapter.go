package bank

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// Name is the provider's name, in configuration, in rows and in the public API.
const Name = "bank"

// keyWindow is how long a key is trusted to be known. GoCardless states no limit, so
// this is what other providers state at least.
const keyWindow = 24 * time.Hour

// Adapter is GoCardless behind the provider port. It is safe for concurrent use.
type Adapter struct {
	base      string
	token     telemetry.Secret
	http      *http.Client
	transport *wire.Transport
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
	return &Adapter{
		base:      strings.TrimRight(cfg.APIBase, "/"),
		token:     cfg.AccessToken,
		http:      transport.Client(),
		transport: transport,
		account:   cmp.Or(cfg.Account, modeOf(cfg.APIBase)),
		log:       opt.Log,
		now:       opt.Now,
	}, nil
}

// Name is "bank".
func (*Adapter) Name() string { return Name }

// Account is the configured name of the one account, or "live" or "sandbox", after the
// address.
func (a *Adapter) Account() string { return a.account }

// Close closes idle connections. Calls under way go on.
func (a *Adapter) Close() { a.transport.Close() }

// Capabilities are the same for every GoCardless account.
func (*Adapter) Capabilities() provider.Capabilities { return capabilities() }

func capabilities() provider.Capabilities {
	return provider.Capabilities{
		Methods: []provider.Method{{Type: PaymentMethod, Fits: isTransfer}},
		KeyWindow: map[provider.Step]time.Duration{
			provider.Authorize: keyWindow, provider.Void: keyWindow, provider.Refund: keyWindow,
		},
		Guarded:    map[provider.Step]bool{provider.Void: true}, // a billing request is cancelled once, whatever the key
		Currencies: currencyList(),
		MaxAmount:  maxUnits,
		Units:      Units,
		ReportLag:  reportLag,
	}
}

// PaymentMethod is a transfer by whatever scheme fits the currency. A scheme's own name
// asks for that one.
const PaymentMethod = "bank_transfer"

func isTransfer(token string) bool { return token == PaymentMethod || schemes[token] != "" }

// Execute performs one attempt, and classes what came of it by what is proven. It may
// take several requests, of which at most one can move money.
func (a *Adapter) Execute(ctx context.Context, call provider.Call) provider.Result {
	o, err := newOrder(call.Attempt())
	if err != nil {
		return a.unsendable(call, o, err)
	}
	d := a.begin(ctx)
	d.first = call.First()
	var v verdict
	switch o.Step {
	case provider.Authorize:
		v = d.authorize(o)
	case provider.Void:
		v = d.void(o)
	case provider.Refund:
		v = d.refund(o)
	}
	result := provider.Result{
		Outcome: v.outcome, Facts: v.facts, Refusal: v.refusal, Reference: v.reference,
		TimedOut: d.last.TimedOut, Evidence: d.evidence(v.doubt),
	}
	a.log.LogAttrs(ctx, slog.LevelDebug, "gocardless answered",
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

// unsendable is the result of an attempt that can't be put to GoCardless.
func (a *Adapter) unsendable(call provider.Call, o order, err error) provider.Result {
	result := call.Unsendable("GoCardless", err)
	if result.Refusal != nil {
		result.Facts = attemptFacts(o, result.Refusal, a.now())
	}
	return result
}
