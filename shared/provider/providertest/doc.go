// Package providertest is the conformance suite of the provider port: what every
// adapter must do, shown by driving it through the port alone, against its simulator
// or its provider's sandbox.
//
// Run takes a payment through every life that the adapter's Capabilities promise, then
// every fault of providersim's plan against every request that the adapter makes, and
// then what goes wrong in ways that have names. The provider's report of the account is
// held to everything that moved money. Document writes down what came of it all:
// shared/provider/OUTCOMES.md, which a test holds to what the code does.
//
// What the suite knows of a provider is in a Subject: which requests a step takes, which
// payment goes which way, and what its payer says on the provider's page. Everything
// else it sees through the port, or in the simulator's record of what really happened.
//
// A Bench is one adapter before one account; the adapters' own tests stand on it too.
package providertest
