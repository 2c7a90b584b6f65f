package stripe

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/provider"
)

// verdictCase is one reply to one step, and what it proves to a first call and to a
// replay. The outcome of a replay is unknown unless it is given.
type verdictCase struct {
	name    string
	step    provider.Step
	request func(*provider.Request)
	raw     string
	want    provider.Outcome
	replay  provider.Outcome
	facts   string // "kind.state object" of each, for the first call
	refusal string // Tollgate's code
	doubt   string // is in the evidence's error
}

const (
	authorize = provider.Authorize
	capture   = provider.Capture
	void      = provider.Void
	refunding = provider.Refund
)

func auto(r *provider.Request) { r.AutoCapture = true }

func part(n int64) func(*provider.Request) {
	return func(r *provider.Request) { r.Amount = yen(n) }
}

func ok(f fields) string { return reply(200, string(f.bytes())) }

func refusal(status int, e fields) string { return reply(status, errorBody(e)) }

func invalidRequest(code string) fields {
	return fields{"type": "invalid_request_error", "code": code, "message": "No."}
}

var html = `<!DOCTYPE html><html><head><title>503</title></head><body>Please try again</body></html>`

var attemptOf = map[provider.Step]string{
	authorize: "authorization.failed attempt/tollgate-" + ourSaga.String() + "-authorize-1",
	refunding: "refund.failed attempt/tollgate-" + ourSaga.String() + "-refund-1",
}

// Every reply that a step can get, odd ones above all.
func verdictCases() []verdictCase {
	const approved, declined, rejected, pending = provider.Approved, provider.Declined, provider.Rejected, provider.Pending
	const unknown, notSent, action = provider.Unknown, provider.NotSent, provider.RequiresAction
	authorized := "authorization.authorized pi_ours"
	captured := authorized + " capture.succeeded ch_ours"
	redirect := fields{"next_action": fields{"type": "redirect_to_url", "redirect_to_url": fields{"url": "https://hooks.stripe.com/3ds"}}}
	automatic := fields{"capture_method": "automatic"}
	unexpected := invalidRequest("payment_intent_unexpected_state")
	on := func(e, pi fields) fields { return e.with(fields{"payment_intent": pi}) }

	return []verdictCase{
		// What authorize proves.
		{name: "authorized", step: authorize, raw: ok(intentIn("requires_capture")), want: approved, replay: approved, facts: authorized},
		{name: "captured at once", step: authorize, request: auto, raw: ok(intentIn("succeeded").with(automatic)), want: approved, replay: approved, facts: captured},
		{name: "3-D Secure", step: authorize, raw: ok(intentIn("requires_action").with(redirect)), want: action, replay: action, facts: "authorization.requires_action pi_ours"},
		{name: "processing", step: authorize, raw: ok(intentIn("processing")), want: pending, replay: pending, facts: "authorization.pending pi_ours"},
		{name: "declined in a 200", step: authorize, raw: ok(declinedIntent()), want: declined, replay: declined, facts: "authorization.failed pi_ours", refusal: "insufficient_funds"},
		{name: "canceled in a 200", step: authorize, raw: ok(intentIn("canceled")), want: declined, replay: declined, facts: "authorization.canceled pi_ours", refusal: "canceled"},
		{name: "not confirmed", step: authorize, raw: ok(intentIn("requires_payment_method")), want: unknown, doubt: "requires_payment_method"},
		{name: "unknown status", step: authorize, raw: ok(intentIn("half_done")), want: unknown, doubt: "unknown status"},
		{name: "declined", step: authorize, raw: refusal(402, on(cardError(), declinedIntent())), want: declined, replay: declined, facts: "authorization.failed pi_ours", refusal: "insufficient_funds"},
		{name: "declined without an object", step: authorize, raw: refusal(402, cardError()), want: declined, facts: attemptOf[authorize], refusal: "insufficient_funds"},
		{name: "declined, object of another payment", step: authorize, raw: refusal(402, on(cardError(), declinedIntent().with(fields{"metadata": fields{}}))), want: unknown, doubt: "echo"},
		{name: "declined, object of another amount", step: authorize, raw: refusal(402, on(cardError(), declinedIntent().with(fields{"amount": 1}))), want: unknown, doubt: "echo: amount is 1, sent 5000"},
		{name: "an error with an authorized object", step: authorize, raw: refusal(400, on(unexpected, intentIn("requires_capture"))), want: approved, replay: approved, facts: authorized},
		{name: "an error with a captured object of another amount", step: authorize, request: auto, raw: refusal(400, on(unexpected, intentIn("succeeded").with(automatic).with(fields{"amount_received": 1}))), want: unknown, doubt: "an error came with"},
		{name: "made but not confirmed", step: authorize, raw: refusal(400, on(invalidRequest("payment_method_invalid_parameter"), intentIn("requires_confirmation"))), want: rejected, facts: "authorization.failed pi_ours", refusal: "invalid_request"},
		{name: "rejected", step: authorize, raw: refusal(400, invalidRequest("parameter_unknown")), want: rejected, facts: attemptOf[authorize], refusal: "invalid_request"},
		{name: "our key is refused", step: authorize, raw: refusal(401, fields{"type": "invalid_request_error", "message": "Invalid API Key provided: sk_test_***7890"}), want: rejected, facts: attemptOf[authorize], refusal: "provider_credentials"},
		{name: "our key may not", step: authorize, raw: refusal(403, fields{"type": "permission_error", "message": "No."}), want: rejected, facts: attemptOf[authorize], refusal: "provider_credentials"},
		{name: "no such thing", step: authorize, raw: refusal(404, invalidRequest("resource_missing")), want: rejected, facts: attemptOf[authorize], refusal: "invalid_request"},

		// Echoes that are not ours.
		{name: "another amount", step: authorize, raw: ok(intentIn("requires_capture").with(fields{"amount": 5001})), want: unknown, doubt: "echo: amount is 5001, sent 5000"},
		{name: "another currency", step: authorize, raw: ok(intentIn("requires_capture").with(fields{"currency": "usd"})), want: unknown, doubt: `echo: currency is "usd"`},
		{name: "another payment", step: authorize, raw: ok(intentIn("requires_capture").with(fields{"metadata": fields{"tollgate_payment": "pay_00000000000000000000000000"}})), want: unknown, doubt: "echo"},
		{name: "nobody's payment", step: authorize, raw: ok(intentIn("requires_capture").with(fields{"metadata": nil})), want: unknown, doubt: "echo"},
		{name: "captured though manual", step: authorize, raw: ok(intentIn("succeeded").with(automatic)), want: unknown, doubt: "echo: capture_method"},
		{name: "received less", step: authorize, request: auto, raw: ok(intentIn("succeeded").with(automatic).with(fields{"amount_received": 4999})), want: unknown, doubt: "echo: amount_received is 4999"},
		{name: "received nothing", step: authorize, request: auto, raw: ok(intentIn("succeeded").with(automatic).with(fields{"amount_received": 0})), want: unknown, doubt: "received 0"},

		// Replies that are no answer.
		{name: "HTML 503", step: authorize, raw: reply(503, html), want: unknown, doubt: "status 503"},
		{name: "HTML 200", step: authorize, raw: reply(200, html), want: unknown, doubt: "not a PaymentIntent"},
		{name: "HTML 429", step: authorize, raw: reply(429, html), want: unknown, doubt: "not an error of Stripe's"},
		{name: "HTML 403", step: authorize, raw: reply(403, html), want: unknown, doubt: "not an error of Stripe's"},
		{name: "empty 200", step: authorize, raw: reply(200, ""), want: unknown, doubt: "not a PaymentIntent"},
		{name: "null", step: authorize, raw: reply(200, "null"), want: unknown, doubt: "not a PaymentIntent"},
		{name: "an identifier", step: authorize, raw: reply(200, `"pi_ours"`), want: unknown, doubt: "not a PaymentIntent"},
		{name: "empty object", step: authorize, raw: reply(200, "{}"), want: unknown, doubt: "not a PaymentIntent"},
		{name: "another object", step: authorize, raw: ok(refundIn("succeeded")), want: unknown, doubt: `not a PaymentIntent but "refund"`},
		{name: "amount is a string", step: authorize, raw: ok(intentIn("requires_capture").with(fields{"amount": "5000"})), want: unknown, doubt: "not a PaymentIntent"},
		{name: "half of the JSON", step: authorize, raw: reply(200, string(intentIn("requires_capture").bytes()[:200])), want: unknown, doubt: "not a PaymentIntent"},
		{name: "error without a type", step: authorize, raw: reply(400, `{"error":{}}`), want: unknown, doubt: "no error type"},
		{name: "error is a string", step: authorize, raw: reply(400, `{"error":"no"}`), want: unknown, doubt: "not an error of Stripe's"},
		{name: "201", step: authorize, raw: reply(201, string(intentIn("requires_capture").bytes())), want: unknown, doubt: "status 201"},
		{name: "redirect", step: authorize, raw: reply(307, "", "Location: http://127.0.0.1:1/"), want: unknown, doubt: "status 307"},
		{name: "500", step: authorize, raw: refusal(500, fields{"type": "api_error", "message": "Sorry."}), want: unknown, doubt: "status 500"},
		{name: "500 with an object", step: authorize, raw: refusal(500, on(cardError(), declinedIntent())), want: unknown, doubt: "status 500"},

		// Errors that decide nothing, or that nothing was executed.
		{name: "rate limit", step: authorize, raw: refusal(429, invalidRequest("rate_limit")), want: notSent},
		{name: "lock timeout", step: capture, raw: refusal(429, invalidRequest("lock_timeout")), want: notSent},
		{name: "too many declines", step: authorize, raw: refusal(429, fields{"type": "card_error", "code": "card_decline_rate_limit_exceeded"}), want: declined, facts: attemptOf[authorize], refusal: "card_declined"},
		{name: "key in use", step: authorize, raw: refusal(409, fields{"type": "idempotency_error", "code": "idempotency_key_in_use"}), want: unknown, doubt: "409 idempotency_error"},
		{name: "409", step: authorize, raw: refusal(409, invalidRequest("")), want: unknown, doubt: "409"},
		{name: "card error 409", step: authorize, raw: refusal(409, cardError()), want: unknown, doubt: "409"},
		{name: "key of another request", step: authorize, raw: refusal(400, fields{"type": "idempotency_error"}), want: unknown, doubt: "400 idempotency_error"},
		{name: "api_error 400", step: authorize, raw: refusal(400, fields{"type": "api_error"}), want: unknown, doubt: "api_error"},
		{name: "a type from the future", step: authorize, raw: refusal(400, fields{"type": "quantum_error"}), want: unknown, doubt: "quantum_error"},
		{name: "424", step: authorize, raw: refusal(424, invalidRequest("")), want: unknown, doubt: "424"},
		{name: "replayed refusal", step: authorize, raw: reply(400, errorBody(invalidRequest("")), "Idempotent-Replayed: true"), want: unknown, doubt: "proves nothing"},

		// Capture.
		{name: "captured", step: capture, raw: ok(intentIn("succeeded")), want: approved, replay: approved, facts: captured},
		{name: "captured in part", step: capture, request: part(3000), raw: ok(intentIn("succeeded").with(fields{"amount_received": 3000})), want: approved, replay: approved, facts: captured},
		{name: "capture processing", step: capture, raw: ok(intentIn("processing")), want: pending, replay: pending, facts: "authorization.pending pi_ours"},
		{name: "captured another amount", step: capture, raw: ok(intentIn("succeeded").with(fields{"amount_received": 3000})), want: unknown, doubt: "echo: amount_received is 3000, sent 5000"},
		{name: "capture left it uncaptured", step: capture, raw: ok(intentIn("requires_capture")), want: unknown, doubt: "requires_capture"},
		{name: "captured another intent", step: capture, raw: ok(intentIn("succeeded").with(fields{"id": "pi_other"})), want: unknown, doubt: "pi_other"},
		{name: "capture of what is captured", step: capture, raw: refusal(400, on(unexpected, intentIn("succeeded"))), want: approved, replay: approved, facts: captured},
		{name: "capture of what is captured otherwise", step: capture, request: part(3000), raw: refusal(400, on(unexpected, intentIn("succeeded"))), want: declined, facts: captured, refusal: "invalid_provider_state"},
		{name: "capture of what is canceled", step: capture, raw: refusal(400, on(unexpected, intentIn("canceled"))), want: declined, replay: declined, facts: "authorization.canceled pi_ours", refusal: "invalid_provider_state"},
		{name: "capture of too much", step: capture, raw: refusal(400, on(invalidRequest("amount_too_large"), intentIn("requires_capture"))), want: declined, facts: authorized, refusal: "amount_not_accepted"},
		{name: "capture refused by state, no object", step: capture, raw: refusal(400, unexpected), want: declined, refusal: "invalid_provider_state"},
		{name: "already captured", step: capture, raw: refusal(400, invalidRequest("charge_already_captured")), want: declined, refusal: "already_captured"},
		{name: "expired for capture", step: capture, raw: refusal(400, invalidRequest("charge_expired_for_capture")), want: declined, refusal: "authorization_expired"},
		{name: "capture rejected", step: capture, raw: refusal(400, invalidRequest("parameter_unknown")), want: rejected, refusal: "invalid_request"},
		{name: "capture of nothing", step: capture, raw: refusal(404, invalidRequest("resource_missing")), want: rejected, refusal: "invalid_request"},
		{name: "capture declined by the bank", step: capture, raw: refusal(402, cardError()), want: declined, refusal: "insufficient_funds"},
		{name: "state refusals need the object to say so on a replay", step: capture, raw: refusal(400, on(unexpected, intentIn("requires_capture"))), want: declined, facts: authorized, refusal: "invalid_provider_state"},
		{name: "capture, 500", step: capture, raw: refusal(500, fields{"type": "api_error"}), want: unknown, doubt: "status 500"},

		// Void.
		{name: "voided", step: void, raw: ok(intentIn("canceled")), want: approved, replay: approved, facts: "authorization.canceled pi_ours"},
		{name: "voided after a capture", step: void, raw: ok(intentIn("canceled").with(fields{"amount_received": 1000})), want: approved, replay: approved, facts: "authorization.canceled pi_ours capture.succeeded ch_ours"},
		{name: "void of an amount not stated", step: void, request: part(0), raw: ok(intentIn("canceled")), want: approved, replay: approved, facts: "authorization.canceled pi_ours"},
		{name: "void of another amount", step: void, request: part(4999), raw: ok(intentIn("canceled")), want: unknown, doubt: "echo: amount is 5000, sent 4999"},
		{name: "void left it open", step: void, raw: ok(intentIn("requires_capture")), want: unknown, doubt: "requires_capture"},
		{name: "void of what is void", step: void, raw: refusal(400, on(unexpected, intentIn("canceled"))), want: approved, replay: approved, facts: "authorization.canceled pi_ours"},
		{name: "void of what is captured", step: void, raw: refusal(400, on(unexpected, intentIn("succeeded"))), want: declined, replay: declined, facts: captured, refusal: "invalid_provider_state"},
		{name: "void refused, no object", step: void, raw: refusal(400, unexpected), want: declined, refusal: "invalid_provider_state"},
		{name: "a rate limit is no look at the object", step: void, raw: refusal(429, on(invalidRequest("lock_timeout"), intentIn("canceled"))), want: notSent},

		// Refund.
		{name: "refunded", step: refunding, raw: ok(refundIn("succeeded")), want: approved, replay: approved, facts: "refund.succeeded re_theirs"},
		{name: "refund pending", step: refunding, raw: ok(refundIn("pending")), want: pending, replay: pending, facts: "refund.pending re_theirs"},
		{name: "refund needs the payer", step: refunding, raw: ok(refundIn("requires_action")), want: pending, replay: pending, facts: "refund.requires_action re_theirs"},
		{name: "refund failed", step: refunding, raw: ok(refundIn("failed").with(fields{"failure_reason": "lost_or_stolen_card"})), want: declined, replay: declined, facts: "refund.failed re_theirs", refusal: "lost_or_stolen_card"},
		{name: "refund canceled", step: refunding, raw: ok(refundIn("canceled")), want: declined, replay: declined, facts: "refund.canceled re_theirs", refusal: "refund_canceled"},
		{name: "refund in limbo", step: refunding, raw: ok(refundIn("lost")), want: unknown, doubt: "unknown status"},
		{name: "refunded another amount", step: refunding, raw: ok(refundIn("succeeded").with(fields{"amount": 1})), want: unknown, doubt: "echo: refund of 1"},
		{name: "refunded another currency", step: refunding, raw: ok(refundIn("succeeded").with(fields{"currency": "usd"})), want: unknown, doubt: "echo"},
		{name: "another's refund", step: refunding, raw: ok(refundIn("succeeded").with(fields{"metadata": fields{}})), want: unknown, doubt: "echo"},
		{name: "refund of another payment", step: refunding, raw: ok(refundIn("succeeded").with(fields{"payment_intent": "pi_other"})), want: unknown, doubt: "echo"},
		{name: "refund of no payment", step: refunding, raw: ok(refundIn("succeeded").with(fields{"payment_intent": nil})), want: unknown, doubt: "echo"},
		{name: "already refunded", step: refunding, raw: refusal(400, invalidRequest("charge_already_refunded")), want: declined, facts: attemptOf[refunding], refusal: "already_refunded"},
		{name: "refund of a disputed charge", step: refunding, raw: refusal(400, invalidRequest("charge_disputed")), want: declined, facts: attemptOf[refunding], refusal: "disputed"},
		{name: "refund above our balance", step: refunding, raw: refusal(400, invalidRequest("balance_insufficient")), want: declined, facts: attemptOf[refunding], refusal: "provider_balance_insufficient"},
		{name: "refund rejected", step: refunding, raw: refusal(400, invalidRequest("parameter_unknown")), want: rejected, facts: attemptOf[refunding], refusal: "invalid_request"},
		{name: "refund, an error with the payment", step: refunding, request: part(10), raw: refusal(400, on(invalidRequest("charge_already_refunded"), intentIn("succeeded"))), want: declined, facts: attemptOf[refunding], refusal: "already_refunded"},
		{name: "refund, HTML", step: refunding, raw: reply(502, html), want: unknown, doubt: "status 502"},
	}
}

func TestWhatRepliesProve(t *testing.T) {
	t.Parallel()
	for _, c := range verdictCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := request(c.step)
			if c.request != nil {
				c.request(&r)
			}
			a := newAdapter(t, always(t, c.raw).base(), Options{})
			first := a.Execute(t.Context(), firstCall(t, r))
			c.check(t, r, first)

			want := c.replay
			if want == "" {
				want = provider.Unknown
			}
			again := a.Execute(t.Context(), replay(t, r))
			if again.Outcome != want {
				t.Errorf("replay: %s, want %s (%s)", again.Outcome, want, again.Evidence.Error)
			}
			if again.Outcome == provider.Unknown && len(again.Facts) > 0 {
				t.Errorf("replay: unknown, but with facts %v", again.Facts)
			}
		})
	}
}

func (c verdictCase) check(t *testing.T, r provider.Request, got provider.Result) {
	t.Helper()
	if got.Outcome != c.want {
		t.Errorf("outcome %s, want %s (%s)", got.Outcome, c.want, got.Evidence.Error)
	}
	if diff := cmp.Diff(c.facts, summary(got.Facts)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	code := ""
	if got.Refusal != nil {
		code = got.Refusal.Code
	}
	if code != c.refusal {
		t.Errorf("refusal %q, want %q", code, c.refusal)
	}
	refused := got.Outcome == provider.Declined || got.Outcome == provider.Rejected
	if refused && (got.Refusal == nil || got.Refusal.Message == "") {
		t.Error("refused without a reason")
	}
	if refused && (c.step == authorize || c.step == refunding) && len(got.Facts) == 0 {
		t.Error("a definite refusal without a fact")
	}
	if !strings.Contains(got.Evidence.Error, c.doubt) || c.doubt == "" && got.Evidence.Error != "" {
		t.Errorf("evidence's error %q, want %q", got.Evidence.Error, c.doubt)
	}
	for _, f := range got.Facts {
		if f.PaymentID != r.PaymentID || f.UnitCurrency != "jpy" || f.Amount.Minor != f.Units || f.OccurredAt.IsZero() {
			t.Errorf("fact %+v does not state the payment, amount and time", f)
		}
		if f.Kind == provider.KindRefund && (f.RefundID != ourRefund || f.Reference != ourIn) {
			t.Errorf("fact %+v does not name the refund", f)
		}
	}
	if strings.Contains(got.Evidence.Body, "hush") {
		t.Errorf("the evidence shows the client secret: %s", got.Evidence.Body)
	}
}

// summary writes facts as "kind.state object" words.
func summary(facts []provider.Fact) string {
	var all []string
	for _, f := range facts {
		all = append(all, string(f.Kind)+"."+string(f.State)+" "+f.ObjectID)
	}
	return strings.Join(all, " ")
}

func TestFactsHaveTheDetailsStripeStates(t *testing.T) {
	t.Parallel()
	before := noon.AddDate(0, 0, 7)
	charge := fields{"id": "ch_ours", "object": "charge", "payment_method_details": fields{
		"type": "card", "card": fields{"last4": "4242", "capture_before": before.Unix()},
	}}
	a := newAdapter(t, always(t, ok(intentIn("requires_capture").with(fields{"latest_charge": charge}))).base(), Options{})
	got := a.Execute(t.Context(), firstCall(t, request(authorize)))
	if len(got.Facts) != 1 || !got.Facts[0].CaptureBefore.Equal(before) {
		t.Errorf("capture before is not %v: %+v", before, got.Facts)
	}
	if got.Reference != ourIn {
		t.Errorf("reference %q, want %q", got.Reference, ourIn)
	}

	next := fields{"next_action": fields{"type": "redirect_to_url", "redirect_to_url": fields{"url": "https://hooks.stripe.com/3ds"}}}
	a = newAdapter(t, always(t, ok(intentIn("requires_action").with(next))).base(), Options{})
	got = a.Execute(t.Context(), firstCall(t, request(authorize)))
	want := &provider.NextAction{Type: "redirect_to_url", RedirectURL: "https://hooks.stripe.com/3ds"}
	if diff := cmp.Diff(want, got.Facts[0].NextAction); diff != "" {
		t.Errorf("next action (-want +got):\n%s", diff)
	}
	if strings.Contains(got.Evidence.Body, "hooks.stripe.com") {
		t.Error("the evidence shows the address of the payer's challenge")
	}

	a = newAdapter(t, always(t, ok(intentIn("succeeded").with(fields{"latest_charge": nil}))).base(), Options{})
	got = a.Execute(t.Context(), firstCall(t, request(capture)))
	if got.Outcome != provider.Unknown || len(got.Facts) != 0 {
		t.Errorf("a capture that names no charge: %s with facts %q", got.Outcome, summary(got.Facts))
	}
}

// What can't be put to Stripe is rejected, if nothing was sent before.
func TestWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	server := always(t, reply(200, ""))
	a := newAdapter(t, server.base(), Options{})
	for name, r := range map[string]provider.Request{
		"an amount too large":         with(request(authorize), part(maxUnits+1)),
		"a negative amount":           with(request(refunding), part(-1)),
		"a capture of no payment":     with(request(capture), func(r *provider.Request) { r.Reference = "" }),
		"a step that does not exist":  with(request(void), func(r *provider.Request) { r.Step = "settle" }),
		"a refund without a name":     with(request(refunding), func(r *provider.Request) { r.RefundID = [16]byte{} }),
		"a payment without a name":    with(request(authorize), func(r *provider.Request) { r.PaymentID = [16]byte{} }),
		"a currency Stripe lacks":     with(request(authorize), func(r *provider.Request) { r.Amount = amount("IRR", 100) }),
		"a capture of part of a fils": with(request(capture), func(r *provider.Request) { r.Amount = amount("KWD", 1001) }),
	} {
		got := a.Execute(t.Context(), firstCall(t, r))
		if got.Outcome != provider.Rejected || got.Refusal == nil || !strings.HasPrefix(got.Evidence.Error, "not sent: ") {
			t.Errorf("%s: %s, refusal %v, evidence %+v", name, got.Outcome, got.Refusal, got.Evidence)
		}
		if facts := len(got.Facts); facts != 1 && (r.Step == authorize || r.Step == refunding) {
			t.Errorf("%s: %d facts", name, facts)
		}
		again, ok := provider.Replay(provider.NewAttempt(ourSaga, 1, r, noon), capabilities(), noon)
		if ok != (r.Step != "settle") {
			t.Errorf("%s: may be replayed: %t", name, ok)
		}
		if got := a.Execute(t.Context(), again); got.Outcome != provider.Unknown {
			t.Errorf("%s, replayed: %s", name, got.Outcome)
		}
	}
	if requests, _ := server.seen(); len(requests) > 0 {
		t.Errorf("%d requests were sent", len(requests))
	}
}

func with(r provider.Request, change func(*provider.Request)) provider.Request {
	change(&r)
	return r
}
