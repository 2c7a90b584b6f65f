package bank_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/telemetry"
)

const webhookSecret = "hush"

// bench is an adapter before a simulated account, with a receiver of its webhooks.
type bench struct {
	t       *testing.T
	sim     *providersim.GoCardless
	adapter *bank.Adapter
	server  *httptest.Server

	mu     sync.Mutex
	at     time.Time
	events []provider.Event
	number byte // of the last id
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	b.sim = providersim.NewGoCardless(providersim.GoCardlessConfig{
		Now: b.now, AccessTokens: []string{"sandbox_bench"}, WebhookSecret: webhookSecret,
	})
	t.Cleanup(b.sim.Close)
	b.server = httptest.NewServer(b.sim)
	t.Cleanup(b.server.Close)
	receiver := httptest.NewServer(http.HandlerFunc(b.receive))
	t.Cleanup(receiver.Close)
	b.sim.SetWebhook(receiver.URL)
	b.adapter = b.newAdapter(time.Minute) // a busy machine is no timeout
	return b
}

func (b *bench) newAdapter(read time.Duration) *bank.Adapter {
	b.t.Helper()
	a, err := bank.New(bank.Config{AccessToken: "sandbox_bench", APIBase: b.server.URL}, bank.Options{
		Now: b.now, ConnectTimeout: time.Minute, ReadTimeout: read,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(a.Close)
	return a
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

// advance moves the clock, stopping wherever something is due.
func (b *bench) advance(d time.Duration) {
	b.t.Helper()
	end := b.now().Add(d)
	for {
		due, ok := b.sim.NextDue()
		if !ok || due.After(end) {
			due = end
		}
		b.mu.Lock()
		b.at = due
		b.mu.Unlock()
		b.sim.RunDue(b.t.Context())
		if due.Equal(end) {
			return
		}
	}
}

// receive verifies and parses a webhook as ingestion does.
func (b *bench) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = bank.Verify(r.Header.Get(bank.SignatureHeader), body, []telemetry.Secret{webhookSecret})
	}
	if err != nil {
		b.t.Errorf("webhook: %v", err)
		w.WriteHeader(498)
		return
	}
	events, err := bank.ParseEvents(body)
	if err != nil {
		b.t.Errorf("webhook %s: %v", body, err)
	}
	b.mu.Lock()
	b.events = append(b.events, events...)
	b.mu.Unlock()
}

// heard waits for the webhooks and returns the types of those worth a look-up.
func (b *bench) heard(payment id.ID) string {
	b.t.Helper()
	if err := b.sim.Quiesce(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, e := range b.events {
		if e.PaymentID == payment && e.LookUp {
			all = append(all, e.Type)
		}
	}
	return strings.Join(all, " ")
}

func (b *bench) newID() id.ID {
	b.number++
	return id.ID{0: 1, 15: b.number}
}

func (b *bench) authorization(pence int64) provider.Request {
	return provider.Request{
		Step: provider.Authorize, Account: b.adapter.Account(), MerchantID: b.newID(), PaymentID: b.newID(), AutoCapture: true,
		Amount: money.New(pence, money.MustParseCurrency("GBP")), ReturnURL: "https://shop.example/back",
	}
}

// follow is a later step of the payment that a result is about.
func (b *bench) follow(r provider.Request, made provider.Result, step provider.Step, pence int64) provider.Request {
	next := provider.Request{
		Step: step, Account: r.Account, MerchantID: r.MerchantID, PaymentID: r.PaymentID, Reference: made.Reference,
		Amount: money.New(pence, r.Amount.Currency),
	}
	if step == provider.Refund {
		next.RefundID = b.newID()
	}
	return next
}

func (b *bench) attempt(r provider.Request) provider.Attempt {
	return provider.NewAttempt(b.newID(), 1, r, b.now())
}

func (b *bench) first(by *bank.Adapter, a provider.Attempt) provider.Result {
	b.t.Helper()
	call, err := provider.FirstCall(a)
	if err != nil {
		b.t.Fatal(err)
	}
	return by.Execute(b.t.Context(), call)
}

func (b *bench) replay(a provider.Attempt) provider.Result {
	b.t.Helper()
	call, ok := provider.Replay(a, b.adapter.Capabilities(), b.now())
	if !ok {
		b.t.Fatal("the key window is closed")
	}
	return b.adapter.Execute(b.t.Context(), call)
}

func (b *bench) expect(what string, got provider.Result, want provider.Outcome) {
	b.t.Helper()
	if got.Outcome != want {
		b.t.Fatalf("%s: %s, want %s (status %d, %q, refusal %v)", what, got.Outcome, want, got.Evidence.Status, got.Evidence.Error, got.Refusal)
	}
}

// do makes a first call and expects its outcome and facts.
func (b *bench) do(r provider.Request, want provider.Outcome, facts string) provider.Result {
	b.t.Helper()
	got := b.first(b.adapter, b.attempt(r))
	b.expect(string(r.Step), got, want)
	if s := summary(got.Facts); s != facts {
		b.t.Errorf("%s: facts %q, want %q", r.Step, s, facts)
	}
	return got
}

// pay makes a payment and answers for its payer.
func (b *bench) pay(pence int64) (provider.Request, provider.Result) {
	b.t.Helper()
	r := b.authorization(pence)
	made := b.first(b.adapter, b.attempt(r))
	b.expect("authorize", made, provider.RequiresAction)
	b.authorize(made)
	return r, made
}

// authorize goes to the page, as the payer does.
func (b *bench) authorize(made provider.Result) {
	b.t.Helper()
	next := made.Facts[0].NextAction
	if next == nil || next.Type != "redirect_to_url" {
		b.t.Fatalf("next action %+v", next)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Get(next.RedirectURL + "?outcome=authorise")
	if err != nil {
		b.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if back := resp.Header.Get("Location"); !strings.HasPrefix(back, "https://shop.example/back?") {
		b.t.Fatalf("the payer is sent to %q", back)
	}
}

// find looks a payment up in both ways, which must agree.
func (b *bench) find(r provider.Request, reference string) string {
	b.t.Helper()
	var found [2]string
	for i, by := range []string{reference, ""} {
		got := b.adapter.Find(b.t.Context(), provider.Query{
			Account: r.Account, PaymentID: r.PaymentID, Reference: by, Since: b.now().Add(-30 * 24 * time.Hour),
		})
		if !got.Complete {
			b.t.Fatalf("the look-up is not complete: %s", got.Evidence.Error)
		}
		for _, f := range got.Facts {
			if f.PaymentID != r.PaymentID || f.Reference != reference || f.Rank() == 0 {
				b.t.Errorf("impossible fact %+v", f)
			}
		}
		found[i] = summary(got.Facts)
	}
	if found[0] != found[1] {
		b.t.Errorf("by reference %s\nby metadata %s", found[0], found[1])
	}
	return found[0]
}

func (b *bench) known(r provider.Request, made provider.Result, want string) {
	b.t.Helper()
	if got := b.find(r, made.Reference); got != want {
		b.t.Errorf("look-up: %s\nwant %s", got, want)
	}
}

// effects writes what really happened to a payment.
func (b *bench) effects(r provider.Request) string {
	var all []string
	for _, e := range b.sim.EffectsFor("tollgate_payment", id.Payment.External(r.PaymentID)) {
		all = append(all, string(e.Kind))
	}
	return strings.Join(all, " ")
}

// summary writes facts as "kind.state amount", in their order.
func summary(facts []provider.Fact) string {
	var all []string
	for _, f := range facts {
		all = append(all, string(f.Kind)+"."+string(f.State)+" "+f.Amount.String())
	}
	return strings.Join(all, ", ")
}

const (
	waits     = "authorization.requires_action GBP 50.00"
	underWay  = "authorization.approved GBP 50.00"
	confirmed = "authorization.authorized GBP 50.00, capture.succeeded GBP 50.00"
	voided    = "authorization.canceled GBP 50.00"
)

func TestLife(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization(5000)
	made := b.do(r, provider.RequiresAction, waits)
	b.known(r, made, waits)
	b.authorize(made)
	b.known(r, made, underWay)
	b.do(b.follow(r, made, provider.Void, 5000), provider.Declined, underWay)
	b.do(b.follow(r, made, provider.Refund, 1), provider.Declined, "refund.failed GBP 0.01")
	b.advance(time.Minute)
	b.known(r, made, underWay)
	b.advance(10 * time.Minute)
	b.known(r, made, confirmed)
	b.do(b.follow(r, made, provider.Refund, 2000), provider.Pending, "refund.pending GBP 20.00")
	b.do(b.follow(r, made, provider.Refund, 3001), provider.Rejected, "refund.failed GBP 30.01")
	b.do(b.follow(r, made, provider.Refund, 3000), provider.Pending, "refund.pending GBP 30.00")
	b.known(r, made, confirmed+", refund.pending GBP 30.00, refund.pending GBP 20.00")
	b.advance(48 * time.Hour)
	b.known(r, made, confirmed+", refund.succeeded GBP 30.00, refund.succeeded GBP 20.00")
	if got := b.effects(r); got != "authorize capture refund refund" {
		t.Errorf("effects: %s", got)
	}
	want := "billing_requests.fulfilled payments.created payments.submitted payments.confirmed " +
		"refunds.created refunds.created refunds.paid refunds.paid payments.paid_out"
	if got := b.heard(r.PaymentID); got != want {
		t.Errorf("heard %s\nwant  %s", got, want)
	}
}

func TestVoid(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.authorization(5000)
	made := b.do(r, provider.RequiresAction, waits)
	b.do(b.follow(r, made, provider.Void, 5000), provider.Approved, voided)
	b.do(b.follow(r, made, provider.Void, 0), provider.Approved, voided) // as an obligation does
	b.known(r, made, voided)
	b.do(b.follow(r, made, provider.Refund, 5000), provider.Declined, "refund.failed GBP 50.00")
	b.do(b.follow(r, made, provider.Capture, 5000), provider.Rejected, "")
	if got := b.effects(r); got != "" {
		t.Errorf("effects: %s", got)
	}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for pence, want := range map[int64]string{
		providersim.GoCardlessFails:       "authorization.failed GBP 100.01 insufficient_funds",
		providersim.GoCardlessFailsLate:   "authorization.authorized GBP 100.02, capture.succeeded GBP 100.02, capture.failed GBP 100.02 account_closed",
		providersim.GoCardlessChargedBack: "authorization.authorized GBP 100.03, capture.succeeded GBP 100.03, capture.failed GBP 100.03 disputed",
	} {
		r, made := b.pay(pence)
		b.advance(48 * time.Hour)
		got := b.adapter.Find(t.Context(), provider.Query{PaymentID: r.PaymentID, Reference: made.Reference})
		last := got.Facts[len(got.Facts)-1]
		if s := summary(got.Facts) + " " + last.Refusal.Code; !got.Complete || s != want {
			t.Errorf("%d: %s\nwant %s", pence, s, want)
		}
	}

	r, made := b.pay(providersim.GoCardlessFails)
	b.advance(time.Hour)
	b.do(b.follow(r, made, provider.Void, 0), provider.Approved, "authorization.canceled GBP 100.01") // a failed payment's obligation

	r, made = b.pay(providersim.GoCardlessSlow)
	b.advance(72 * time.Hour)
	b.known(r, made, "authorization.approved GBP 100.04")

	r, made = b.pay(providersim.GoCardlessRefundBounces)
	b.advance(time.Hour)
	back := b.do(b.follow(r, made, provider.Refund, 5), provider.Pending, "refund.pending GBP 0.05")
	paid := "authorization.authorized GBP 100.05, capture.succeeded GBP 100.05, refund."
	b.advance(10 * time.Minute)
	b.known(r, back, paid+"succeeded GBP 0.05")
	b.advance(10 * time.Minute)
	b.known(r, back, paid+"failed GBP 0.05")
}

// faultCase is one fault of the plan at one operation of a step.
type faultCase struct {
	step      provider.Step
	operation providersim.Operation
	done      provider.Outcome // when all goes well
}

var faultCases = []faultCase{
	{provider.Authorize, providersim.Authorize, provider.RequiresAction},
	{provider.Authorize, providersim.Confirm, provider.RequiresAction}, // the payer's page
	{provider.Void, providersim.Void, provider.Approved},
	{provider.Refund, providersim.Refund, provider.Pending},
}

var faults = []string{
	"delay_before; for=1ms", "delay_after; for=1ms", "hang_before", "hang_after", "drop_before", "drop_after", "drop_after; silent",
	"500_before", "500_after", "429", "409", "html_before", "html_after", "bad_json", "wrong_amount", "late_500", "late_drop", "late_hang",
}

// first is what the call that the fault befalls yields.
func (c faultCase) first(fault string) provider.Outcome {
	page := c.operation == providersim.Confirm
	switch {
	case strings.HasPrefix(fault, "delay"), fault == "wrong_amount" && page: // a page states no amount
		return c.done
	case fault == "429" && !page:
		return provider.NotSent
	}
	return provider.Unknown
}

// Each fault at each operation: what the call says, what a replay says, and that it
// happened once.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range faultCases {
		for _, fault := range faults {
			t.Run(string(c.operation)+"/"+fault, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				c.run(b, fault)
			})
		}
	}
}

func (c faultCase) run(b *bench, fault string) {
	var a provider.Attempt
	r := b.authorization(5000)
	var made provider.Result
	switch c.step {
	case provider.Authorize:
		a = b.attempt(r)
	case provider.Void:
		made = b.do(r, provider.RequiresAction, waits)
		a = b.attempt(b.follow(r, made, c.step, 5000))
	case provider.Refund:
		r, made = b.pay(5000)
		b.advance(time.Hour)
		a = b.attempt(b.follow(r, made, c.step, 1000))
	}
	f, err := providersim.ParseFault(fault)
	if err == nil {
		err = b.sim.Inject(providersim.Rule{Operation: c.operation, Fault: f})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	by, late := b.adapter, strings.HasPrefix(fault, "late")
	if strings.Contains(fault, "hang") {
		by = b.newAdapter(time.Second)
	}
	got := b.first(by, a)
	b.expect("first call", got, c.first(fault))
	if b.sim.Counters()["fault."+string(f.Kind)] != 1 {
		b.t.Fatal("the fault did not strike")
	}
	if strings.Contains(fault, "hang") && !got.TimedOut {
		b.t.Errorf("not timed out: %q", got.Evidence.Error)
	}
	if late && c.step != provider.Void {
		// The key is in use, which proves nothing. Then the provider acts.
		b.expect("replay, too early", b.replay(a), provider.Unknown)
	}
	b.advance(5 * time.Minute)
	if got.Outcome == provider.NotSent {
		b.expect("sent again", b.first(b.adapter, a), c.done)
	}
	b.advance(5 * time.Minute)
	again := b.replay(a)
	if c.step != provider.Refund || again.Outcome != provider.Approved { // a refund has been paid meanwhile
		b.expect("replay", again, c.done)
	}
	c.once(b, r, again)
}

// once checks that there is one object of the step, whatever happened to its calls.
func (c faultCase) once(b *bench, r provider.Request, got provider.Result) {
	b.t.Helper()
	switch c.step {
	case provider.Authorize:
		b.known(r, got, waits)
		b.authorize(got)
		b.advance(time.Hour)
		b.known(r, got, confirmed)
		if effects := b.effects(r); effects != "authorize capture" {
			b.t.Errorf("effects: %s", effects)
		}
	case provider.Void:
		b.advance(time.Hour)
		b.known(r, got, voided)
	case provider.Refund:
		b.advance(time.Hour)
		b.known(r, got, confirmed+", refund.succeeded GBP 10.00")
		if effects := b.effects(r); effects != "authorize capture refund" {
			b.t.Errorf("effects: %s", effects)
		}
	}
}

// What keeps a refund from being asked for leaves it undone.
func TestFaultsBeforeARefund(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, made := b.pay(5000)
	b.advance(time.Hour)
	for _, kind := range []providersim.FaultKind{
		providersim.DropBefore, providersim.DropAfter, providersim.Error500Before, providersim.RateLimited, providersim.HTMLAfter, providersim.BadJSON,
	} {
		for skip := range 2 { // the billing request, then the payment
			if err := b.sim.Inject(providersim.Rule{Operation: providersim.Retrieve, Skip: skip, Fault: providersim.Fault{Kind: kind}}); err != nil {
				t.Fatal(err)
			}
			a := b.attempt(b.follow(r, made, provider.Refund, 10))
			b.expect(string(kind), b.first(b.adapter, a), provider.NotSent)
			b.expect(string(kind)+", again", b.first(b.adapter, a), provider.Pending)
		}
	}
	if got := strings.Count(b.effects(r), "refund"); got != 12 {
		t.Errorf("%d refunds", got)
	}
}

// Two refunds at once: GoCardless refuses the one that did not know of the other, which
// is nobody's decision, so it is to be sent again.
func TestRefundsSideBySide(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, made := b.pay(5000)
	b.advance(time.Hour)
	results := make([]provider.Result, 5)
	attempts := make([]provider.Attempt, len(results))
	for i := range attempts {
		attempts[i] = b.attempt(b.follow(r, made, provider.Refund, 1000))
	}
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() { results[i] = b.first(b.adapter, attempts[i]) })
	}
	all.Wait()
	for i, got := range results {
		if got.Outcome == provider.NotSent {
			got = b.first(b.adapter, attempts[i]) // now it is alone
		}
		b.expect("refund", got, provider.Pending)
	}
	if got := b.effects(r); got != "authorize capture refund refund refund refund refund" {
		t.Errorf("effects: %s", got)
	}
}
