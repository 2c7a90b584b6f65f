package stack

import "maps"

// AnotherHost reserves addresses for one more Host, as for one more instance of every function, and returns its
// configuration. It shares everything with the stack's own host but its addresses: neither the gateway nor Pub/Sub nor
// the scheduler knows it, and only the tasks that it makes itself are sent to it. Settle and Advance do not wait for
// what it is doing.
func (s *Stack) AnotherHost() (c HostConfig, err error) {
	c = s.hosts
	c.Calls = maps.Clone(c.Calls)
	c.Addresses, c.AdminAddress, err = s.reserveHost()
	return c, err
}

// reserveHost reserves an address for each function, by name, and one for the host itself.
func (s *Stack) reserveHost() (addresses map[string]string, admin string, err error) {
	var ports reservation
	s.defers(ports.release)
	all, err := ports.reserve(len(functions) + 1)
	if err != nil {
		return nil, "", err
	}
	addresses = map[string]string{}
	for i, f := range functions {
		addresses[f.name] = all[i]
	}
	return addresses, all[len(functions)], nil
}
