// Package books holds the test of money at rest: days of mixed traffic in a whole local
// system, and every provider's report to the minor unit held against the ledger after it.
//
// The traffic is made from a seed: payments over all providers, in all currencies that
// they take, by merchants whose business days end in two time zones, while requests and
// webhooks fail. What merchants, payers, banks and providers do is in life_test.go;
// settlement, reconciliation and the audit are run by their scheduled jobs. In one of two
// worlds the providers' reports are made wrong in places that are known: what
// reconciliation finds must be that, and nothing else.
//
// What happened is taken from the simulators' own records, and what the providers report
// from their APIs, both without the adapters' code.
package books
