// Package webhooks measures how events reach merchants, from the commit of a change to the receipt of its webhook. It
// has four benchmarks, a file each:
//
//	rate.go       scripts/load webhooks            how many deliveries a second, and how long they take
//	isolation.go  scripts/load webhooks-isolation  what two endpoints in trouble cost the others
//	crash.go      scripts/load webhooks-crash      what kill -9 of the functions costs: nothing lost, few duplicates
//	drain.go      scripts/load outbox-drain        how fast the outbox empties after an outage of Pub/Sub
//
// What they share is the world (world.go): the local stack, with PostgreSQL, and the functions in processes of their
// own, each of which serves every function. The processes listen at the same addresses, and the kernel deals the
// connections out among them, so Pub/Sub, Cloud Tasks and the scheduler find whichever there is, as they do behind
// Cloud Run. Pub/Sub, Cloud Tasks, the scheduler, the merchants' servers and the load are in this process.
//
// An event takes the way that it takes in production, from its commit on. A commit is what a change of a payment does
// for its event, and no more of it: a transaction that holds the payment's row lock, takes the next sequence and queues
// the event to the outbox, and then a relay that publishes it, within 300 ms, or leaves it to the sweep. Then Pub/Sub
// pushes it to notifymerchant, which makes a delivery and a task, and Cloud Tasks calls deliverwebhook, which sends it to
// an endpoint of the merchant's, where the signature is verified by the public Standard Webhooks library.
//
// What differs from a deployment: everything is on one machine, the load included; PostgreSQL does not wait for the
// disk (fsync is off), which is a favour that a deployment does not do; nothing limits the requests under way in an
// instance, and nothing makes more of them; and no round trip leaves the machine.
package webhooks
