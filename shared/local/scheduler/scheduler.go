// Package scheduler is Cloud Scheduler in one process: cron jobs that call HTTP endpoints when the test clock says so,
// with the headers, the signed ID token and the retries of the product.
//
// A job never runs twice at once: what falls due while it runs is skipped, and its next scheduled run ends the retries
// of the last one. So jobs must set right what an earlier run missed. It is for tests and the local stack and never
// linked into a deployed function. The zone database is linked in, since a job's zone must not depend on the machine.
package scheduler

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"

	"github.com/tollgate/tollgate/shared/local/clock"
)

// Options configure a Scheduler. Now and Token are required.
type Options struct {
	Now   func() time.Time
	Token func(email, audience string) string // signs the ID tokens of calls
	Wake  func()                              // called when a job may have become due: (*clock.Clock).Wake

	// Transport sends the calls; the default is one of the scheduler's own.
	Transport http.RoundTripper
}

// Status tells how a job stands.
type Status struct {
	Name     string
	Next     time.Time // of its schedule; retries come before it
	LastRun  time.Time // start of the latest attempt, zero when there was none
	LastCode int       // HTTP status of the latest attempt, 0 when it got none
	LastErr  error     // why the latest attempt got no answer
}

// Scheduler calls what its jobs name. It takes part in a test clock as a clock.Participant.
type Scheduler struct {
	now    func() time.Time
	token  func(email, audience string) string
	wake   func()
	client *http.Client

	ctx    context.Context // ends with Close; calls under way live in it
	cancel context.CancelFunc
	calls  sync.WaitGroup

	mu     sync.Mutex // never held during a call
	jobs   []*job
	closed bool
}

var _ clock.Participant = (*Scheduler)(nil)

type job struct {
	Job
	cron   cron.Schedule
	status Status

	underWay bool
	run      *run // the one under way, or waiting to be tried again
}

// run is one instant of a job's schedule, with the attempts it takes.
type run struct {
	scheduled time.Time
	first     time.Time // start of the first attempt
	attempts  int
	due       time.Time // of the next attempt
}

// New returns a scheduler without jobs.
func New(o Options) (*Scheduler, error) {
	if o.Now == nil || o.Token == nil {
		return nil, errors.New("scheduler: Now and Token are required")
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute}
	}
	s := &Scheduler{
		now: o.Now, token: o.Token, wake: o.Wake,
		client: &http.Client{
			Transport:     o.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Add adds a job. It first runs at the next instant of its schedule.
func (s *Scheduler) Add(j Job) error {
	j.setDefaults()
	schedule, err := j.check()
	if err != nil {
		return fmt.Errorf("scheduler: job %s: %w", j.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(j.Name) != nil {
		return fmt.Errorf("scheduler: job %s exists", j.Name)
	}
	next := schedule.Next(s.now())
	if next.IsZero() {
		return fmt.Errorf("scheduler: job %s: schedule %q never comes", j.Name, j.Schedule)
	}
	s.jobs = append(s.jobs, &job{Job: j, cron: schedule, status: Status{Name: j.Name, Next: next}})
	s.wake()
	return nil
}

// Close breaks off the calls under way and waits for them to end.
func (s *Scheduler) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.calls.Wait()
	s.client.CloseIdleConnections()
}

// Jobs tells how the jobs stand, in the order in which they were added.
func (s *Scheduler) Jobs() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Status
	for _, j := range s.jobs {
		all = append(all, j.status)
	}
	return all
}

// RunNow calls a job's endpoint at once, even if the job is running, and waits for the answer, whose HTTP status it
// returns. The schedule goes on as if nothing had happened, and a failure is not tried again.
func (s *Scheduler) RunNow(ctx context.Context, name string) (code int, err error) {
	s.mu.Lock()
	j := s.find(name)
	if j == nil || s.closed {
		s.mu.Unlock()
		return 0, fmt.Errorf("scheduler: no job %s", name)
	}
	now := s.now()
	j.status.LastRun = now
	s.calls.Add(1)
	s.mu.Unlock()
	defer s.calls.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	code, err = s.call(ctx, &j.Job, now)

	s.mu.Lock()
	j.status.LastCode, j.status.LastErr = code, err
	s.mu.Unlock()
	return code, err
}

func (s *Scheduler) find(name string) *job {
	for _, j := range s.jobs {
		if j.Name == name {
			return j
		}
	}
	return nil
}

// NextDue implements clock.Participant.
func (s *Scheduler) NextDue() (next time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if j.underWay || s.closed {
			continue
		}
		if due := j.due(); !ok || due.Before(next) {
			next, ok = due, true
		}
	}
	return next, ok
}

func (j *job) due() time.Time {
	if j.run != nil && j.run.due.Before(j.status.Next) {
		return j.run.due
	}
	return j.status.Next
}

// RunDue implements clock.Participant: it runs the jobs that are due, side by side.
func (s *Scheduler) RunDue(ctx context.Context) error { return clock.Drain(ctx, s.claim) }

func (s *Scheduler) claim() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var work []func()
	for _, j := range s.jobs {
		if s.closed || j.underWay || j.due().After(now) {
			continue
		}
		if !j.status.Next.After(now) {
			j.run = &run{scheduled: j.status.Next, first: now}
			j.status.Next = j.cron.Next(now)
		}
		j.run.attempts++
		j.underWay = true
		j.status.LastRun = now
		s.calls.Add(1)
		scheduled := j.run.scheduled
		work = append(work, func() {
			defer s.calls.Done()
			code, err := s.call(s.ctx, &j.Job, scheduled)
			s.finish(j, code, err)
			s.wake()
		})
	}
	return work
}

func (s *Scheduler) finish(j *job, code int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.underWay = false
	j.status.LastCode, j.status.LastErr = code, err
	now := s.now()
	if (code >= 200 && code <= 299) || !j.retries(j.run.attempts, now.Sub(j.run.first)) {
		j.run = nil
		return
	}
	j.run.due = now.Add(j.backoff(j.run.attempts))
}

// call makes one attempt and waits at most the job's deadline, in real time, for the whole response.
func (s *Scheduler) call(ctx context.Context, j *Job, scheduled time.Time) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, j.AttemptDeadline)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, j.Method, j.URL, bytes.NewReader(j.Body))
	if err != nil {
		return 0, err
	}
	for name, value := range j.Headers {
		r.Header.Set(name, value)
	}
	if len(j.Body) > 0 {
		r.Header.Set("Content-Type", cmp.Or(r.Header.Get("Content-Type"), "application/octet-stream"))
	}
	r.Header.Set("User-Agent", "Google-Cloud-Scheduler")
	r.Header.Set("X-CloudScheduler", "true")
	r.Header.Set("X-CloudScheduler-JobName", j.Name)
	r.Header.Set("X-CloudScheduler-ScheduleTime", scheduled.UTC().Format(time.RFC3339))
	if j.ServiceAccount != "" {
		r.Header.Set("Authorization", "Bearer "+s.token(j.ServiceAccount, j.Audience))
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}
