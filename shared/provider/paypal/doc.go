// Package paypal is the adapter of the provider port to PayPal: Orders v2 and
// Payments v2, by a small client of our own on provider/wire.
//
// It owns how a step is put to PayPal (job.go, run.go), the access token (token.go),
// what an answer proves (classify.go), the facts that PayPal's objects state
// (object.go, fact.go, dispute.go), the look-up (find.go), PayPal's report of the account's money
// (statement.go), webhook signatures and events (verify.go, event.go), and the tables of
// PayPal's currencies and refusals. It has no tables in the database; its only state is a
// token and the certificates of webhooks.
//
// # How a step goes
//
// The payment object is the order; its id is the reference, and the object id of every
// fact about the authorization, so that one order has one history even if it was
// authorized anew. A manual capture method has the intent AUTHORIZE; an automatic one
// has CAPTURE, since a sale in two requests could be left half done.
//
// An authorize without a reference creates the order and answers requires_action with
// the page where the payer approves it. Approval moves no money: PayPal's object shows
// it, and so does a fact authorization.approved, from the look-up and from the event
// CHECKOUT.ORDER.APPROVED. Whoever sees that executes an authorize again, either the
// same attempt within its key window or a new one with the order as its Reference: it
// reads the order, and authorizes it if it is approved. An order is authorized once,
// whatever the key.
//
// Every other step reads the order first. If the order shows the step done, or that it
// never can be, that is the answer, and nothing is sent. A look-up that fails before a
// first call sent anything leaves it unsent. PayPal-Request-Id is the attempt's key;
// the second request of a step adds a word to it.
//
// An order whose creation went unanswered is inert. PayPal has no list of orders, but
// nobody knows the page where it could be approved, and nothing without an approval
// and a later request of ours authorizes it. So a look-up without a reference is
// complete, and finds nothing.
//
// # What is proven
//
// A reply counts only if it echoes our ids (custom_id and invoice_id), the amount as
// PayPal writes it, and the currency. Refusals count for a first call alone. Errors
// that say that something has happened or is happening (DUPLICATE_INVOICE_ID,
// PREVIOUS_REQUEST_IN_PROGRESS, …) are never refusals: the order is read again, and
// tells, or the outcome is unknown.
//
// After the honor period of three days the payer's funds are no longer held for sure:
// a capture then authorizes anew first. PayPal lets go of an authorization after 29
// days; expiration_time says when.
//
// Webhooks are hints. A signature covers no more of the body than its CRC-32, so an
// event asks for a look-up (LookUp), and what that shows is what counts.
//
// # Disputes
//
// A case is a fact while it is a claim, for PayPal to decide, and once it is decided. An
// inquiry, between the buyer and the seller, takes no money. An app sees disputes if that
// feature is switched on for it at PayPal; without it they are known by the account's
// report alone.
//
// Rules of PayPal's: https://developer.paypal.com/docs/api/orders/v2,
// /docs/api/payments/v2, /docs/api/customer-disputes/v1, /docs/api/transaction-search/v1,
// /api/rest/reference/idempotency, /api/rest/webhooks.
package paypal
