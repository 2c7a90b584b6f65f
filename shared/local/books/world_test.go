package books

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// simulator is what the test does at a provider besides calling its API.
type simulator interface {
	SetPlan(providersim.Plan) error
	Counters() map[string]int64
	Effects() []providersim.Effect
	Plant(providersim.Plant) error
	Planted() []providersim.Planted
	Dispute(providersim.Complaint) (string, error)
	Decide(id, outcome string) error
}

// world is a local system with two merchants.
type world struct {
	*stack.Stack
	t      *testing.T
	seals  string
	shops  []*tenant
	sims   map[string]simulator
	orders []*order
}

// tenant is a merchant with a business day of its own.
type tenant struct {
	shop.Client
	id           id.ID
	zone, cutoff string
}

func newWorld(t *testing.T, seed uint64, planted bool) *world {
	t.Helper()
	w := &world{t: t, seals: t.TempDir(), orders: traffic(seed, planted)}
	s, err := stack.Start(t.Context(), stack.Options{
		DatabaseURL: pgtest.New(t), Log: pgtest.Undenied(t, io.Discard), Seed: seed, SealsFolder: w.seals,
		SweepSchedule: "*/30 * * * *", // each minute would take most of the time, and tell no more
		Calls:         map[string]string{"RECONCILE_RATE": "100"},
		Violation:     func(err error) { t.Errorf("does not fit openapi.yaml: %v", err) },
	})
	check(t, err)
	t.Cleanup(s.Stop)
	w.Stack = s
	w.sims = map[string]simulator{stripe.Name: s.Stripe, paypal.Name: s.PayPal, bank.Name: s.Bank}
	for _, name := range providers {
		check(t, w.sims[name].SetPlan(trouble(seed)))
	}
	w.open("Asia/Tokyo", "00:00")
	w.open("America/New_York", "18:30")
	return w
}

// trouble is what befalls requests to providers, reports among them, and webhooks.
func trouble(seed uint64) providersim.Plan {
	rule := func(p float64, f providersim.Fault) providersim.Rule {
		return providersim.Rule{Probability: p, Fault: f}
	}
	return providersim.Plan{Seed: seed, Rules: []providersim.Rule{
		rule(0.05, providersim.Fault{Kind: providersim.DropAfter}),
		rule(0.05, providersim.Fault{Kind: providersim.HTMLBefore, Status: http.StatusServiceUnavailable}),
		rule(0.3, providersim.Fault{Kind: providersim.WebhookDuplicate}),
		rule(0.2, providersim.Fault{Kind: providersim.WebhookDelay, For: 40 * time.Minute}),
		rule(0.2, providersim.Fault{Kind: providersim.WebhookReorder, For: time.Hour}),
	}}
}

// troubles are the faults that a run must have come to at every provider.
var troubles = []providersim.FaultKind{
	providersim.DropAfter, providersim.HTMLBefore, providersim.WebhookDuplicate, providersim.WebhookDelay, providersim.WebhookReorder,
}

// open opens a shop, which pays what the simulated providers charge.
func (w *world) open(zone, cutoff string) {
	w.t.Helper()
	ctx := w.t.Context()
	m, key, err := w.CreateMerchant(ctx, zone)
	check(w.t, err)
	store := merchant.Store{DB: w.DB, Now: w.Clock.Now}
	check(w.t, store.SetDay(ctx, m, zone, cutoff))
	price := func(provider, currency string, basisPoints, fixed, dispute int64) {
		check(w.t, ledger.SetSchedule(ctx, w.DB, ledger.Schedule{
			MerchantID: m, Provider: provider, Currency: money.MustParseCurrency(currency), BasisPoints: basisPoints, FixedMinor: fixed,
			DisputeFeeMinor: dispute, Rounding: ledger.HalfUp, EffectiveFrom: w.Clock.Now(),
		}, w.Clock.Now()))
	}
	price(stripe.Name, "JPY", 360, 0, 1500)
	for _, currency := range []string{"USD", "EUR", "KWD"} {
		price(stripe.Name, currency, 290, 30, 1500)
	}
	for currency, fixed := range map[string]int64{"JPY": 49, "USD": 49, "EUR": 39} {
		price(paypal.Name, currency, 349, fixed, 0)
	}
	for _, currency := range []string{"EUR", "GBP"} {
		price(bank.Name, currency, 100, 20, 0)
	}
	w.shops = append(w.shops, &tenant{shop.Client{BaseURL: w.GatewayURL, APIKey: key}, m, zone, cutoff})
}

// payment is what the test reads of one.
type payment struct {
	ID         string `json:"id"`
	Status     any    `json:"status"` // a problem's is a number
	Provider   string `json:"provider"`
	Reference  string `json:"provider_transaction_id"`
	Amount     int64  `json:"amount"`
	Authorized int64  `json:"authorized_amount"`
	Captured   int64  `json:"captured_amount"`
	Refunded   int64  `json:"refunded_amount"`
	Disputed   int64  `json:"disputed_amount"`
	Pending    string `json:"pending_operation"`
	Synced     string `json:"reconciliation_status"`
	NextAction *struct {
		RedirectURL string `json:"redirect_url"`
	} `json:"next_action"`
	PaymentID string `json:"payment_id"` // of a problem
	Code      string `json:"code"`
}

func (w *world) read(o *order) payment {
	w.t.Helper()
	a, err := w.shops[o.shop].Get(w.t.Context(), "/v1/payments/"+o.id)
	check(w.t, err)
	var p payment
	check(w.t, a.Into(&p))
	return p
}

// run has the traffic take place.
func (w *world) run() {
	w.t.Helper()
	open := slices.Clone(w.orders)
	for len(open) > 0 {
		slices.SortFunc(open, func(a, b *order) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.key, b.key)) })
		o := open[0]
		if wait := o.due.Sub(w.Clock.Now()); wait > 0 {
			w.advance(wait)
		}
		if w.Clock.Now().Sub(stack.Epoch) > days+48*time.Hour {
			w.t.Fatalf("order %s does not come past %q: %+v", o.key, o.steps[0].do, w.read(o))
		}
		if !w.carryOn(o) {
			o.due = w.Clock.Now().Add(20 * time.Minute) // for its turn has not come
			continue
		}
		if o.steps = o.steps[1:]; len(o.steps) == 0 {
			open = open[1:]
			continue
		}
		o.due = w.Clock.Now().Add(o.steps[0].after)
	}
}

func (w *world) advance(d time.Duration) {
	w.t.Helper()
	check(w.t, w.Advance(w.t.Context(), d))
}

// carryOn does the next step of an order, if it can be done by now.
func (w *world) carryOn(o *order) bool {
	w.t.Helper()
	s := o.steps[0]
	if s.do == create {
		return w.create(o)
	}
	p := w.read(o)
	share := func(all int64) any {
		if s.percent == 0 {
			return map[string]any{}
		}
		return map[string]any{"amount": percent(all, s.percent)}
	}
	switch s.do {
	case pay:
		if p.NextAction == nil {
			return p.Authorized > 0
		}
		_, err := shop.Visit(w.t.Context(), p.NextAction.RedirectURL, s.outcome)
		check(w.t, err)
		return true
	case capture:
		return p.Status == "AUTHORIZED" && p.Pending == "" && w.post(o, "capture", share(o.amount))
	case cancel:
		return p.Status == "AUTHORIZED" && p.Pending == "" && w.post(o, "cancel", map[string]any{})
	case refund:
		return p.Captured > 0 && p.Pending == "" && w.post(o, "refund", share(p.Captured))
	case complain:
		if p.Captured == 0 {
			return false
		}
		c := providersim.Complaint{Payment: p.Reference}
		if o.provider != bank.Name && s.percent > 0 {
			c.AmountMinor = percent(p.Captured, s.percent)
		}
		var err error
		o.dispute, err = w.sims[o.provider].Dispute(c)
		check(w.t, err)
		return true
	default:
		check(w.t, w.sims[o.provider].Decide(o.dispute, s.outcome))
		return true
	}
}

// percent is a part of an amount that every currency and provider can have.
func percent(amount, of int64) int64 { return amount * of / 1000 * 10 }

func (w *world) create(o *order) bool {
	w.t.Helper()
	body := map[string]any{"amount": o.amount, "currency": o.currency, "payment_method": o.method, "capture_method": "manual", "return_url": back}
	if o.sale {
		body["capture_method"] = "automatic"
	}
	a, err := w.shops[o.shop].Post(w.t.Context(), "/v1/payments", o.key, body)
	check(w.t, err)
	var p payment
	check(w.t, a.Into(&p))
	if a.Status >= 400 && a.Status != http.StatusServiceUnavailable {
		w.t.Fatalf("order %s of %d %s at %s was answered %d %s", o.key, o.amount, o.currency, o.provider, a.Status, a.Body)
	}
	if o.id = p.ID; p.PaymentID != "" {
		o.id = p.PaymentID
	}
	if o.id != "" && o.plant != nil {
		o.plant.Metadata = map[string]string{"tollgate_payment": o.id}
		if o.provider == paypal.Name {
			o.plant.Metadata = map[string]string{"invoice_id": o.id}
		}
		check(w.t, w.sims[o.provider].Plant(*o.plant))
	}
	return o.id != ""
}

// post asks for an operation, and reports whether it was taken on. Until it is, it is the
// same request.
func (w *world) post(o *order, operation string, body any) bool {
	w.t.Helper()
	a, err := w.shops[o.shop].Post(w.t.Context(), "/v1/payments/"+o.id+"/"+operation, fmt.Sprintf("%s-%s-%d", o.key, operation, len(o.steps)), body)
	check(w.t, err)
	switch a.Status {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted:
		return true
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return false
	}
	w.t.Fatalf("%s of %s at %s was answered %d %s", operation, o.id, o.provider, a.Status, a.Body)
	return false
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
