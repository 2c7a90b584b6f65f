package providersim

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxRequestBytes bounds what a request may carry.
const maxRequestBytes = 256 << 10

// rateLimitReset is how long the 429 asks to be left alone.
const (
	rateLimitReset = 30 * time.Second
	retryAfter     = "30"
)

// reply is what a provider answers, before the network has had its way with it.
type reply struct {
	status int
	header http.Header
	body   []byte
}

const htmlPage = `<!DOCTYPE html><html><head><title>%d</title></head>` +
	`<body><h1>Please try again in a moment</h1></body></html>`

func htmlReply(status int) reply {
	return reply{
		status: status,
		header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		body:   fmt.Appendf(nil, htmlPage, status),
	}
}

// send answers with rep, spoilt by the fault if the fault is one that strikes
// between the provider and its caller. tamper gives the body with a wrong amount.
func (g *rig) send(w http.ResponseWriter, r *http.Request, f Fault, rep reply, tamper func([]byte) []byte) {
	switch f.Kind {
	case DropBefore, DropAfter, LateDrop:
		drop(w, f.Silent)
		return
	case HangBefore, HangAfter, LateHang:
		g.hang(r)
		panic(http.ErrAbortHandler)
	case HTMLBefore, HTMLAfter:
		rep = htmlReply(f.Status)
	case DelayAfter:
		g.wait(f.For)
	case BadJSON:
		rep.body = rep.body[:len(rep.body)/2]
	case WrongAmount:
		rep.body = tamper(rep.body)
	}
	for name, values := range rep.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(rep.body)))
	w.WriteHeader(rep.status)
	_, _ = w.Write(rep.body) // the caller may have gone; that is its affair
}

// wait lets real time pass, but not past Close. It goes on when the caller
// leaves: a provider that is slow acts all the same.
func (g *rig) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.closed:
	}
}

// hang waits until the caller goes away. Its body must have been read, or the
// server can't notice.
func (g *rig) hang(r *http.Request) {
	g.busy.end()
	defer g.busy.begin()
	g.hanging.Lock()
	tell := g.hanging.tell
	g.hanging.Unlock()
	if tell != nil {
		tell()
	}
	select {
	case <-r.Context().Done():
	case <-g.closed:
	}
}

// drop cuts the connection; see Fault.Silent.
func drop(w http.ResponseWriter, silent bool) {
	if hijacker, ok := w.(http.Hijacker); ok {
		conn, _, err := hijacker.Hijack()
		if err == nil {
			if !silent {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Ty")
			}
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler) // HTTP/2 resets the stream
}
