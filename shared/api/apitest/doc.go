// Package apitest runs functions as production does: built from their configuration,
// on a real database, with the simulated Stripe and with Pub/Sub and Cloud Tasks
// behind the real clients. It holds every exchange to the public contract,
// functions/openapi.yaml: an answer that does not fit its schema fails the test, and
// so does a request that a function accepts and the schema does not.
package apitest
