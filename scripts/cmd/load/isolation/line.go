package isolation

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// latency is how long a provider's answer takes, beside what its simulator does.
const latency = 50 * time.Millisecond

// A line is the way to a provider. It can be dead: then it takes requests, and says nothing until the caller has gone.
type line struct {
	URL    string
	to     http.Handler
	server *http.Server

	mu     sync.Mutex
	dead   bool
	hung   int           // operations that found it dead when it last was
	hold   time.Duration // see mend
	over   time.Time     // when the first ones are answered; zero before there is one
	probes int
}

func openLine(to http.Handler) (*line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &line{URL: "http://" + listener.Addr().String(), to: to}
	l.server = &http.Server{Handler: l, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = l.server.Serve(listener) }() // it ends with close
	return l, nil
}

func (l *line) close() { _ = l.server.Close() }

// die has all calls hang from now on.
func (l *line) die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead, l.hung, l.hold, l.over, l.probes = true, 0, 0, time.Time{}, 0
}

// mend lets calls through again. The first of them are answered together, so long after the earliest: while nobody has
// an answer no circuit can close, so they are all of the circuit's probes, and can be counted.
func (l *line) mend(hold time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead, l.hold = false, hold
}

// seen is how many operations hung when the line was last dead, and how many were probes after it.
func (l *line) seen() (hung, probes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hung, l.probes
}

// take counts a call, and says how long it takes.
func (l *line) take(path string) (wait time.Duration, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	operation := !strings.HasSuffix(path, "/oauth2/token") // which comes before one
	if l.dead {
		if operation {
			l.hung++
		}
		return 0, true
	}
	if !operation || l.hold == 0 {
		return latency, false
	}
	now := time.Now()
	if l.over.IsZero() {
		l.over = now.Add(l.hold)
	}
	if left := l.over.Sub(now); left > 0 {
		l.probes++
		return max(left, latency), false
	}
	return latency, false
}

// ServeHTTP implements http.Handler.
func (l *line) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // or the server does not notice that the caller leaves
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	wait, dead := l.take(r.URL.Path)
	if dead {
		<-r.Context().Done()
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		l.to.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}
