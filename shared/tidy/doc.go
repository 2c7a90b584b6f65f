// Package tidy is the repository's rules about itself, as tests: which package
// may import which, what every function's folder has, where the clock and the
// environment may be read, what lies at the top level. It has no code.
//
// A rule that stands in the way of something better is changed here, in the
// commit that needs it, with the reason.
package tidy
