package bank

import (
	"cmp"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

// verdictCase is what the endpoints reply to one step, and what it proves to a first
// call and to a replay. The outcome of a replay is unknown unless it is given.
type verdictCase struct {
	name    string
	step    provider.Step
	request func(*provider.Request)
	replies script // over those by which all goes well
	want    provider.Outcome
	replay  provider.Outcome
	facts   string // "kind.state object" of each, for the first call
	refusal string // Tollgate's code
	doubt   string // is in the evidence's error
}

const (
	authorize = provider.Authorize
	void      = provider.Void
	refunding = provider.Refund

	html = `<!DOCTYPE html><html><head><title>503</title></head><body>Please try again</body></html>`

	approved, declined, rejected = provider.Approved, provider.Declined, provider.Rejected
	waiting, undecided, notSent  = provider.Pending, provider.Unknown, provider.NotSent
	action                       = provider.RequiresAction
)

// well is how all endpoints reply when all goes well.
func well() script {
	flow := fields{"authorisation_url": "https://pay.gocardless.example/flow", "links": fields{"billing_request": "BRQ1"}}
	return script{
		postRequest: made("billing_requests", requestIn(pending)),
		postFlow:    made("billing_request_flows", flow),
		postCancel:  ok("billing_requests", requestIn(cancelled)),
		postRefund:  made("refunds", refundIn("created")),
		getRequest:  ok("billing_requests", requestIn(fulfilled)),
		getPayment:  ok("payments", transferIn("confirmed")),
		getRefund:   ok("refunds", refundIn("created")),
		getEvents:   list("events"),
		listRefunds: list("refunds"),
	}
}

func attemptOf(step provider.Step) string {
	kind := map[provider.Step]string{authorize: "authorization", refunding: "refund"}[step]
	return kind + ".failed attempt/tollgate-" + ourSaga.String() + "-" + string(step) + "-1"
}

func authorizeCases() []verdictCase {
	const pendingFact = "authorization.requires_action BRQ1"
	captured := "authorization.authorized BRQ1 capture.succeeded PM1"
	// what the key made before, and what became of it
	again := func(br fields, transfer string, events ...fields) script {
		return script{
			postRequest: conflict("BRQ1"), getRequest: ok("billing_requests", br),
			getPayment: ok("payments", transferIn(transfer)), getEvents: list("events", events...),
		}
	}
	post := func(a answer) script { return script{postRequest: a} }
	flow := func(a answer) script { return script{postFlow: a} }
	return []verdictCase{
		{name: "page made", want: action, replay: action, facts: pendingFact},
		{name: "200 for 201", replies: post(ok("billing_requests", requestIn(pending))), want: action, replay: action, facts: pendingFact},
		{name: "made before, open", replies: again(requestIn(pending), ""), want: action, replay: action, facts: pendingFact},
		{name: "made before, ready", replies: again(requestIn(readyToFulfil), ""), want: action, replay: action, facts: pendingFact},
		{name: "made before, fulfilling", replies: again(requestIn(fulfilling), ""), want: waiting, replay: waiting, facts: "authorization.approved BRQ1"},
		{name: "made before, submitted", replies: again(requestIn(fulfilled), "submitted"), want: waiting, replay: waiting, facts: "authorization.approved BRQ1"},
		{name: "made before, confirmed", replies: again(requestIn(fulfilled), "confirmed"), want: approved, replay: approved, facts: captured},
		{name: "made before, paid out", replies: again(requestIn(fulfilled), "paid_out"), want: approved, replay: approved, facts: captured},
		{name: "made before, failed", replies: again(requestIn(fulfilled), "failed", eventIn("failed", "insufficient_funds")), want: declined, replay: declined, facts: "authorization.failed BRQ1", refusal: "insufficient_funds"},
		{name: "made before, failed late", replies: again(requestIn(fulfilled), "failed", eventIn("failed", "x"), eventIn("confirmed", "")), want: approved, replay: approved, facts: captured + " capture.failed PM1"},
		{name: "made before, charged back", replies: again(requestIn(fulfilled), "charged_back", eventIn("charged_back", "refund_requested")), want: approved, replay: approved, facts: captured + " dispute.lost PM1"},
		{name: "made before, charged back without an event", replies: again(requestIn(fulfilled), "charged_back", eventIn("confirmed", "")), want: undecided, doubt: "no event"},
		{name: "made before, failed without an event", replies: again(requestIn(fulfilled), "failed"), want: undecided, doubt: "no event"},
		{name: "made before, approval denied", replies: again(requestIn(fulfilled), "customer_approval_denied"), want: declined, replay: declined, facts: "authorization.failed BRQ1", refusal: "authentication_failed"},
		{name: "made before, payment cancelled", replies: again(requestIn(fulfilled), "cancelled"), want: declined, replay: declined, facts: "authorization.canceled BRQ1", refusal: "canceled"},
		{name: "made before, cancelled", replies: again(requestIn(cancelled), ""), want: declined, replay: declined, facts: "authorization.canceled BRQ1", refusal: "canceled"},
		{name: "made before, not to be fetched", replies: script{postRequest: conflict("BRQ1"), getRequest: refusal(404, "invalid_api_usage", "resource_not_found")}, want: undecided, doubt: "can't be fetched"},
		{name: "made before, unknown status", replies: again(requestIn("half_done"), ""), want: undecided, doubt: "unknown status"},
		{name: "made before, unknown payment status", replies: again(requestIn(fulfilled), "half_done"), want: undecided, doubt: "unknown status"},
		{name: "made before, other payment", replies: again(requestIn(fulfilled), "").with(script{getPayment: ok("payments", transferIn("confirmed").with(fields{"id": "PM2"}))}), want: undecided, doubt: "PM2"},
		{name: "made before, payment of another amount", replies: again(requestIn(fulfilled), "").with(script{getPayment: ok("payments", transferIn("confirmed").with(fields{"amount": 1}))}), want: undecided, doubt: "echo"},
		{name: "made before, payment of another", replies: again(requestIn(fulfilled), "").with(script{getPayment: ok("payments", transferIn("confirmed").with(fields{"metadata": fields{"tollgate_payment": "pay_x"}}))}), want: undecided, doubt: "does not name"},
		{name: "fulfilled without a payment", replies: again(requestIn(fulfilled).with(fields{"links": fields{}}), ""), want: undecided, doubt: "names no payment"},
		{name: "key in use", replies: post(refusal(409, "invalid_state", conflictReason)), want: undecided, doubt: "409"},

		{name: "another amount", replies: post(made("billing_requests", requestIn(pending).with(fields{"payment_request": fields{"amount": 5001, "currency": "GBP"}}))), want: undecided, doubt: "echo: amount is 5001, sent 5000"},
		{name: "another currency", replies: post(made("billing_requests", requestIn(pending).with(fields{"payment_request": fields{"amount": ourUnits, "currency": "EUR"}}))), want: undecided, doubt: "echo: currency"},
		{name: "nobody's payment", replies: post(made("billing_requests", requestIn(pending).with(fields{"metadata": fields{}}))), want: undecided, doubt: "does not name"},
		{name: "without a payment request", replies: post(made("billing_requests", requestIn(pending).with(fields{"payment_request": nil}))), want: undecided, doubt: "not a billing request"},
		{name: "half of the JSON", replies: post(answer{201, made("billing_requests", requestIn(pending)).body[:60]}), want: undecided, doubt: "not an answer"},
		{name: "another object", replies: post(made("payments", transferIn("confirmed"))), want: undecided, doubt: "no billing_requests"},
		{name: "HTML 503", replies: post(answer{503, html}), want: undecided, doubt: "status 503"},
		{name: "HTML 201", replies: post(answer{201, html}), want: undecided, doubt: "not an answer"},
		{name: "HTML 403", replies: post(answer{403, html}), want: undecided, doubt: "not an error of GoCardless's"},
		{name: "error without a type", replies: post(answer{422, `{"error":{}}`}), want: undecided, doubt: "no error type"},
		{name: "null", replies: post(answer{201, "null"}), want: undecided, doubt: "no billing_requests"},
		{name: "redirect", replies: post(answer{307, ""}), want: undecided, doubt: "status 307"},
		{name: "500", replies: post(refusal(500, "gocardless", "internal_server_error")), want: undecided, doubt: "status 500"},
		{name: "rate limit", replies: post(refusal(429, "invalid_api_usage", "rate_limit_exceeded")), want: notSent},
		{name: "rejected", replies: post(refusal(422, "validation_failed", "")), want: rejected, facts: attemptOf(authorize), refusal: "invalid_request"},
		{name: "our token is refused", replies: post(refusal(401, "invalid_api_usage", "access_token_not_found")), want: rejected, facts: attemptOf(authorize), refusal: "provider_credentials"},
		{name: "our token may not", replies: post(refusal(403, "invalid_api_usage", "insufficient_permissions")), want: rejected, facts: attemptOf(authorize), refusal: "provider_credentials"},
		{name: "409 of another kind", replies: post(refusal(409, "invalid_state", "")), want: undecided, doubt: "409"},
		{name: "a type from the future", replies: post(refusal(422, "quantum_error", "")), want: undecided, doubt: "quantum_error"},
		{name: "424", replies: post(refusal(424, "invalid_api_usage", "")), want: undecided, doubt: "424"},

		{name: "page refused", replies: flow(refusal(422, "validation_failed", "")), want: rejected, replay: action, facts: "authorization.failed BRQ1", refusal: "invalid_request"},
		{name: "page failed", replies: flow(refusal(500, "gocardless", "")), want: undecided, doubt: "its page was not"},
		{name: "page limited", replies: flow(refusal(429, "invalid_api_usage", "rate_limit_exceeded")), want: undecided, doubt: "its page was not"},
		{name: "page keys used up", replies: flow(conflict("BRF1")), want: action, replay: action, facts: pendingFact},
		{name: "page of another", replies: flow(made("billing_request_flows", fields{"authorisation_url": "https://x.example", "links": fields{"billing_request": "BRQ2"}})), want: undecided, doubt: "BRQ2"},
		{name: "page without an address", replies: flow(made("billing_request_flows", fields{"links": fields{"billing_request": "BRQ1"}})), want: undecided, doubt: "no address"},
		{name: "page is a script", replies: flow(made("billing_request_flows", fields{"authorisation_url": "javascript:alert(1)", "links": fields{"billing_request": "BRQ1"}})), want: undecided, doubt: "no address"},

		{name: "manual capture", request: func(r *provider.Request) { r.AutoCapture = false }, want: rejected, facts: attemptOf(authorize), refusal: "invalid_request"},
		{name: "a card", request: func(r *provider.Request) { r.PaymentMethod = "pm_card_visa" }, want: rejected, facts: attemptOf(authorize), refusal: "invalid_request"},
		{name: "a scheme of euros", request: func(r *provider.Request) { r.PaymentMethod = "sepa_credit_transfer" }, want: rejected, facts: attemptOf(authorize), refusal: "invalid_request"},
		{name: "its scheme", request: func(r *provider.Request) { r.PaymentMethod = "faster_payments" }, want: action, replay: action, facts: pendingFact},
	}
}

func voidCases() []verdictCase {
	const canceled = "authorization.canceled BRQ1"
	captured := "authorization.authorized BRQ1 capture.succeeded PM1"
	no := refusal(409, "invalid_state", "cannot_be_cancelled")
	refused := func(br fields, transfer string, events ...fields) script {
		return script{
			postCancel: no, getRequest: ok("billing_requests", br),
			getPayment: ok("payments", transferIn(transfer)), getEvents: list("events", events...),
		}
	}
	return []verdictCase{
		{name: "voided", want: approved, replay: approved, facts: canceled},
		{name: "voided, of no amount", request: func(r *provider.Request) { r.Amount = pounds(0) }, want: approved, replay: approved, facts: canceled},
		{name: "voided before", replies: refused(requestIn(cancelled), ""), want: approved, replay: approved, facts: canceled},
		{name: "failed before", replies: refused(requestIn(fulfilled), "failed", eventIn("failed", "")), want: approved, replay: approved, facts: canceled},
		{name: "failed late before", replies: refused(requestIn(fulfilled), "failed", eventIn("failed", ""), eventIn("paid_out", "")), want: declined, replay: declined, facts: captured + " capture.failed PM1", refusal: "invalid_provider_state"},
		{name: "submitted before", replies: refused(requestIn(fulfilled), "submitted"), want: declined, replay: declined, facts: "authorization.approved BRQ1", refusal: "invalid_provider_state"},
		{name: "confirmed before", replies: refused(requestIn(fulfilled), "confirmed"), want: declined, replay: declined, facts: captured, refusal: "invalid_provider_state"},
		{name: "refused though open", replies: refused(requestIn(pending), ""), want: declined, refusal: "invalid_provider_state"},
		{name: "fulfilling", replies: refused(requestIn(fulfilling), ""), want: declined, refusal: "invalid_provider_state"},
		{name: "refused, of another payment", replies: refused(requestIn(cancelled).with(fields{"metadata": fields{}}), ""), want: undecided, doubt: "does not name"},
		{name: "refused, then unreadable", replies: script{postCancel: no, getRequest: answer{503, html}}, want: declined, refusal: "invalid_provider_state"},
		{name: "refused, payment unreadable", replies: refused(requestIn(fulfilled), "").with(script{getPayment: answer{503, html}}), want: undecided, doubt: "status 503"},
		{name: "left open", replies: script{postCancel: ok("billing_requests", requestIn(pending))}, want: undecided, doubt: "left the billing request open"},
		{name: "voided another", replies: script{postCancel: ok("billing_requests", requestIn(cancelled).with(fields{"id": "BRQ2"}))}, want: undecided, doubt: "BRQ2"},
		{name: "voided another amount", replies: script{postCancel: ok("billing_requests", requestIn(cancelled).with(fields{"payment_request": fields{"amount": 1, "currency": "GBP"}}))}, want: undecided, doubt: "echo: amount is 1"},
		{name: "no such thing", replies: script{postCancel: refusal(404, "invalid_api_usage", "resource_not_found"), getRequest: refusal(404, "invalid_api_usage", "resource_not_found")}, want: rejected, refusal: "invalid_request"},
		{name: "token refused", replies: script{postCancel: refusal(401, "invalid_api_usage", "")}, want: rejected, refusal: "provider_credentials"},
		{name: "rate limit", replies: script{postCancel: refusal(429, "invalid_api_usage", "")}, want: notSent},
		{name: "500", replies: script{postCancel: refusal(500, "gocardless", "")}, want: undecided, doubt: "status 500"},
		{name: "HTML 200", replies: script{postCancel: answer{200, html}}, want: undecided, doubt: "not an answer"},
		{name: "null", replies: script{postCancel: answer{200, `{"billing_requests":null}`}}, want: undecided, doubt: "not a billing request"},
		{name: "without a reference", request: func(r *provider.Request) { r.Reference = "" }, want: rejected, refusal: "invalid_request"},
	}
}

func refundCases() []verdictCase {
	post := func(a answer) script { return script{postRefund: a} }
	return []verdictCase{
		{name: "made", want: waiting, replay: waiting, facts: "refund.pending RF1"},
		{name: "paid", replies: post(made("refunds", refundIn("paid"))), want: approved, replay: approved, facts: "refund.succeeded RF1"},
		{name: "bounced", replies: post(made("refunds", refundIn("bounced"))), want: declined, replay: declined, facts: "refund.failed RF1", refusal: "refund_failed"},
		{name: "cancelled", replies: post(made("refunds", refundIn("cancelled"))), want: declined, replay: declined, facts: "refund.canceled RF1", refusal: "refund_canceled"},
		{name: "made before", replies: post(conflict("RF1")), want: waiting, replay: waiting, facts: "refund.pending RF1"},
		{name: "made before, not to be fetched", replies: script{postRefund: conflict("RF1"), getRefund: answer{503, html}}, want: undecided, doubt: "can't be fetched"},
		{name: "made before, paid", replies: script{listRefunds: list("refunds", refundIn("paid"))}, want: waiting, replay: approved, facts: "refund.pending RF1"},
		{name: "made before, of another amount", replies: script{listRefunds: list("refunds", refundIn("paid").with(fields{"amount": 1}))}, want: waiting, facts: "refund.pending RF1"},
		{name: "another made before", replies: script{listRefunds: list("refunds", refundIn("paid").with(fields{"metadata": ourMetadata()}))}, want: waiting, replay: waiting, facts: "refund.pending RF1"},
		{name: "nobody can say what was made before", replies: script{listRefunds: answer{503, html}}, want: waiting, facts: "refund.pending RF1"},
		{name: "unknown status", replies: post(made("refunds", refundIn("half_done"))), want: undecided, doubt: "unknown status"},
		{name: "of another amount", replies: post(made("refunds", refundIn("paid").with(fields{"amount": 1}))), want: undecided, doubt: "echo: refund of 1"},
		{name: "of another payment", replies: post(made("refunds", refundIn("paid").with(fields{"links": fields{"payment": "PM2"}}))), want: undecided, doubt: "not of PM1"},
		{name: "somebody else's", replies: post(made("refunds", refundIn("paid").with(fields{"metadata": ourMetadata()}))), want: undecided, doubt: "does not name"},
		{name: "not a refund", replies: post(made("refunds", fields{"id": "RF1"})), want: undecided, doubt: "not a refund"},
		{name: "HTML 503", replies: post(answer{503, html}), want: undecided, doubt: "status 503"},
		{name: "another was faster", replies: post(refusal(422, "validation_failed", "total_amount_confirmation_invalid")), want: notSent},
		{name: "no balance", replies: post(refusal(422, "validation_failed", "available_refund_amount_insufficient")), want: declined, facts: attemptOf(refunding), refusal: "provider_balance_insufficient"},
		{name: "too early", replies: post(refusal(409, "invalid_state", "refund_payment_invalid_state")), want: declined, facts: attemptOf(refunding), refusal: "not_refundable"},
		{name: "rejected", replies: post(refusal(422, "validation_failed", "")), want: rejected, facts: attemptOf(refunding), refusal: "invalid_request"},
		{name: "rate limit", replies: post(refusal(429, "invalid_api_usage", "")), want: notSent},

		{name: "payer has not paid", replies: script{getRequest: ok("billing_requests", requestIn(pending))}, want: declined, facts: attemptOf(refunding), refusal: "not_refundable"},
		{name: "request unreadable", replies: script{getRequest: answer{503, html}}, want: notSent, doubt: "status 503"},
		{name: "request half", replies: script{getRequest: answer{200, `{"billing`}}, want: notSent, doubt: "not an answer"},
		{name: "request of another", replies: script{getRequest: ok("billing_requests", requestIn(fulfilled).with(fields{"metadata": fields{}}))}, want: notSent, doubt: "does not name"},
		{name: "request gone", replies: script{getRequest: refusal(404, "invalid_api_usage", "resource_not_found")}, want: rejected, facts: attemptOf(refunding), refusal: "invalid_request"},
		{name: "payment unreadable", replies: script{getPayment: answer{503, html}}, want: notSent, doubt: "status 503"},
		{name: "payment refunded less than nothing", replies: script{getPayment: ok("payments", transferIn("paid_out").with(fields{"amount_refunded": -1}))}, want: notSent, doubt: "refunded -1"},
		{name: "without an id", request: func(r *provider.Request) { r.RefundID = id.ID{} }, want: rejected, facts: attemptOf(refunding), refusal: "invalid_request"},
	}
}

func verdictCases() []verdictCase {
	var all []verdictCase
	for step, cases := range map[provider.Step][]verdictCase{
		authorize: authorizeCases(), void: voidCases(), refunding: refundCases(),
		provider.Capture: {{name: "there is no capture", want: rejected, refusal: "invalid_request"}},
	} {
		for _, c := range cases {
			c.step = step
			all = append(all, c)
		}
	}
	return all
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range verdictCases() {
		t.Run(string(c.step)+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			server := newDesk(t, well().with(c.replies))
			a := newAdapter(t, server.URL, Options{})
			r := request(c.step)
			if c.request != nil {
				c.request(&r)
			}
			got := a.Execute(t.Context(), firstCall(t, r))
			if got.Outcome != c.want {
				t.Fatalf("first call: %s, want %s (%q)", got.Outcome, c.want, got.Evidence.Error)
			}
			if facts := names(got.Facts); facts != c.facts {
				t.Errorf("facts %q, want %q", facts, c.facts)
			}
			code := ""
			if got.Refusal != nil {
				code = got.Refusal.Code
			}
			if code != c.refusal {
				t.Errorf("refusal %q, want %q", code, c.refusal)
			}
			if !strings.Contains(got.Evidence.Error, c.doubt) || c.want == undecided && c.doubt == "" {
				t.Errorf("doubt %q, want %q", got.Evidence.Error, c.doubt)
			}
			if strings.Contains(got.Evidence.Body, "hush") || strings.Contains(got.Evidence.Body, "pay.gocardless.example") {
				t.Errorf("evidence shows too much: %s", got.Evidence.Body)
			}
			again := a.Execute(t.Context(), replay(t, r))
			if want := cmp.Or(c.replay, undecided); again.Outcome != want {
				t.Errorf("replay: %s, want %s (%q)", again.Outcome, want, again.Evidence.Error)
			}
		})
	}
}

// names writes facts as "kind.state object", and checks what all must have.
func names(facts []provider.Fact) string {
	var all []string
	for _, f := range facts {
		if f.Rank() == 0 || f.PaymentID != ourPayment || f.OccurredAt.IsZero() {
			return "an impossible fact"
		}
		all = append(all, string(f.Kind)+"."+string(f.State)+" "+f.ObjectID)
	}
	return strings.Join(all, " ")
}
