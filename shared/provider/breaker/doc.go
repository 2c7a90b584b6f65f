// Package breaker keeps calls away from a provider that is ill, and finds out when it is well again. All instances
// share one circuit per provider, the document circuits/<provider> of the control plane.
//
// # Rules
//
// Closed: calls pass. Each instance judges by its own calls of the last 10 s: when at least 10 ended, and half of them
// failed or four of five took longer than 5 s, it opens the circuit, first for itself and then for all. A call that is
// still under way after 5 s is slow already, and counts as that until it ends: hanging is found out before the calls
// time out, and 10 s after the last good call at the latest. What is shared are such decisions, never counts: a request
// writes nothing, and reads only memory while the reading is young.
//
// Open: calls are refused, for 60 s by the clock of the instance that opened it.
//
// Half-open: at most 5 calls pass as probes, across all instances. Each holds a lease of 30 s, taken and given back in
// a transaction. A probe that succeeded or failed keeps its place; one that told nothing, or whose lease ended without
// a word (its instance was killed or frozen), makes room for another. With 3 successes the circuit closes; when 3 of 5
// can't be reached any more, which is with the third failure, it opens again for 60 s. A probe slower than 5 s counts
// as a failure, also before it ends, or the circuit would close only to open again.
//
// Forced: an operator's word comes before all of this. Forced open refuses everything, forced closed lets everything
// pass and counts nothing, reset closes the circuit and forgets what was counted.
//
// # Races
//
// Each change of state is a generation, and every word about a circuit names the one it is about:
//
//   - Two instances open the circuit at once: the first one's generation is written, the second finds that the circuit
//     has moved on and takes over what it finds.
//   - A call began before the circuit opened and ends after it closed: its generation is past, and it is not counted.
//     The counts of a generation end with it.
//   - A probe's result comes when another instance has closed or opened the circuit, or when its lease has ended: it
//     is not listened to.
//   - The answer to a write is lost and the store, or its client, writes again: a lease that is there is not given
//     out twice, and a change of state finds its generation gone.
//   - Clocks differ by a second: the circuit half-opens a second early or late, and a lease ends so. A lease is longer
//     than the longest call by more than that. A circuit that was opened further ahead than it is to be open counts as
//     half-open.
//   - A lease comes when the call that asked for it waits no longer: it is given back.
//   - Done never comes, or twice: a call is missing in the counts or there twice, a probe's lease ends.
//
// # Without the store
//
// Control plane trouble never refuses a payment. A request waits for the store 200 ms, once; then it is asked in the
// background, once a second. Until it answers, the last document that was read stands, what an operator forced
// included, and an instance opens the circuit for itself by its own counts. When a circuit is due to half-open and the
// store has been away for 5 s, the instance probes by itself, by the same rules. Once the store answers, what the
// instance came to is written as the document's next generation, unless others have written since; then theirs stands.
// A round of probes that was begun alone is finished alone.
//
// It owns the document and its rules. It makes no calls and knows no provider: what a failure is, the caller says
// (shared/provider/guard). It returns no faults.
package breaker
