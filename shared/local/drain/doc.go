// Package drain ends a real function in the midst of its work, as the platform does, and
// looks at what its callers get. It holds tests only.
package drain
