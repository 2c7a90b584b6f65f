// Package crash kills the functions, really, at every recovery point of every
// operation, and looks at what is left when they come back. It holds tests only.
package crash
