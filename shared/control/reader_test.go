package control_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/shared/control"
)

type page struct {
	N int `json:"n"`
}

// shelf is a store that can be slow, hang or fail.
type shelf struct {
	*control.Memory
	gets atomic.Int64

	mu    sync.Mutex
	fail  error
	delay time.Duration
}

func (s *shelf) set(fail error, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.delay = fail, delay
}

func (s *shelf) trouble(ctx context.Context) error {
	s.mu.Lock()
	fail, delay := s.fail, s.delay
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
	}
	return fail
}

func (s *shelf) Get(ctx context.Context, path string) (control.Document, error) {
	s.gets.Add(1)
	d, err := s.Memory.Get(ctx, path)
	return d, errors.Join(err, s.trouble(ctx))
}

func (s *shelf) write(t *testing.T, n int) {
	t.Helper()
	if _, err := control.Change(t.Context(), s.Memory, "pages/a", func(page) (page, error) { return page{n}, nil }); err != nil {
		t.Fatal(err)
	}
}

// read runs a test in a bubble, whose time stands still but for what the test waits for.
func read(t *testing.T, test func(t *testing.T, s *shelf, r *control.Reader[page])) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{Memory: control.NewMemory()}
		test(t, s, control.NewReader[page](s, "pages/a", time.Now, nil))
		synctest.Wait()
	})
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func sees(t *testing.T, r *control.Reader[page], n int, within time.Duration) {
	t.Helper()
	asked := time.Now()
	if got := r.Get(t.Context()); got.Value.N != n {
		t.Errorf("reads %d, want %d", got.Value.N, n)
	}
	if took := time.Since(asked); took > within {
		t.Errorf("waited %v, want at most %v", took, within)
	}
	synctest.Wait() // for what it started in the background
}

func TestAReadingIsServedUntilItIsTwoSecondsOld(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		s.write(t, 1)
		sees(t, r, 1, 0)
		s.write(t, 2)
		pass(999 * time.Millisecond)
		sees(t, r, 1, 0)
		if s.gets.Load() != 1 {
			t.Errorf("%d reads of a document that is fresh", s.gets.Load())
		}
		pass(time.Millisecond)
		sees(t, r, 1, 0) // and fetches
		sees(t, r, 2, 0)
		s.write(t, 3)
		pass(2 * time.Second)
		sees(t, r, 3, 0) // waits
		if s.gets.Load() != 3 {
			t.Errorf("%d reads, want 3", s.gets.Load())
		}
	})
}

func TestNoDocumentIsAReading(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		sees(t, r, 0, 0)
		sees(t, r, 0, 0)
		if s.gets.Load() != 1 {
			t.Errorf("%d reads, want 1", s.gets.Load())
		}
	})
}

func TestRequestsAtOnceShareARead(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		s.write(t, 1)
		s.set(nil, 100*time.Millisecond)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got := r.Get(t.Context()); got.Value.N != 1 {
					t.Errorf("reads %d, want 1", got.Value.N)
				}
			})
		}
		all.Wait()
		if s.gets.Load() != 1 {
			t.Errorf("%d reads, want 1", s.gets.Load())
		}
	})
}

func TestAStoreThatHangsIsWaitedForOnce(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		s.write(t, 1)
		sees(t, r, 1, 0)
		s.write(t, 2)
		s.set(nil, time.Hour)
		pass(2 * time.Second)
		before := time.Now()
		r.Get(t.Context())
		if took := time.Since(before); took != 200*time.Millisecond {
			t.Errorf("waited %v, want 200 ms", took)
		}
		for range 50 {
			sees(t, r, 1, 0)
			pass(100 * time.Millisecond)
		}
		// Each read is given up after 2 s, and the next one begins with the next request.
		if n := s.gets.Load(); n < 3 || n > 5 {
			t.Errorf("%d reads in 7 s, want about one every 2 s", n)
		}
		s.set(nil, 0)
		pass(2 * time.Second)
		r.Get(t.Context())
		synctest.Wait()
		sees(t, r, 2, 0)
	})
}

// An instance is frozen for an hour with a read under way, whose answer is an hour old when it is looked at.
func TestAReadThatBeganLongAgoIsNotEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{Memory: control.NewMemory()}
		var frozen time.Duration
		r := control.NewReader[page](s, "pages/a", func() time.Time { return time.Now().Add(frozen) }, nil)
		s.write(t, 1)
		sees(t, r, 1, 0)
		pass(time.Second)
		s.set(nil, 80*time.Millisecond)
		sees(t, r, 1, 0) // begins to read what there is now
		s.write(t, 2)
		frozen = time.Hour
		sees(t, r, 2, 200*time.Millisecond)
	})
}

func TestAStoreThatFailsIsAskedOnceASecond(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		s.write(t, 1)
		sees(t, r, 1, 0)
		s.write(t, 2)
		s.set(errors.New("away"), 0)
		pass(3 * time.Second)
		for range 100 {
			sees(t, r, 1, 0)
			pass(50 * time.Millisecond)
		}
		if n := s.gets.Load(); n != 6 {
			t.Errorf("%d reads, want the first and one a second for 5 s", n)
		}
		s.set(nil, 0)
		pass(time.Second)
		sees(t, r, 1, 0) // in the background
		sees(t, r, 2, 0)
		pass(2 * time.Second)
		s.write(t, 3)
		sees(t, r, 3, 0) // and is waited for again
	})
}

func TestACallerThatGoesAwayDoesNotWait(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		s.write(t, 1)
		s.set(nil, 150*time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		asked := time.Now()
		if got := r.Get(ctx); got.Value.N != 0 || time.Since(asked) != 10*time.Millisecond {
			t.Errorf("reads %d after %v", got.Value.N, time.Since(asked))
		}
		sees(t, r, 1, 140*time.Millisecond) // the read goes on for the others, which still wait
	})
}

func TestWhatIsNotADocumentOfTheTypeKeepsTheLastOne(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		s.write(t, 1)
		sees(t, r, 1, 0)
		err := s.Change(t.Context(), "pages/a", func(control.Document) (control.Document, error) {
			return control.Document{"n": "seven"}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		sees(t, r, 1, 0)
	})
}

// A read that began before this instance's own change ends after it.
func TestAnOlderReadDoesNotHideAChange(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		s.write(t, 1)
		sees(t, r, 1, 0)
		pass(time.Second)
		s.set(nil, 100*time.Millisecond) // the store has read 1, and takes its time to say so
		sees(t, r, 1, 0)
		got, err := r.Change(t.Context(), func(p page) (page, error) { return page{p.N + 10}, nil })
		if err != nil || got.Value.N != 11 {
			t.Fatalf("%v, %v", got, err)
		}
		sees(t, r, 11, 0)
		pass(200 * time.Millisecond)
		sees(t, r, 11, 0)
		if s.gets.Load() != 2 {
			t.Errorf("%d reads, want 2", s.gets.Load())
		}
	})
}

func TestAChangeThatFailsChangesNoReading(t *testing.T) {
	read(t, func(t *testing.T, s *shelf, r *control.Reader[page]) {
		s.write(t, 1)
		sees(t, r, 1, 0)
		no := errors.New("no")
		if _, err := r.Change(t.Context(), func(page) (page, error) { return page{5}, no }); !errors.Is(err, no) {
			t.Errorf("%v, want the error of the change", err)
		}
		sees(t, r, 1, 0)
	})
}

// A clock that is set back must not make a reading last until it has caught up.
func TestAClockSetBackIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := &shelf{Memory: control.NewMemory()}
	now := time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)
	r := control.NewReader[page](s, "pages/a", func() time.Time { return now }, nil)
	s.write(t, 1)
	r.Get(t.Context())
	s.write(t, 2)
	now = now.Add(-time.Hour)
	if got := r.Get(t.Context()); got.Value.N != 2 {
		t.Errorf("reads %d, want 2", got.Value.N)
	}
}
