package controlplane_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/control"
	"github.com/tollgate/tollgate/shared/control/controltest"
	"github.com/tollgate/tollgate/shared/local/controlplane"
)

func TestTheClientIsAStore(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(controlplane.Handler(control.NewMemory()))
	defer server.Close()
	controltest.Store(t, func(testing.TB) control.Store { return controlplane.NewClient(server.URL) })
}

// The process that serves the store changes it directly.
func TestOneStoreIsServedAndUsed(t *testing.T) {
	t.Parallel()
	m := control.NewMemory()
	server := httptest.NewServer(controlplane.Handler(m))
	defer server.Close()
	c := controlplane.NewClient(server.URL + "/")
	first := true
	err := c.Change(t.Context(), "flags/a", func(d control.Document) (control.Document, error) {
		if first {
			first = false
			if err := m.Change(t.Context(), "flags/a", func(control.Document) (control.Document, error) {
				return control.Document{"n": int64(1)}, nil
			}); err != nil {
				t.Error(err)
			}
		}
		n, _ := d["n"].(int64)
		return control.Document{"n": n + 1}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := m.Get(t.Context(), "flags/a"); err != nil || d["n"] != int64(2) {
		t.Errorf("%v, %v: a change from inside was lost", d, err)
	}
}

func TestWhatIsNoDocumentIsRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(controlplane.Handler(control.NewMemory()))
	defer server.Close()
	for _, c := range []struct {
		method, path, match, body string
		status                    int
	}{
		{"GET", "/documents/a/b", "", "", http.StatusNotFound},
		{"GET", "/documents/a", "", "", http.StatusBadRequest},
		{"PUT", "/documents/a/b", "", `{}`, http.StatusPreconditionFailed},
		{"PUT", "/documents/a/b", `"absent"`, `null`, http.StatusBadRequest},
		{"PUT", "/documents/a/b", `"absent"`, `[1]`, http.StatusBadRequest},
		{"PUT", "/documents/a/b", `"absent"`, `{"long":"` + strings.Repeat("x", 1<<20) + `"}`, http.StatusBadRequest},
		{"PUT", "/documents/a/b", `"absent"`, `{"n":1}`, http.StatusNoContent},
		{"DELETE", "/documents/a/b", `"absent"`, "", http.StatusPreconditionFailed},
		{"GET", "/documents/a/b", "", "", http.StatusOK},
		{"POST", "/documents/a/b", "", "{}", http.StatusMethodNotAllowed},
		{"GET", "/elsewhere", "", "", http.StatusNotFound},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("If-Match", c.match)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s %.20s: %d %s, want %d", c.method, c.path, c.body, resp.StatusCode, text, c.status)
		}
	}
	if _, err := controlplane.NewClient(server.URL+"/elsewhere").Get(t.Context(), "a/b"); err == nil {
		t.Error("another server's 404 was taken for no document")
	}
}
