// Package wire is what the adapters of the provider port send by, and how they write
// down what came back.
//
// It owns what an adapter is wired with (options.go); the transport that can prove that
// no byte of a request left, sends every request exactly once, and keeps each raw reply
// apart from whatever library asked for it (exchange.go); and the evidence of a reply,
// masked by a list of what may be shown, never of what must not (evidence.go).
//
// It knows no provider and judges nothing: what a status or an object means is the
// adapters' affair.
package wire
