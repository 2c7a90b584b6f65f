package paypal

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
const Name = "paypal"

// How long PayPal is sure to know a PayPal-Request-Id, as its OpenAPI files say of the
// parameter (github.com/paypal/paypal-rest-api-specifications, checkout_orders_v2.json
// and payments_payment_v2.json).
const (
	ordersKeyWindow   = 6 * time.Hour
	paymentsKeyWindow = 45 * 24 * time.Hour
)

// refundWindow is how long a capture can be refunded:
// https://www.paypal.com/us/cshelp/article/how-do-i-issue-a-refund-help101
const refundWindow = 180 * 24 * time.Hour

// Adapter is PayPal behind the provider port. It is safe for concurrent use.
type Adapter struct {
	base, clientID string
	clientSecret   telemetry.Secret
	transport      *wire.Transport
	client         *http.Client
	tokens         tokens
	account        string
	log            *slog.Logger
	now            func() time.Time
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
		base: strings.TrimRight(cfg.APIBase, "/"), clientID: cfg.ClientID, clientSecret: cfg.ClientSecret,
		transport: transport, client: transport.Client(), tokens: tokens{turn: make(chan struct{}, 1)},
		account: cmp.Or(cfg.Account, modeOf(cfg.APIBase)), log: opt.Log, now: opt.Now,
	}, nil
}

// Name is "paypal".
func (*Adapter) Name() string { return Name }

// Account is the configured name of the one account, or "live" or "sandbox", after the
// API's address.
func (a *Adapter) Account() string { return a.account }

// Close closes idle connections. Calls under way go on.
func (a *Adapter) Close() { a.transport.Close() }

// Capabilities are the same for every PayPal account.
func (*Adapter) Capabilities() provider.Capabilities { return capabilities() }

func capabilities() provider.Capabilities {
	return provider.Capabilities{
		Methods: []provider.Method{{Type: PaymentMethod, Fits: func(token string) bool { return token == PaymentMethod }}},
		KeyWindow: map[provider.Step]time.Duration{
			provider.Authorize: ordersKeyWindow,
			provider.Capture:   paymentsKeyWindow, provider.Void: paymentsKeyWindow, provider.Refund: paymentsKeyWindow,
		},
		// An authorization is captured finally or voided once, whatever the key. (An order
		// is authorized once too, but a new authorize without a reference is a new order.)
		Guarded:        map[provider.Step]bool{provider.Capture: true, provider.Void: true},
		PayerFirst:     true,
		ManualCapture:  true,
		PartialCapture: true,
		RefundWindow:   refundWindow,
		ReportLag:      reportLag,
		Currencies:     currencies(),
		MaxAmount:      largest(2),
		Units:          Units,
	}
}

// Execute performs one attempt, and classes what came of it by what is proven. See the
// package comment for an authorize whose order the payer has approved.
func (a *Adapter) Execute(ctx context.Context, call provider.Call) provider.Result {
	j, err := newJob(call.Attempt())
	if err != nil {
		return a.unsendable(call, j, err)
	}
	r := &run{adapter: a, ctx: ctx, job: j, first: call.First()}
	began := a.now()
	v := r.perform()
	result := provider.Result{
		Outcome: v.outcome, Facts: v.facts, Refusal: v.refusal, Reference: r.reference(),
		TimedOut: r.timedOut, Evidence: r.evidence(v.doubt, a.now().Sub(began)),
	}
	a.log.LogAttrs(ctx, slog.LevelDebug, "paypal answered",
		slog.String("step", string(j.Request.Step)),
		slog.String("outcome", string(result.Outcome)),
		slog.Int("requests", r.requests),
		slog.Int("status", result.Evidence.Status),
		slog.String("provider_request_id", result.Evidence.RequestID),
		slog.Duration("duration", result.Evidence.Duration),
		slog.String("error", result.Evidence.Error),
	)
	return result
}

// exchange makes one request and returns what became of it.
func (a *Adapter) exchange(ctx context.Context, build func(context.Context) (*http.Request, error)) *wire.Exchange {
	x := &wire.Exchange{}
	began := a.now()
	req, err := build(wire.With(ctx, x))
	if err == nil {
		req.Header.Set("Accept", "application/json")
		req.Header.Set("User-Agent", "Tollgate")
		var resp *http.Response
		if resp, err = a.client.Do(req); err == nil {
			_ = resp.Body.Close() // it is in memory
		}
	}
	x.Duration = a.now().Sub(began)
	if x.Err == nil && err != nil {
		x.Err = err
	}
	return x
}

// unsendable is the result of an attempt that can't be put to PayPal.
func (a *Adapter) unsendable(call provider.Call, j job, err error) provider.Result {
	result := call.Unsendable("PayPal", err)
	if result.Refusal != nil {
		result.Facts = j.refusedFacts(result.Refusal, a.now())
	}
	return result
}
