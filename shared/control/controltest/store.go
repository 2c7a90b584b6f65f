package controltest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/control"
)

// Store is the suite that every control.Store passes. open returns the same store each time, as another instance
// would open it.
func Store(t *testing.T, open func(t testing.TB) control.Store) {
	t.Run("keeps a document whole", func(t *testing.T) { keepsWhole(t, open) })
	t.Run("removes a document", func(t *testing.T) { removes(t, open) })
	t.Run("loses no change", func(t *testing.T) { losesNone(t, open) })
	t.Run("changes nothing on an error", func(t *testing.T) { failsWhole(t, open) })
	t.Run("lends nothing out", func(t *testing.T) { lendsNothing(t, open) })
	t.Run("refuses what is no document", func(t *testing.T) { refuses(t, open) })
	t.Run("ends with its context", func(t *testing.T) { ends(t, open) })
}

func put(t testing.TB, s control.Store, path string, d control.Document) {
	t.Helper()
	if err := s.Change(t.Context(), path, func(control.Document) (control.Document, error) { return d, nil }); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, s control.Store, path string, d control.Document) {
	t.Helper()
	got, err := s.Get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func keepsWhole(t *testing.T, open func(testing.TB) control.Store) {
	one, other := open(t), open(t)
	want(t, one, "whole/a", nil)
	doc := control.Document{
		"text": "größer", "int": int64(1) << 53, "float": 0.5, "yes": true, "none": nil,
		"time": "2027-03-01T09:00:00Z", "list": []any{"a", int64(1), map[string]any{"deep": int64(2)}},
		"map": map[string]any{"a.b/c": "odd key", "inner": map[string]any{"x": int64(-1)}}, "od.d key": "too",
	}
	put(t, one, "whole/a", doc)
	want(t, other, "whole/a", doc)
	want(t, other, "whole/b", nil)
	less := control.Document{"text": "less", "map": map[string]any{"inner": map[string]any{}}}
	put(t, other, "whole/a", less)
	want(t, one, "whole/a", less)
	put(t, other, "whole/a/inside/b", doc)
	want(t, one, "whole/a/inside/b", doc)
	want(t, one, "whole/a", less)
	put(t, one, "whole/empty", control.Document{})
	put(t, one, "whole/empty", doc)
	put(t, one, "whole/empty", control.Document{})
	want(t, other, "whole/empty", control.Document{})
}

func removes(t *testing.T, open func(testing.TB) control.Store) {
	s := open(t)
	put(t, s, "removed/a", nil)
	want(t, s, "removed/a", nil)
	put(t, s, "removed/a", control.Document{"n": int64(1)})
	put(t, s, "removed/a", nil)
	want(t, s, "removed/a", nil)
	put(t, s, "removed/a", control.Document{"n": int64(2)})
	want(t, s, "removed/a", control.Document{"n": int64(2)})
}

func losesNone(t *testing.T, open func(testing.TB) control.Store) {
	const writers, each = 5, 4
	var all sync.WaitGroup
	for range writers {
		s := open(t)
		all.Go(func() {
			for range each {
				err := s.Change(t.Context(), "counted/a", func(d control.Document) (control.Document, error) {
					n, _ := d["n"].(int64)
					return control.Document{"n": n + 1}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	want(t, open(t), "counted/a", control.Document{"n": int64(writers * each)})
}

func failsWhole(t *testing.T, open func(testing.TB) control.Store) {
	s := open(t)
	put(t, s, "failing/a", control.Document{"n": int64(1)})
	enough := errors.New("enough")
	for _, path := range []string{"failing/a", "failing/none"} {
		err := s.Change(t.Context(), path, func(control.Document) (control.Document, error) {
			return control.Document{"n": int64(2)}, fmt.Errorf("that is %w", enough)
		})
		if !errors.Is(err, enough) {
			t.Errorf("%s: %v, want the error of the change", path, err)
		}
	}
	want(t, s, "failing/a", control.Document{"n": int64(1)})
	want(t, s, "failing/none", nil)
	err := s.Change(t.Context(), "failing/a", func(control.Document) (control.Document, error) {
		return control.Document{"what": make(chan int)}, nil
	})
	if err == nil {
		t.Error("a channel was stored")
	}
	want(t, s, "failing/a", control.Document{"n": int64(1)})
}

func lendsNothing(t *testing.T, open func(testing.TB) control.Store) {
	s := open(t)
	mine := control.Document{"map": map[string]any{"n": int64(1)}}
	put(t, s, "lent/a", mine)
	mine["map"].(map[string]any)["n"] = int64(2)
	got, err := s.Get(t.Context(), "lent/a")
	if err != nil {
		t.Fatal(err)
	}
	got["map"].(map[string]any)["n"] = int64(3)
	want(t, s, "lent/a", control.Document{"map": map[string]any{"n": int64(1)}})
	// What a change does to the document that it is given is a change, if it returns it.
	err = s.Change(t.Context(), "lent/a", func(d control.Document) (control.Document, error) {
		d["map"].(map[string]any)["n"] = int64(4)
		return d, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "lent/a", control.Document{"map": map[string]any{"n": int64(4)}})
}

func refuses(t *testing.T, open func(testing.TB) control.Store) {
	s := open(t)
	for _, path := range []string{"", "a", "a/b/c", "/a", "a/", "a//b/c", "../a", "a/.."} {
		if d, err := s.Get(t.Context(), path); err == nil {
			t.Errorf("get %q: %v, and no error", path, d)
		}
		err := s.Change(t.Context(), path, func(control.Document) (control.Document, error) { return control.Document{}, nil })
		if err == nil {
			t.Errorf("change %q: no error", path)
		}
	}
}

func ends(t *testing.T, open func(testing.TB) control.Store) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, "ended/a"); err == nil {
		t.Error("get: no error")
	}
	err := s.Change(ctx, "ended/a", func(control.Document) (control.Document, error) { return control.Document{}, nil })
	if err == nil {
		t.Error("change: no error")
	}
	want(t, s, "ended/a", nil)
}
