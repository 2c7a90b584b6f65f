package clock

import (
	"context"
	"sync"
	"time"
)

// lookAgain is how long Run sleeps at most. Participants that call Wake do not depend on it.
const lookAgain = 100 * time.Millisecond

// Run does what falls due by itself, as time flows or as work turns up, until ctx ends or a participant cannot go on;
// it returns the error of either. Unlike an advance it lets participants run side by side, and starts new work of one that is
// still busy with old: a slow endpoint holds nothing else up. It returns when everything it started has.
func (c *Clock) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	var started sync.WaitGroup
	defer started.Wait()
	defer stop(nil)

	for {
		sleep := time.NewTimer(c.fire(ctx, &started, stop))
		select {
		case <-c.wake:
		case <-sleep.C:
		case <-ctx.Done():
		}
		sleep.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// fire starts what is due, unless an advance has the clock, and tells how long nothing else will be.
func (c *Clock) fire(ctx context.Context, started *sync.WaitGroup, stop context.CancelCauseFunc) time.Duration {
	sleep := lookAgain
	for _, p := range c.all() {
		due, ok := p.NextDue()
		if !ok {
			continue
		}
		if wait := due.Sub(c.Now()); wait > 0 {
			sleep = min(sleep, wait)
			continue
		}
		if !c.begin() {
			break
		}
		started.Go(func() {
			defer c.end()
			if err := p.RunDue(ctx); err != nil {
				stop(err)
			}
		})
	}
	return sleep
}

func (c *Clock) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return false
	}
	c.running++
	return true
}

func (c *Clock) end() {
	c.mu.Lock()
	c.running--
	c.mu.Unlock()
	select {
	case c.finished <- struct{}{}:
	default:
	}
}

// Drain helps participants with RunDue. It runs what claim hands out, all at once, and calls claim again whenever a
// piece has ended, until there is nothing to claim and nothing left running; so claim can keep to limits of its own.
// When ctx ends it claims no more and returns its error without waiting for the pieces under way.
func Drain(ctx context.Context, claim func() []func()) error {
	done := make(chan struct{})
	running := 0
	for ctx.Err() == nil {
		for _, work := range claim() {
			running++
			go func() {
				work()
				select {
				case done <- struct{}{}:
				case <-ctx.Done():
				}
			}()
		}
		if running == 0 {
			return nil
		}
		select {
		case <-done:
			running--
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}
