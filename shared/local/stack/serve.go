package stack

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// serve serves a handler on loopback until Stop, at the address or any that is free, and returns its URL.
func (s *Stack) serve(h http.Handler, address string, stop func(*http.Server)) (url string, err error) {
	l, err := net.Listen("tcp", cmp.Or(address, "127.0.0.1:0"))
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // it ends with stop, and its error is that it did
	s.defers(func() { stop(server) })
	return "http://" + l.Addr().String(), nil
}

// cut breaks off what is being answered.
func cut(server *http.Server) { _ = server.Close() }

const drainTime = 5 * time.Second

// drain lets requests be answered that have begun, and cuts those that take too long.
func drain(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		cut(server)
	}
}

// lateHandler is a handler that is known only after its address.
type lateHandler struct{ h atomic.Pointer[http.Handler] }

func (l *lateHandler) set(h http.Handler) { l.h.Store(&h) }

func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := l.h.Load()
	if h == nil {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	(*h).ServeHTTP(w, r)
}
