// Package guard stands before every provider adapter, so that a provider's trouble
// stays its own.
package guard
