// Package telemetry is how the system is seen: structured logs for Google Cloud
// Logging, the request's identity on its way through events and tasks, and the
// metrics, each declared once (metrics.go).
//
// It owns the names of log fields, carrier keys and metrics. It refuses to show
// secrets: values of type Secret print as "[masked]" by their type, and whatever
// else looks like a card number, an API key, a webhook secret or a bearer token
// is masked in every message and attribute before it is written.
//
// It returns no faults, reads no environment and starts nothing.
package telemetry
