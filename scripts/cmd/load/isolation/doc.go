// Package isolation is `scripts/load isolation`. A provider's trouble stays its own: payments at one provider are not
// slower while another hangs.
//
// The system is the local stack on a clock that flows, with PostgreSQL, and four processes that each serve every
// function, as four instances of each would. They share nothing but the database and a control plane in Firestore's
// emulator. Payments come at a constant rate to each provider, whatever becomes of those before (see load.stream), and
// go to the four createpayment functions in turn, at most 40 at a time to each, as the platform has it. They go there
// straight, and the providers send no webhooks: the gateway, and what webhooks set off, are a load of this machine that
// no deployment has beside createpayment. A fifth process does what else there is to do: it sweeps, and is told of what
// is published.
//
// Runs without the sick provider alternate with runs with it, each in a system of its own, so that none inherits
// another's backlog. In a run with it, it hangs for a minute: it takes every request and answers none. Then it is well
// again. What is measured begins with the hang, and goes on after the circuit has closed and what had waited is
// carried out. After the last run Firestore is killed, and the provider hangs once more.
//
// What is measured is a difference on one machine, the load included. It says nothing of how fast a deployment is.
package isolation
