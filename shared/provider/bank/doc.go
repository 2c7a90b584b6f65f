// Package bank is the adapter of the provider port to bank transfers: GoCardless
// Billing Requests (Instant Bank Pay), API version 2015-07-06, by a small client of
// its own.
//
// It owns how a step is put to GoCardless (request.go, authorize.go, void.go,
// refund.go; how bytes travel is provider/wire's), what an answer or silence proves
// (judge.go), the facts that GoCardless's objects state (story.go), the look-up
// (find.go), the items of GoCardless's payouts (statement.go), webhook signatures and
// events (signature.go, event.go), and the tables of currencies and causes. It has no tables in the database and no state of its own.
//
// A payment here is a billing request, which a payer authorizes at a page of
// GoCardless's, and then the payment that it is fulfilled with. The reference is the
// billing request's id; authorization facts bear it too, and capture facts bear the
// payment's. A transfer authorizes and captures in one: until it is confirmed, which
// may take days, the authorization is pending; then both are there. There is no step
// to capture, so an authorize must ask for automatic capture, and a void is possible
// only until the payer has authorized.
//
// A chargeback takes all of a payment back at once; nobody can contest it, but the bank
// may cancel it. It has no object of its own: the dispute bears the payment's id, and the
// payment's events tell what became of it.
//
// GoCardless keeps no answers under an Idempotency-Key. The key names the object that
// it made, in a 409, which is then fetched: what counts is always the object as it is
// now. An action has no such guard, but the billing request's own state has.
//
// It never guesses. An object counts only if it echoes our id, amount and currency;
// whatever else may have happened is unknown. Retrieving and listing are taken to be
// strongly consistent.
//
// Events state neither amounts nor a status, so ParseEvent gives none as facts: it
// says which payment to look up, if that is worth while.
//
// Sources: https://developer.gocardless.com/api-reference, and for the shape of
// conflicts the official client libraries.
package bank
