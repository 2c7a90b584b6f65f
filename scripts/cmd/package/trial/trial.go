// Package trial runs what is deployed before it is: it builds staged trees as Google's Go
// buildpack does, and runs each program as Cloud Run does, in the place of its function
// in a local stack. Nothing in the program knows of that. What it is given is the
// function's own variables, a port, and a network in which Google's services are the
// stack's.
//
// It owns processes and a temporary folder, which go with Close. It is for scripts/package
// and its tests. What it can't try is what only the cloud has: the image, IAM, the
// builder's own Go.
package trial

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/stack"
)

// A Trial is a local stack whose functions are programs, as far as they were started. It
// goes by the machine's time, as the programs do.
type Trial struct {
	*stack.Stack

	google *google
	undo   []func()

	mu      sync.Mutex
	answers map[string]map[int]int // by function and status, what came from outside of the probes
}

// New starts a stack without functions. Of the options its Clock, Run and ExternalHost
// are the trial's to choose.
func New(ctx context.Context, o stack.Options) (_ *Trial, err error) {
	t := &Trial{answers: map[string]map[int]int{}}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	o.Clock, o.Run, o.ExternalHost = clock.NewFlowing(time.Now()), true, true
	if t.Stack, err = stack.Start(ctx, o); err != nil {
		return nil, err
	}
	t.undo = append(t.undo, t.Stack.Stop)
	folder, err := os.MkdirTemp("", "tollgate-trial-")
	if err != nil {
		return nil, err
	}
	t.undo = append(t.undo, func() { _ = os.RemoveAll(folder) })
	issuer, err := t.startTokens()
	if err != nil {
		return nil, err
	}
	config := t.HostConfig()
	t.google, err = startGoogle(folder, map[string]string{
		cloudTasksHost: config.TasksAddress, pubSubHost: config.PubSubAddress, tokenHost: issuer,
	})
	if err != nil {
		return nil, err
	}
	t.undo = append(t.undo, t.google.close)
	return t, nil
}

// startTokens serves Google's token endpoint, without TLS.
func (t *Trial) startTokens() (address string, err error) {
	server := &http.Server{Handler: http.HandlerFunc(tokens), ReadHeaderTimeout: 10 * time.Second, Protocols: &http.Protocols{}}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	l, err := listenLoopback()
	if err != nil {
		return "", err
	}
	t.serve(l, server)
	return l.Addr().String(), nil
}

// Close stops the programs that run, without asking them, and the stack.
func (t *Trial) Close() {
	undo := t.undo
	t.undo = nil
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
}

// Answers tells how often the function's program answered with which status. Probes are
// not counted.
func (t *Trial) Answers(function string) map[int]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.answers[function])
}

// Strangers lists the hosts outside of the stack that programs tried to reach.
func (t *Trial) Strangers() []string { return t.google.strangers() }

// Start runs the program as the function, which registers as entryPoint, and returns once
// its startup probe has been answered with 200.
func (t *Trial) Start(ctx context.Context, function, entryPoint, program string) (*Program, error) {
	variables := t.HostConfig().Variables(function)
	if variables == nil {
		return nil, fmt.Errorf("the local stack has no function %s", function)
	}
	maps.Copy(variables, t.google.environment())
	maps.Copy(variables, map[string]string{
		"FUNCTION_TARGET": entryPoint, "FUNCTION_SIGNATURE_TYPE": "http",
		"K_SERVICE": function, "K_REVISION": function + "-00001-abc", "K_CONFIGURATION": function,
	})
	p, err := start(ctx, program, variables)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", function, err)
	}
	t.undo = append(t.undo, p.kill)
	return p, nil
}

// Place has the program answer the stack's calls of the function.
func (t *Trial) Place(function string, p *Program) error {
	target, err := url.Parse(p.URL)
	if err != nil {
		return err
	}
	l, err := t.HostConfig().Listen(function)
	if err != nil {
		return err
	}
	t.serve(l, &http.Server{Handler: t.front(function, target), ReadHeaderTimeout: 10 * time.Second})
	return nil
}

// front hands on requests as Cloud Run's does, and counts the answers.
func (t *Trial) front(function string, target *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		},
		ModifyResponse: func(resp *http.Response) error {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.answers[function] == nil {
				t.answers[function] = map[int]int{}
			}
			t.answers[function][resp.StatusCode]++
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
}

// serve serves until Close.
func (t *Trial) serve(l net.Listener, server *http.Server) {
	go func() { _ = server.Serve(l) }() // it ends with Close, and its error is that it did
	t.undo = append(t.undo, func() { _ = server.Close() })
}
