package api

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
)

// stream sends an answer as it is made, compressed if the caller takes that: the gateway
// lets at most 32 MB through. A caller that reads too slowly is given up at the request's
// deadline.
func (r *Response) stream(w http.ResponseWriter, req *http.Request) error {
	control := http.NewResponseController(w)
	if deadline, ok := req.Context().Deadline(); ok {
		if err := control.SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	h := w.Header()
	h.Set("Vary", "Accept-Encoding")
	compressed := takesGzip(req)
	if compressed {
		h.Set("Content-Encoding", "gzip")
	}
	w.WriteHeader(r.Status)
	err := r.body(req.Context(), w, compressed)
	if err == nil {
		return nil
	}
	// A panic would not do: the framework recovers it and writes its own words into the
	// body, which then ends as if it were whole.
	if conn, _, refused := control.Hijack(); refused == nil {
		_ = conn.Close()
	}
	return err
}

func (r *Response) body(ctx context.Context, w io.Writer, compressed bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if !compressed {
		return r.Stream(ctx, w)
	}
	z := gzip.NewWriter(w)
	if err := r.Stream(ctx, z); err != nil {
		return err
	}
	return z.Close()
}

// takesGzip reads Accept-Encoding.
func takesGzip(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(header, ",") {
			coding, weight, weighed := strings.Cut(item, ";")
			if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				continue
			}
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return !weighed || err == nil && q > 0
		}
	}
	return false
}
