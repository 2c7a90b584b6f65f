package stack

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ControlPlane is what the control plane is called, beside Providers, in TakeAway and BringBack.
const ControlPlane = "control"

// place is an address that stays somebody's own while nobody is there.
type place struct {
	name    string
	address string
	handler http.Handler
	server  *http.Server // nil while it is away
}

func (p *place) url() string { return "http://" + p.address }

// open has the handler answer; nil: the one that did before. Opening twice is harmless.
func (p *place) open(h http.Handler) error {
	if p.server != nil {
		return nil
	}
	if h != nil {
		p.handler = h
	}
	l, err := listenReserved(p.address)
	if err != nil {
		return fmt.Errorf("stack: %s: %w", p.name, err)
	}
	server := &http.Server{Handler: p.handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // it ends with close, and its error is that it did
	p.server = server
	return nil
}

// close breaks off what is being answered, and has connections refused from now on.
func (p *place) close() {
	if p.server != nil {
		_ = p.server.Close()
		p.server = nil
	}
}

// reserve makes a place for each name, where nobody is yet.
func (s *Stack) reserve(names ...string) ([]*place, error) {
	var ports reservation
	s.defers(ports.release)
	addresses, err := ports.reserve(len(names))
	if err != nil {
		return nil, err
	}
	made := make([]*place, len(names))
	for i, name := range names {
		made[i] = &place{name: name, address: addresses[i]}
		s.defers(made[i].close)
	}
	s.places = append(s.places, made...)
	return made, nil
}

func (s *Stack) place(name string) (*place, error) {
	for _, p := range s.places {
		if p.name == name {
			return p, nil
		}
	}
	return nil, errors.New("stack: there is no " + name)
}

// TakeAway has a provider or the control plane refuse all connections, and breaks off those there are, until
// BringBack. Webhooks a provider still sends. Neither is for concurrent use.
func (s *Stack) TakeAway(name string) error {
	p, err := s.place(name)
	if err == nil {
		p.close()
	}
	return err
}

// BringBack has what was taken away answer again.
func (s *Stack) BringBack(name string) error {
	p, err := s.place(name)
	if err != nil {
		return err
	}
	return p.open(nil)
}
