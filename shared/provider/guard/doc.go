// Package guard stands before every provider adapter, so that a provider's trouble stays
// its own. It owns, in this one place for all providers:
//
//   - the account check: nothing is sent to, and nothing concluded from, another account
//     than the one an attempt was made for;
//   - the bulkhead: so many calls at a time in this instance;
//   - asking the circuit breaker, and telling it how the call went;
//   - the deadline of each operation;
//   - the metrics of calls.
//
// It decides nothing about money. What it does not let through is not sent when nothing
// of the attempt may have left before; otherwise it is unknown, and a look-up that it
// does not let through is incomplete: absence of an answer is never one.
//
// It knows no provider, holds no database connection during a call, and keeps nothing
// but counts. It returns no faults.
//
// # How big
//
// An instance of a function takes 40 requests at a time (terraform:
// max_instance_request_concurrency). Every provider has 12 places in it (STRIPE_CONCURRENCY
// and its siblings), three providers have 36, and
//
//	places of all providers  <  requests of an instance        3 x 12 = 36 < 40
//
// so that with every provider hanging there is still room to say so: who finds no place
// is answered provider_busy at once, before anything is claimed. One provider that hangs
// holds 12 of 40 requests, for 25 s at most each, and the other 28 go on. What the places
// bound are requests under way, sockets (one each, HTTP/1.1) and memory (replies of 4 MiB
// at most: 36 x 4 = 144 MiB of the 512 MiB of an instance, in the worst case; some
// kilobytes in practice).
//
// No database connection is among it: none is held while a provider is called, so a
// hanging provider takes none. Claims and records take some milliseconds, so few
// connections serve many requests, and an instance has 3 (DATABASE_POOL_MAX). Together
// they must fit into the database, twice, because a new revision of a function starts
// before the old one ends; some are kept for operators and migrations:
//
//	functions x instances x pool x 2  <=  max_connections - reserve
//	12        x 10        x 3    x 2   =  720  <=  800 - 50
//
// A test of shared/api/core holds these numbers against the code and terraform.
package guard
