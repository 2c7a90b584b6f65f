// Package reconcile holds what Tollgate believes against what its providers say: open
// payments against the providers' present state of them, and all that moved money against
// the providers' own reports and the ledger.
//
// It owns the tables payment_reconciliations, statement_cursors, provider_entries,
// differences and difference_log; it posts to the ledger what only a provider's report
// tells (provider_fee, variance, payout), and what a human writes off (adjustment).
//
// A run does, for each provider by itself:
//
//	check   payments that are open for longer than a quarter of an hour, and those that
//	        something has come up about, are asked for; they follow what the provider
//	        shows (payment.Reconcile)
//	fetch   the provider's report is read on from where the last run stood, with an
//	        overlap, and kept as provider_entries
//	match   what moved money by our facts is paired with the entries and with the
//	        ledger's postings. Each pair that does not agree, and all that has no pair,
//	        is a row of differences
//	payouts what the provider paid out is booked, to the merchants of its members
//
// Matching is a function of facts, entries and postings alone (judge.go), and what it
// finds has a key, so that a second run over the same changes nothing. A difference that
// turns out right later is closed by the matcher, which says how; every other is closed by
// a human, or as configured. README.md beside this file lists the kinds.
//
// It is polite: so many calls a second to each provider, one at a time, none while the
// provider's circuit is open, and none before a time that the provider asked to be left
// alone until. A run is bounded in time and calls, and the next goes on where it stopped.
//
// It refuses to conclude anything from an answer that is not complete. Faults it returns:
// not_found and invalid_state for differences, invalid_request for what is said of them.
package reconcile
