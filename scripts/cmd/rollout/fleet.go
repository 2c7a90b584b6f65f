package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// A function is a deployed one.
type function struct {
	name string
	split
	odd     error  // why the split is none of ours, if it is not
	newest  string // the newest revision that is ready
	failing string // why a newer one is not, if there is one
	service *runpb.Service
}

// changed reports whether there is a revision to roll out.
func (f function) changed() bool { return f.newest != f.stable }

// functionNames are the folders of functions/, as their services are called.
func functionNames(root string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, "functions"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// fleet reads every function that is deployed, in the order of their names.
func (s *session) fleet(ctx context.Context) ([]function, error) {
	var mu sync.Mutex
	var all []function
	err := each(ctx, s.functions, func(ctx context.Context, name string) error {
		service, err := s.get(ctx, name)
		if status.Code(err) == codes.NotFound {
			return nil // not deployed yet
		}
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, view(name, service))
		return nil
	})
	slices.SortFunc(all, func(a, b function) int { return strings.Compare(a.name, b.name) })
	return all, err
}

func view(name string, service *runpb.Service) function {
	f := function{name: name, newest: newest(service), service: service}
	f.split, f.odd = readSplit(service)
	if created := short(service.GetLatestCreatedRevision()); created != f.newest {
		f.failing = fmt.Sprintf("its newest revision %s is not ready: %s", created, service.GetTerminalCondition().GetMessage())
	}
	return f
}

func (s *session) get(ctx context.Context, name string) (service *runpb.Service, err error) {
	err = s.persist(ctx, func(ctx context.Context) error {
		service, err = s.services.GetService(ctx, &runpb.GetServiceRequest{Name: s.serviceName(name)})
		return err
	})
	return service, err
}

func (s *session) serviceName(name string) string {
	return fmt.Sprintf("projects/%s/locations/%s/services/%s", s.project, s.region, name)
}

// change gives a function another split, made from the one that it has. It reads and
// writes again when somebody else wrote in between, and waits until the new split is
// in force. A split that is already there costs no write, so that a command which was
// interrupted can be given again.
func (s *session) change(ctx context.Context, name string, to func(function) (split, error)) error {
	err := s.persist(ctx, func(ctx context.Context) error {
		service, err := s.services.GetService(ctx, &runpb.GetServiceRequest{Name: s.serviceName(name)})
		if err != nil {
			return err
		}
		have := view(name, service)
		want, err := to(have)
		if err != nil || !want.pinned || want.same(service.GetTraffic()) {
			return err
		}
		return s.write(ctx, service, want)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (s *session) write(ctx context.Context, service *runpb.Service, want split) error {
	op, err := s.services.UpdateService(ctx, &runpb.UpdateServiceRequest{
		// The mask leaves all else as it is: no new revision comes of this. By the etag
		// the write fails if anybody else's came first.
		Service:    &runpb.Service{Name: service.GetName(), Etag: service.GetEtag(), Traffic: want.targets()},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"traffic"}},
	})
	if err != nil {
		return err
	}
	return s.finish(ctx, moveTime, func(ctx context.Context) (bool, error) {
		_, err := op.Poll(ctx)
		return op.Done(), err
	})
}

const (
	// pollEvery is how often a long-running operation is asked for.
	pollEvery = 2 * time.Second
	// moveTime is how long Cloud Run may take to move requests. It takes seconds.
	moveTime = 10 * time.Minute
)

// finish waits until a long-running operation is done.
func (s *session) finish(ctx context.Context, within time.Duration, poll func(context.Context) (done bool, err error)) error {
	deadline := s.clock.Now().Add(within)
	for {
		done, err := poll(ctx)
		if err != nil || done {
			return err
		}
		if s.clock.Now().After(deadline) {
			return fmt.Errorf("not done after %s", within)
		}
		if err := s.clock.Wait(ctx, pollEvery); err != nil {
			return err
		}
	}
}

const (
	// patience is how long an API that is away is waited for.
	patience = 5 * time.Minute
	maxPause = 30 * time.Second
)

// persist calls again while an API is away or somebody else's write comes first. It goes
// by the session's clock; the clients' own retries, which go by another, are off.
func (s *session) persist(ctx context.Context, call func(context.Context) error) error {
	deadline := s.clock.Now().Add(patience)
	for pause := time.Second; ; pause = min(2*pause, maxPause) {
		err := call(ctx)
		if err == nil || !passing(err) || s.clock.Now().Add(pause).After(deadline) {
			return err
		}
		if waited := s.clock.Wait(ctx, pause); waited != nil {
			return errors.Join(err, waited)
		}
	}
}

// A passingError may be no more when the same is done again.
type passingError struct{ error }

// passing reports whether the same call may succeed later.
func passing(err error) bool {
	if _, ok := errors.AsType[passingError](err); ok {
		return true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Aborted:
		return true
	default:
		return false
	}
}

// atOnce bounds the calls of a command that are under way together.
const atOnce = 6

// each does something for every name, a few at a time, and does the others when one
// fails: a rollback must not stop at the first function that can't go back.
func each(ctx context.Context, names []string, do func(ctx context.Context, name string) error) error {
	problems := make([]error, len(names))
	places := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, name := range names {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			problems[i] = do(ctx, name)
		})
	}
	wg.Wait()
	return errors.Join(problems...)
}

func names(all []function) []string {
	list := make([]string, len(all))
	for i, f := range all {
		list[i] = f.name
	}
	return list
}
