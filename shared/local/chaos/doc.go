// Package chaos runs the core through random trouble, and checks by the providers' own
// records what it made of it.
//
// A schedule is one simulated world, made and driven from one seed: the real core on a
// real database, where each function has its own rights, the real adapters behind real guards and circuits, in front of the
// simulated providers, under a clock of its own. One driver does one thing after the
// other: merchants ask, repeat themselves and ask at the wrong time; payers come, refuse
// or stay away; providers fail in every way of the fault plan, are away, or are slow;
// workers die between any two steps of an operation, or fall asleep there while others
// carry on; events come late, twice, in any order or never; days pass. Then the trouble
// ends, the clock goes past every window, and nothing may be left that is not true:
//
//   - no payer is charged twice: over all providers, at most one object of a payment
//     holds or took money, and no more than was asked for
//   - nothing is FAILED or CANCELED while a provider holds the payer's money
//   - what is CAPTURED, REFUNDED or AUTHORIZED is so at the provider, to the unit
//   - no obligation and no operation is open
//   - the audit log folds, events are numbered without gaps, and what was in doubt is
//     resolved by a rule with evidence
//
// What a provider did is read from the simulators' effects, and judged here (truth.go)
// without the core's code.
//
// The same seed makes the same schedule, to the last identifier, as long as the code is
// the same. No two things run at once within one: the network is in memory, and a
// provider's answer leaves it when the webhooks that it set off have been taken in; a
// worker that falls asleep is a call that has others made inside it. Schedules share
// nothing but the database, where each has a merchant of its own.
//
// It owns no tables and is never linked into a deployed function.
package chaos
