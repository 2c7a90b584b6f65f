package main

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"

	"cloud.google.com/go/run/apiv2/runpb"
)

// The tags on a service's revisions. They are all that a rollout remembers: whoever
// carries one on, here or on another machine, reads them from Cloud Run.
const (
	stableTag   = "stable"   // gets what the canary does not
	canaryTag   = "canary"   // is being tried
	previousTag = "previous" // was stable before the last promotion
)

// A split is how a service's requests are shared among its revisions.
type split struct {
	stable   string
	canary   string // empty outside a rollout
	percent  int32  // of the requests, to the canary
	previous string // empty before the first promotion
	// pinned is false for a service as terraform makes it, whose newest revision takes
	// over by itself. Its stable revision is then the newest that is ready.
	pinned bool
}

// targets is the split as Cloud Run is told it.
func (s split) targets() []*runpb.TrafficTarget {
	var all []*runpb.TrafficTarget
	add := func(tag, revision string, percent int32) {
		if revision != "" {
			all = append(all, &runpb.TrafficTarget{
				Type:     runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION,
				Revision: revision, Percent: percent, Tag: tag,
			})
		}
	}
	add(stableTag, s.stable, 100-s.percent)
	add(canaryTag, s.canary, s.percent)
	add(previousTag, s.previous, 0)
	return all
}

// same reports whether a service's traffic is this split already.
func (s split) same(traffic []*runpb.TrafficTarget) bool {
	type target struct {
		kind          runpb.TrafficTargetAllocationType
		revision, tag string
		percent       int32
	}
	as := func(targets []*runpb.TrafficTarget) map[target]bool {
		set := map[target]bool{}
		for _, t := range targets {
			set[target{t.GetType(), t.GetRevision(), t.GetTag(), t.GetPercent()}] = true
		}
		return set
	}
	return maps.Equal(as(s.targets()), as(traffic))
}

// errOutOfHand is a split that no rollout makes.
var errOutOfHand = errors.New("its requests are shared in a way that no rollout makes")

// readSplit finds the split in what Cloud Run says of a service. With errOutOfHand it
// returns what the tags say, which is enough to go back to the stable revision.
func readSplit(service *runpb.Service) (split, error) {
	var s split
	percent := map[string]int32{}
	for _, t := range service.GetTraffic() {
		revision := t.GetRevision()
		if t.GetType() == runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST {
			revision = newest(service)
		} else {
			s.pinned = true
		}
		percent[revision] += t.GetPercent()
		switch t.GetTag() {
		case stableTag:
			s.stable = revision
		case canaryTag:
			s.canary = revision
		case previousTag:
			s.previous = revision
		}
	}
	if len(service.GetTraffic()) == 0 { // Cloud Run's default
		percent[newest(service)] = 100
	}
	if s.canary != "" && s.canary != s.stable {
		s.percent = percent[s.canary]
	}
	return s.check(percent)
}

// check compares the tags with who is served.
func (s split) check(percent map[string]int32) (split, error) {
	var serving []string
	for revision, p := range percent {
		if p > 0 {
			serving = append(serving, revision)
		}
	}
	if len(serving) == 1 && s.percent == 0 {
		s.stable = serving[0] // also when somebody moved it by hand: it is what works
		if s.canary == s.stable {
			s.canary = ""
		}
		if s.previous == s.stable {
			s.previous = ""
		}
		return s, nil
	}
	if s.stable == "" || percent[s.stable]+s.percent != 100 {
		return s, fmt.Errorf("%w: %s", errOutOfHand, describe(percent))
	}
	return s, nil
}

func describe(percent map[string]int32) string {
	var parts []string
	for _, revision := range sortedKeys(percent) {
		if percent[revision] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d %%", revision, percent[revision]))
		}
	}
	return strings.Join(parts, ", ")
}

// newest is the newest revision that is ready, by its short name.
func newest(service *runpb.Service) string { return short(service.GetLatestReadyRevision()) }

// short cuts a resource's name to its last part; Cloud Run gives both forms.
func short(name string) string {
	if name == "" {
		return ""
	}
	return path.Base(name)
}
