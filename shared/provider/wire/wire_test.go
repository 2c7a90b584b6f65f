package wire

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

func TestAPostWithoutABodyIsRefused(t *testing.T) {
	t.Parallel()
	req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sendOnce(req); !errors.Is(err, ErrBodyless) {
		t.Errorf("sendOnce = %v", err)
	}
}

// net/http ignores a proxy for loopback, so the wire itself can't show this.
func TestThereIsNoProxy(t *testing.T) {
	t.Parallel()
	if New(nil, Limits{time.Second, time.Second}).next.Proxy != nil {
		t.Error("the transport takes a proxy")
	}
}

func TestARequestNeedsAnExchange(t *testing.T) {
	t.Parallel()
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:1/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := New(nil, Limits{time.Second, time.Second})
	if _, err := transport.Client().Do(req); err == nil {
		t.Error("a request was sent unrecorded")
	}
	x := &Exchange{}
	if _, err := transport.Client().Do(req.WithContext(With(t.Context(), x))); err == nil || x.Err == nil || x.Answered() || x.Connected() || x.Failed() == nil {
		t.Errorf("%v; exchange: %v, answered %t, connected %t", err, x.Err, x.Answered(), x.Connected())
	}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	for status, fails := range map[int]bool{200: false, 201: true, 404: true, 0: true} {
		if err := (&Exchange{Status: status}).Failed(); (err != nil) != fails {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{Clip("éé", 2), "éé"}, {Clip("ééé", 2), "éé"}, {ClipBytes("éé", 3), "é"}, {ClipBytes("éé", 4), "éé"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
