// Package providersim simulates payment providers, with their failures. A
// simulator is an http.Handler that keeps an account in memory, speaks the
// provider's real API, and can be told to misbehave. It is for tests, for the
// local stack, and for anybody who wants to see what their own integration does
// when the reply is lost after the money has moved. It uses the standard library
// alone and is never linked into a deployed function.
//
//	sim := providersim.NewStripe(providersim.StripeConfig{
//		Now:            time.Now,
//		SecretKeys:     []string{"sk_test_sim"},
//		WebhookSecrets: []string{"whsec_sim"},
//	})
//	server := httptest.NewServer(sim) // point a Stripe client's base URL here
//	sim.SetWebhook("http://127.0.0.1:8080/webhooks/stripe")
//
// # What Stripe does here
//
// The simulated API is v1 as of 2023-10-16, which is what stripe-go v76 speaks:
// PaymentIntents (create, confirm, capture, cancel, retrieve, list), refunds
// (create, retrieve, list), charges, payment methods, balance transactions, payouts and
// events (retrieve, list), with expand, cursors, filters on created, metadata
// limits, and errors in Stripe's shapes. Objects have the fields that Stripe's
// have. What the simulator does not model it refuses as an unknown parameter or
// URL, rather than ignoring it.
//
// These are true of Stripe, and easily forgotten:
//
//   - An intent that names neither payment_method_types nor
//     automatic_payment_methods[allow_redirects]=never needs a return_url to be
//     confirmed.
//   - A declined intent exists, stands in requires_payment_method, and can be
//     confirmed again until it is canceled. The 402 carries it.
//   - Capturing a part releases the rest, which shows as a refund on the charge:
//     amount_refunded, a refund object without anybody's metadata, and
//     charge.refunded. Canceling an authorization shows in the same way.
//   - Refunds that are pending count against the charge; a refund that fails
//     afterwards gives its amount back.
//   - An uncaptured intent is canceled after seven days (charge.expired,
//     payment_intent.canceled).
//   - Events come in no promised order, more than once, and again for three days
//     until they are answered with a 2xx.
//   - A dispute is a charge's and names none of the caller's metadata. It takes its
//     amount and a fee when it is opened, and gives the amount back when it is won;
//     the fee stays. An inquiry (warning_*) takes nothing. A charge that is disputed
//     can't be refunded; one that was refunded can be disputed.
//   - ISK and UGX amounts are multiples of 100, those of three-decimal
//     currencies multiples of 10, and none is above 99,999,999.
//
// The simulator departs from Stripe where a test wants it to: the smallest
// amount is 1, there is no rate limit but an injected one, keys expire after
// exactly 24 hours, and the delays of refunds and retries are its own.
// Customers, Connect and payment methods other than cards are not there. Error
// codes that Stripe does not document are its best guess: amount_too_large for a
// refund above the charge, and the codes of amounts that a currency can't have.
//
// # What PayPal does here
//
// See PayPal. What follows is of Stripe as far as it names Stripe's objects; faults,
// time, effects and the pages for other processes are the same, but for a request that
// was answered with 500: PayPal keeps no such answer, so the same request is executed
// when it comes again, or refused while a late one is still to act.
//
// # Idempotency
//
// As https://docs.stripe.com/api/idempotent_requests has it: the status and body
// of a POST are kept under its Idempotency-Key once execution has begun, a 500
// and a decline included, and given again with Idempotent-Replayed: true. A
// request refused by validation (unknown objects included), and a 401, 409 or
// 429, is not kept. While the first request runs the key is in use: 409. Other
// parameters or another path under the same key: 400, idempotency_error. After
// 24 hours the key is new, and the same request takes the money again.
//
// # Cards
//
// Stripe's test tokens, and two of the simulator's own (pm_sim_). Each decline
// is also known without "visa_" or with it.
//
//	pm_card_visa, pm_card_visa_debit, pm_card_mastercard,
//	pm_card_amex, pm_card_jcb                     succeeds
//	pm_card_visa_chargeDeclined                   card_declined, generic_decline
//	pm_card_visa_chargeDeclinedInsufficientFunds  card_declined, insufficient_funds
//	pm_card_visa_chargeDeclinedLostCard           card_declined, lost_card
//	pm_card_visa_chargeDeclinedStolenCard         card_declined, stolen_card
//	pm_card_visa_chargeDeclinedFraudulent         card_declined, fraudulent
//	pm_card_visa_chargeDeclinedVelocityLimitExceeded  card_declined, card_velocity_exceeded
//	pm_card_chargeDeclinedExpiredCard             expired_card
//	pm_card_chargeDeclinedIncorrectCvc            incorrect_cvc
//	pm_card_chargeDeclinedProcessingError         processing_error
//	pm_card_authenticationRequired, pm_card_threeDSecureRequired,
//	pm_card_threeDSecure2Required                 requires_action, then succeeds
//	pm_card_threeDSecureRequiredChargeDeclined    requires_action, then generic_decline
//	pm_card_authenticationRequiredChargeDeclinedInsufficientFunds
//	                                              requires_action, then insufficient_funds
//	pm_card_pendingRefund                         succeeds; refunds are pending, then succeed
//	pm_card_refundFail                            succeeds; refunds succeed, then fail
//	pm_card_createDispute                         succeeds; is disputed as fraudulent a day later
//	pm_card_createDisputeProductNotReceived       succeeds; is disputed as product_not_received
//	pm_card_createDisputeInquiry                  succeeds; has an inquiry
//	pm_sim_processing                             processing, then succeeds
//	pm_sim_processingChargeDeclined               processing, then generic_decline
//
// The 3-D Secure challenge is answered by CompleteAuthentication, or at the page
// that next_action points to, whose links lead to ?outcome=success and
// ?outcome=fail. With off_session or error_on_requires_action there is no
// challenge but a decline, authentication_required.
//
// # Faults
//
// A fault is asked for with one request, by the header Sim-Fault, or for
// requests to come, by SetPlan and Inject. It is written as its kind and, after
// semicolons, its parameters: "delay_after; for=3s".
//
//	delay_before    wait in real time, then act and answer, even if the caller has gone (for)
//	delay_after     act, wait in real time, then answer (for)
//	hang_before     never act; say nothing until the caller goes away
//	hang_after      act; say nothing until the caller goes away
//	drop_before     never act; cut the connection (silent)
//	drop_after      act; cut the connection (silent)
//	500_before      never act; answer 500, kept under the key
//	500_after       act; answer 500, kept under the key
//	429             never act; answer 429
//	409             never act; answer that the key is in use
//	html_before     never act; answer an HTML page (status, 503)
//	html_after      act; answer an HTML page (status, 200)
//	bad_json        act; answer half of the JSON
//	wrong_amount    act; state amounts one minor unit too large in this answer
//	late_500        answer 500, kept under the key; act later all the same (for, simulated)
//	late_drop       cut the connection; act later; the key is in use until then (for, simulated; silent)
//	late_hang       the same, and say nothing until the caller goes away (for, simulated)
//	webhook_duplicate  send the event again (copies)
//	webhook_delay      send the event later (for, simulated)
//	webhook_reorder    send the event after the payment's next one (at the latest after for, simulated)
//	webhook_lose       never send the event
//
// Stored results win over faults of the provider: a replay is never executed, so
// only faults of the network befall it.
//
// A plan is a list of rules with probabilities and a seed:
//
//	{"seed": 7, "rules": [
//	  {"operation": "capture", "probability": 0.1, "fault": "drop_after"},
//	  {"event": "payment_intent.*", "probability": 0.2, "fault": "webhook_reorder"},
//	  {"metadata": {"order": "17"}, "times": 1, "fault": "late_500; for=30m"}]}
//
// Credentials are replaced by SetCredentials, so that a rolled key and a revoked one can be
// met as well. OnHang tells when a request has begun to hang.
//
// # Time
//
// Now gives the time of everything but delay_ and the network. Nothing waits for
// it with a timer: whoever owns the clock calls NextDue and RunDue, and Quiesce
// for the webhooks that RunDue set off. Requests to the API run what is due first.
//
// # Seeing what happened
//
// Effects lists every movement of money that really took place, with the
// metadata and idempotency key behind it, whatever the caller was told; a test
// of "exactly once" counts these. Counters counts requests, replays and faults.
//
// # Reports
//
// Every movement of an account's money stands in its report, with the provider's fee:
// Stripe's balance transactions, PayPal's transaction search, the items of GoCardless's
// payouts. Money that is available, and is more than nothing, is paid out every day at
// midnight UTC. Nobody needs to step the clock for it: the payouts are made when the next
// request comes, as of their midnight, and no webhook tells of them.
//
//	           available             fee, unless the configuration has another
//	Stripe     two days later        StripeFee, and StripeDisputeFee
//	PayPal     at once               PayPalFee
//	GoCardless after PayOutDelay     GoCardlessFee, in tenths of a minor unit
//
// Plant makes a report wrong: a movement is missing or doubled, its fee, amount or currency
// is another, or there is a charge that none of the caller's requests made. Only reports
// are wrong then; the money moved as Effects has it, and payouts are of that. Planted lists
// what it came to. Requests for a report are of the operation report.
//
// # Other processes
//
//	GET  /_sim/plan                the rules in force
//	PUT  /_sim/plan                SetPlan
//	POST /_sim/plan/inject         Inject, of one rule
//	PUT  /_sim/webhook             SetWebhook, {"url": "…"}
//	GET  /_sim/effects             Effects, or EffectsFor with ?key=…&value=…
//	GET  /_sim/counters            Counters
//	GET  /_sim/due                 {"now": …, "next_due": … or null}
//	POST /_sim/due/run             RunDue
//	POST /_sim/quiesce             Quiesce
//	GET  /_sim/3ds/{intent}        the payer's page
//	POST /_sim/3ds/{intent}        CompleteAuthentication, ?outcome=success or fail
//	POST /_sim/payouts             PayOut, {"currency": "…"}; Stripe alone
//	POST /_sim/plants              Plant
//	GET  /_sim/plants              Planted
//	POST /_sim/disputes            Dispute, of a Complaint; answers {"id": "…"}
//	POST /_sim/disputes/{id}       Decide, ?outcome=won, lost or escalated
package providersim
