// Package guard stands before every provider adapter, so that a provider's trouble stays
// its own. It owns, in this one place for all providers:
//
//   - the account check: nothing is sent to, and nothing concluded from, another account
//     than the one an attempt was made for;
//   - the bulkhead: so many calls at a time in this instance;
//   - asking the circuit breaker, and telling it how the call went;
//   - the deadline of each operation;
//   - the places and the deadline of reports, which are apart from the others': whoever
//     reads a report takes nothing from payments, and says nothing of their health;
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
// An instance of a function takes 40 requests at a time. Every provider has 12 places in
// it (STRIPE_CONCURRENCY and its siblings), three providers have 36, and
//
//	places of all providers  <  requests of an instance        3 x 12 = 36 < 40
//
// so that even with every provider hanging there is room left to say so: who finds no
// place is answered at once, before anything is claimed. One provider that hangs holds 12
// of the 40, each for 25 s at most, and the other 28 go on. What the places bound are
// requests under way, sockets (one each, HTTP/1.1) and memory: replies are cut at 4 MiB,
// so 36 are below 144 MiB of an instance's 512 in the worst case, and some kilobytes in
// practice.
//
// No database connection is among it: none is held while a provider is called, so a
// hanging provider takes none. Claims and records take some milliseconds, so few
// connections serve many requests, and an instance has 3. All together must fit into the
// database, twice, because a new revision of a function starts before the old one ends;
// some are kept for operators and migrations:
//
//	instances of all functions x pool x 2  <=  max_connections - reserve
//	136 x 3 x 2 = 816 <= 1000 - 50
//
// terraform/functions.tf says how many instances each function may have: 10, but 5 where
// merchants only look something up now and then, and one or two where the scheduler calls,
// which calls one at a time. In terraform that is
//
//	max_instance_request_concurrency = 40
//	max_instance_count               = the function's instances
//	available_memory                 = "512Mi"
//	DATABASE_POOL_MAX                = 3
//	max_connections                  = 1000 # a flag of the database
//	STRIPE_CONCURRENCY, PAYPAL_CONCURRENCY, BANK_CONCURRENCY = 12
//
// A test of shared/api/core holds the inequalities against the defaults, the functions
// that there are, and what terraform sets.
package guard
