// Package stripe is the adapter of the provider port to Stripe's card payments, on
// stripe-go v76 and its API version 2023-10-16.
//
// It owns how a step is put to Stripe (request.go), what an answer or its silence
// proves (classify.go), the facts that Stripe's objects state (fact.go, dispute.go), the look-up
// (find.go), Stripe's report of the account's money (statement.go), webhook signatures
// and events (signature.go, event.go), and the tables of Stripe's currency units and
// decline codes. How bytes travel is provider/wire's. It has no tables in the database and
// no state of its own.
//
// It never guesses. stripe-go encodes requests and types objects; every decision is
// made on the raw reply, because the library loses what a truncated or foreign one
// looked like. A reply counts only if it echoes our id, the amount in Stripe's units,
// and the currency; whatever else may have happened is unknown.
//
// One adapter serves one Stripe account in one mode, live or test. Webhook endpoints
// must be pinned to the API version above: objects of another version may lack what
// the facts are read from.
//
// Where Stripe's own rules decide something, the code names the page:
// https://docs.stripe.com/api/errors, /api/idempotent_requests, /currencies.
package stripe
