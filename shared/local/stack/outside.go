package stack

import (
	"maps"
	"net"
)

// Variables are the environment of a function, all of it: what a program needs that is the function outside a Host. It
// is nil for a function that there is not.
func (c HostConfig) Variables(function string) map[string]string {
	for _, f := range functions {
		if f.name == function {
			return maps.Clone(f.variables(c))
		}
	}
	return nil
}

// Listen listens at one of the configuration's addresses, in a Host's stead.
func (c HostConfig) Listen(function string) (net.Listener, error) {
	return listenReserved(c.Addresses[function])
}
