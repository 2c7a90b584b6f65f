package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A course is how a canary is brought from nothing to all requests.
type course struct {
	steps []int32       // percent, rising to 100
	soak  time.Duration // at each step
}

const (
	// settling is left out of what is judged: the first requests to a new revision
	// meet its cold starts.
	settling = time.Minute
	// lag is how late Cloud Monitoring shows the last request of a time: its metrics of
	// Cloud Run are sampled every 60 s and visible up to 120 s after that.
	lag = 3 * time.Minute
	// judgedEvery is how often a canary is looked at while it soaks.
	judgedEvery = time.Minute
	// baseline is the time before the last step by which the stable revision is known,
	// when it gets no requests any more.
	baseline = time.Hour
)

// canary gives the tagged revisions more and more of the requests, and takes them all
// back when one of them does worse than the revision that it replaces: they are one
// release, and were tried together. It goes on where an earlier one was cut off.
func (s *session) canary(ctx context.Context, c course) error {
	if err := s.advance(ctx, c); err != nil {
		return s.takeBack(ctx, err)
	}
	return nil
}

func (s *session) advance(ctx context.Context, c course) error {
	all, err := s.fleet(ctx)
	if err != nil {
		return err
	}
	var canaries []function
	var at int32
	for _, f := range all {
		if f.odd != nil {
			return fmt.Errorf("%s: %w", f.name, f.odd)
		}
		if f.canary != "" {
			canaries = append(canaries, f)
			at = max(at, f.percent)
		}
	}
	if len(canaries) == 0 {
		if err := untagged(all); err != nil {
			return err
		}
		s.say("no revision is tagged %s: nothing to try", canaryTag)
		return nil
	}
	for _, percent := range c.steps {
		if percent < at {
			continue // an earlier run came this far; the step that it reached is done again
		}
		before := s.clock.Now()
		if err := s.shift(ctx, all, percent); err != nil {
			return err
		}
		s.say("%d %% of the requests go to %d new revisions, for %s", percent, len(canaries), c.soak)
		if err := s.watch(ctx, canaries, percent, before, c.soak); err != nil {
			return err
		}
	}
	s.say("the new revisions did well")
	return nil
}

var errGone = errors.New("the canary is gone: somebody else rolled it back or deployed")

// shift gives every canary a share of the requests. Before 100 % the tags of the promotion
// before go from all functions, also from those without a canary: afterwards they would
// belong to different releases.
func (s *session) shift(ctx context.Context, all []function, percent int32) error {
	expected := map[string]string{}
	var canaries, others []string
	for _, f := range all {
		expected[f.name] = f.canary
		if f.canary != "" {
			canaries = append(canaries, f.name)
		} else if percent == 100 && f.pinned && !promoting(all) {
			others = append(others, f.name)
		}
	}
	give := func(ctx context.Context, name string) error {
		return s.change(ctx, name, func(f function) (split, error) {
			want := f.split
			if f.canary != expected[name] {
				return want, errGone
			}
			if f.canary != "" {
				want.percent = percent
			}
			if percent == 100 {
				want.previous = ""
			}
			return want, nil
		})
	}
	if err := each(ctx, others, give); err != nil {
		return err
	}
	return each(ctx, canaries, give)
}

// watch judges the canaries of one step, every minute and when all of its time can be
// seen. That it can't be seen is a reason to go back only at the end.
func (s *session) watch(ctx context.Context, canaries []function, percent int32, before time.Time, soak time.Duration) error {
	from := s.clock.Now().Add(settling)
	until := from.Add(soak)
	for {
		if err := s.clock.Wait(ctx, judgedEvery); err != nil {
			return err
		}
		to := s.clock.Now().Add(-lag) // what came later is seen in part
		over := !to.Before(until)
		if over {
			to = until
		}
		if to.Sub(from) < time.Minute { // the least that Cloud Monitoring adds up
			continue
		}
		if err := s.unchanged(ctx, canaries, percent); err != nil {
			return err
		}
		var bad error
		look := func(ctx context.Context) (err error) {
			bad, err = s.compare(ctx, canaries, percent, window{from, to}, window{before.Add(-baseline), before}, over)
			return err
		}
		if !over {
			_ = look(ctx) // the next look sees as much
		} else if err := s.persist(ctx, look); err != nil {
			return fmt.Errorf("the canaries can't be judged: %w", err)
		}
		if bad != nil || over {
			return bad
		}
	}
}

// unchanged looks whether the canaries still have the share that they were given.
func (s *session) unchanged(ctx context.Context, canaries []function, percent int32) error {
	return each(ctx, names(canaries), func(ctx context.Context, name string) error {
		service, err := s.get(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if f := view(name, service); f.canary == "" || f.percent != percent {
			return fmt.Errorf("%s: %w", name, errGone)
		}
		return nil
	})
}

// compare judges every canary, and all of them as one, which finds what is too rare to
// be seen in any. It returns what is wrong as bad.
func (s *session) compare(ctx context.Context, canaries []function, percent int32, w, earlier window, say bool) (bad, err error) {
	now, err := s.measure(ctx, w)
	if err != nil {
		return nil, err
	}
	reference, share := now, float64(percent)/float64(100-percent)
	if percent == 100 {
		if reference, err = s.measure(ctx, earlier); err != nil {
			return nil, err
		}
		share = 0 // what there was to do earlier says nothing of now
	}
	var problems []error
	var all, allStable sample
	for _, f := range canaries {
		canary, stable := now[revision{f.name, f.canary}], reference[revision{f.name, f.stable}]
		all, allStable = all.plus(canary), allStable.plus(stable)
		if say {
			s.say("  %-16s %s; stable: %s", f.name, canary, stable)
		}
		if wrong := judge(canary, stable, share*float64(stable.requests)); wrong != "" {
			problems = append(problems, fmt.Errorf("%s: revision %s does worse: %s", f.name, f.canary, wrong))
		}
	}
	if len(problems) == 0 && unlikely(all, allStable) < chance {
		problems = append(problems, fmt.Errorf("all functions together do worse: %.2f %% of the answers are 5xx, of the stable revisions' %.2f %%",
			100*all.ratio(), 100*allStable.ratio()))
	}
	return errors.Join(problems...), nil
}
