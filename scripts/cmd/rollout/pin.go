package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pin keeps requests on the revisions that serve them, whatever terraform deploys.
func (s *session) pin(ctx context.Context) error {
	all, err := s.fleet(ctx)
	if err != nil {
		return err
	}
	if err := settled(all); err != nil {
		return err
	}
	err = each(ctx, names(all), func(ctx context.Context, name string) error {
		return s.change(ctx, name, func(f function) (split, error) {
			return split{stable: f.stable, previous: f.previous, pinned: true}, settled([]function{f})
		})
	})
	if err != nil {
		return err
	}
	s.say("%d functions are pinned to the revisions that serve them", len(all))
	return nil
}

// settled refuses functions in the middle of a rollout: another one may be going on.
func settled(all []function) error {
	var problems []error
	for _, f := range all {
		switch {
		case f.odd != nil:
			problems = append(problems, fmt.Errorf("%s: %w", f.name, f.odd))
		case f.percent > 0:
			problems = append(problems, fmt.Errorf("%s: revision %s is a canary with %d %% of the requests", f.name, f.canary, f.percent))
		case f.stable == "":
			problems = append(problems, fmt.Errorf("%s: no revision is ready", f.name))
		}
	}
	if len(problems) > 0 {
		problems = append(problems, errors.New("another rollout is under way or was cut off: carry it on with scripts/rollout canary, or end it with scripts/rollout rollback"))
	}
	return errors.Join(problems...)
}

// stage tags the newest revisions, so that each has an address of its own, and gives
// them no requests. It returns the functions that have one, and those that terraform
// has just made, which have no other.
func (s *session) stage(ctx context.Context) (canaries, fresh []function, err error) {
	all, err := s.fleet(ctx)
	if err != nil {
		return nil, nil, err
	}
	var problems []error
	var changed []string
	for _, f := range all {
		switch {
		case f.odd != nil:
			problems = append(problems, fmt.Errorf("%s: %w", f.name, f.odd))
		case f.failing != "":
			problems = append(problems, fmt.Errorf("%s: %s", f.name, f.failing))
		case !f.pinned:
			fresh = append(fresh, f)
		case f.changed():
			changed = append(changed, f.name)
		}
	}
	if len(problems) > 0 {
		return nil, nil, errors.Join(problems...)
	}
	err = each(ctx, changed, func(ctx context.Context, name string) error {
		return s.change(ctx, name, func(f function) (split, error) {
			want := f.split
			if f.canary != f.newest {
				if f.percent > 0 {
					return want, fmt.Errorf("revision %s is a canary with %d %% of the requests, and %s is newer", f.canary, f.percent, f.newest)
				}
				want.canary = f.newest
			}
			return want, nil
		})
	})
	if err != nil {
		return nil, nil, err
	}
	all, err = s.fleet(ctx) // once more, for the addresses
	for _, f := range all {
		if f.canary != "" {
			canaries = append(canaries, f)
		}
	}
	return canaries, fresh, err
}

// promote makes the canaries stable, and keeps what was stable a tag away.
func (s *session) promote(ctx context.Context, now bool) error {
	all, err := s.fleet(ctx)
	if err != nil {
		return err
	}
	var problems []error
	var ready []string
	for _, f := range all {
		switch {
		case f.odd != nil:
			problems = append(problems, fmt.Errorf("%s: %w", f.name, f.odd))
		case f.canary != "" && f.percent < 100 && !now:
			problems = append(problems, fmt.Errorf("%s: the canary %s has %d %% of the requests; scripts/rollout canary brings it to 100 %%, --now takes it untried", f.name, f.canary, f.percent))
		case f.canary != "" || !f.pinned && f.stable != "":
			ready = append(ready, f.name)
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	if len(ready) == 0 {
		if err := untagged(all); err != nil {
			return err
		}
	}
	if now { // the last step of a canary, without its trial
		if err := s.shift(ctx, all, 100); err != nil {
			return err
		}
	}
	err = each(ctx, ready, func(ctx context.Context, name string) error {
		return s.change(ctx, name, func(f function) (split, error) {
			if f.canary == "" { // done before, or new
				return split{stable: f.stable, previous: f.previous, pinned: true}, nil
			}
			return split{stable: f.canary, previous: f.stable, pinned: true}, nil
		})
	})
	if err != nil {
		return fmt.Errorf("%w\nsome functions are promoted and some are not; give the command again", err)
	}
	s.say("%d functions promoted", len(ready))
	return nil
}

// untagged refuses new revisions that nobody tries, where there is nothing else to do: a
// release is not out because its tags are gone.
func untagged(all []function) error {
	var problems []error
	for _, f := range all {
		if f.pinned && f.changed() && f.canary == "" {
			problems = append(problems, fmt.Errorf("%s: revision %s is new and not tagged %s", f.name, f.newest, canaryTag))
		}
	}
	if len(problems) > 0 {
		problems = append(problems, errors.New("another rollout pinned or rolled back meanwhile, or they were never tried: begin with scripts/rollout smoke"))
	}
	return errors.Join(problems...)
}

// promoting reports whether a promotion may have begun: every canary that is left has all
// requests, and by shift, which leaves them no previous revision. What is tagged previous
// was then stable before this promotion.
func promoting(all []function) bool {
	canaries := 0
	for _, f := range all {
		if f.canary == "" {
			continue
		}
		if f.percent < 100 || f.previous != "" {
			return false
		}
		canaries++
	}
	return canaries > 0
}

// rollbackTime bounds a rollback that follows a failure.
const rollbackTime = 30 * time.Minute

// rollback ends a rollout: every function goes back to its stable revision. With
// previous it also takes back the last promotion, and without when that was cut off: the
// functions of a release stay together. Given again, it finds nothing to do.
func (s *session) rollback(ctx context.Context, previous bool) error {
	all, _ := s.fleet(ctx) // what could not be read is tried again below
	again := "scripts/rollout rollback"
	if previous = previous || promoting(all); previous {
		again += " --previous"
	}
	// The canaries last: while there are any, it is known how far the promotion came.
	var canaries []string
	for _, f := range all {
		if f.canary != "" {
			canaries = append(canaries, f.name)
		}
	}
	others := slices.DeleteFunc(slices.Clone(s.functions), func(name string) bool { return slices.Contains(canaries, name) })
	back := func(ctx context.Context, name string) error { return s.goBack(ctx, name, previous) }
	if err := errors.Join(each(ctx, others, back), each(ctx, canaries, back)); err != nil {
		return fmt.Errorf("%w\nnot every function is back: give %s again, and look with scripts/rollout status", err, again)
	}
	s.say("every function is on its stable revision")
	return nil
}

// goBack is rollback of one function.
func (s *session) goBack(ctx context.Context, name string, previous bool) error {
	err := s.change(ctx, name, func(f function) (split, error) {
		if previous && f.previous != "" {
			return split{stable: f.previous, pinned: true}, nil
		}
		if f.canary == "" && f.odd == nil {
			return f.split, nil
		}
		if f.stable == "" {
			return f.split, fmt.Errorf("no revision is tagged %s to go back to", stableTag)
		}
		return split{stable: f.stable, previous: f.previous, pinned: true}, nil
	})
	if status.Code(err) == codes.NotFound { // not deployed yet
		return nil
	}
	return err
}

// takeBack rolls back after a failure, also when ctx has ended, which may be the
// failure.
func (s *session) takeBack(ctx context.Context, failed error) error {
	s.say("rolling back: %v", failed)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
	defer cancel()
	if err := s.rollback(ctx, false); err != nil {
		return errors.Join(failed, err)
	}
	return fmt.Errorf("%w\nrolled back", failed)
}
