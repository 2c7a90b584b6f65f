package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// streams serves a function whose answer is made piece by piece.
func streams(t *testing.T, log io.Writer, make func(context.Context, io.Writer) error) string {
	t.Helper()
	server := httptest.NewServer(Handle(testEnv(log), "listsettlements", "GET /", func(*http.Request) (Response, error) {
		return Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/csv"}}, Stream: make}, nil
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, url, encoding string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// The first piece arrives before the last is made: nothing gathers them.
func TestAStreamIsSentAsItIsMade(t *testing.T) {
	t.Parallel()
	first, goOn := strings.Repeat("a", 1<<16), make(chan struct{})
	var log syncBuffer
	url := streams(t, &log, func(_ context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, first); err != nil {
			return err
		}
		<-goOn
		_, err := io.WriteString(w, "b")
		return err
	})
	resp := get(t, url, "identity")
	begin := make([]byte, 1<<15)
	if _, err := io.ReadFull(resp.Body, begin); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	rest, err := io.ReadAll(resp.Body)
	if got := string(begin) + string(rest); err != nil || got != first+"b" {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if h := resp.Header; h.Get("Content-Type") != "text/csv" || h.Get("Request-Id") == "" || h.Get("Cache-Control") != "no-store" || h.Get("Content-Encoding") != "" {
		t.Errorf("headers %v", h)
	}
}

func TestAStreamIsCompressedForWhoTakesIt(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	url := streams(t, &log, func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("a line\n", 10_000))
		return err
	})
	for encoding, want := range map[string]bool{
		"gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "gzip; q=0.0": false, "identity": false, "deflate, br": false,
	} {
		resp := get(t, url, encoding)
		body, err := io.ReadAll(resp.Body)
		if compressed := len(body) < 10_000; err != nil || compressed != want || (resp.Header.Get("Content-Encoding") == "gzip") != want {
			t.Errorf("%s: %d bytes, %v, %v", encoding, len(body), resp.Header, err)
		}
	}
	resp := get(t, url, "") // Go's client asks for it and takes it apart
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) != 70_000 || !resp.Uncompressed {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

// Half an answer must not look like a whole one, whatever broke it off.
func TestABrokenStreamIsSeenToBeBroken(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(context.Context, io.Writer) error{
		"an error": func(_ context.Context, w io.Writer) error {
			_, _ = io.WriteString(w, strings.Repeat("a line\n", 10_000))
			return errors.New("the database is away")
		},
		"a panic": func(_ context.Context, w io.Writer) error {
			_, _ = io.WriteString(w, "a line\n")
			panic("the database is away")
		},
	} {
		for _, encoding := range []string{"identity", "gzip"} {
			var log syncBuffer
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, streams(t, &log, broken), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", encoding)
			resp, err := http.DefaultClient.Do(r)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				t.Errorf("%s, %s: it looks whole", name, encoding)
			}
			if lines := log.await(t, 1); len(lines) != 1 || !strings.Contains(lines[0]["write_error"].(string), "the database is away") {
				t.Errorf("%s, %s: logged %v", name, encoding, lines)
			}
		}
	}
}
