// Package e2e tests the whole system through its front door: over HTTP through the gateway, as a merchant, with the
// webhooks that the merchant gets. It has no code but tests.
package e2e
