// Package scheduler stands in for Cloud Scheduler on one machine: it calls jobs by
// their cron expressions, in their time zones, at the test clock's time.
//
// It owns the times of the next runs. As the real one, it may find a job still
// running when the next run is due, and does not start it twice at once; a run that
// fails is tried again as often as the job says. It is never linked into a deployed
// function.
package scheduler

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// Job is one scheduled call.
type Job struct {
	Name     string
	Schedule string // unix-cron: minute, hour, day of month, month, day of week
	TimeZone string // tz database name, such as Asia/Tokyo; UTC when empty
	URL      string
	Email    string        // the service account whose token is sent
	Audience string        // of the token; the URL when empty
	Deadline time.Duration // of one attempt, in real time; 3 minutes when 0
	Retries  int           // attempts after a failed one, at once
}

const defaultDeadline = 3 * time.Minute

// Scheduler calls the jobs. It is a participant of the clock.
type Scheduler struct {
	now    func() time.Time
	token  func(email, audience string) string
	client *http.Client

	mu   sync.Mutex
	jobs []*entry
}

type entry struct {
	Job
	schedule cron.Schedule
	zone     *time.Location
	next     time.Time
	running  bool
}

// New makes a scheduler of the jobs. The error names the job whose schedule or time
// zone can't be read.
func New(now func() time.Time, token func(email, audience string) string, jobs ...Job) (*Scheduler, error) {
	s := &Scheduler{now: now, token: token, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, j := range jobs {
		schedule, err := cron.ParseStandard(j.Schedule)
		if err != nil {
			return nil, fmt.Errorf("scheduler: job %s: %w", j.Name, err)
		}
		if j.TimeZone == "" {
			j.TimeZone = "UTC"
		}
		zone, err := time.LoadLocation(j.TimeZone)
		if err != nil {
			return nil, fmt.Errorf("scheduler: job %s: %w", j.Name, err)
		}
		if j.Deadline == 0 {
			j.Deadline = defaultDeadline
		}
		if j.Audience == "" {
			j.Audience = j.URL
		}
		e := &entry{Job: j, schedule: schedule, zone: zone}
		e.next = schedule.Next(now().In(zone))
		s.jobs = append(s.jobs, e)
	}
	return s, nil
}

// NextDue tells when the next job runs.
func (s *Scheduler) NextDue() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first time.Time
	for _, e := range s.jobs {
		if !e.running && (first.IsZero() || e.next.Before(first)) {
			first = e.next
		}
	}
	return first, !first.IsZero()
}

// RunDue runs the jobs whose time has come, side by side, and waits for them.
func (s *Scheduler) RunDue(ctx context.Context) error {
	var due []*entry
	now := s.now()
	s.mu.Lock()
	for _, e := range s.jobs {
		if !e.running && !e.next.After(now) {
			e.running = true
			e.next = e.schedule.Next(now.In(e.zone)) // runs that were missed are not made up for
			due = append(due, e)
		}
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, e := range due {
		wg.Go(func() {
			defer func() {
				s.mu.Lock()
				e.running = false
				s.mu.Unlock()
			}()
			_ = s.call(ctx, e.Job) // a failed run is the job's to report; the next one comes
		})
	}
	wg.Wait()
	return ctx.Err()
}

// RunNow runs a job at once, whatever its schedule, and returns what became of it.
func (s *Scheduler) RunNow(ctx context.Context, name string) error {
	for _, e := range s.jobs {
		if e.Name == name {
			return s.call(ctx, e.Job)
		}
	}
	return fmt.Errorf("scheduler: there is no job %q", name)
}

func (s *Scheduler) call(ctx context.Context, j Job) (err error) {
	for range j.Retries + 1 {
		if err = s.attempt(ctx, j); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (s *Scheduler) attempt(ctx context.Context, j Job) error {
	ctx, cancel := context.WithTimeout(ctx, j.Deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, j.URL, http.NoBody)
	if err != nil {
		return fmt.Errorf("scheduler: job %s: %w", j.Name, err)
	}
	req.Header.Set("User-Agent", "Google-Cloud-Scheduler")
	req.Header.Set("X-CloudScheduler", "true")
	req.Header.Set("X-CloudScheduler-JobName", j.Name)
	req.Header.Set("X-CloudScheduler-ScheduleTime", s.now().Format(time.RFC3339Nano))
	req.Header.Set("Authorization", "Bearer "+s.token(j.Email, j.Audience))
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("scheduler: job %s: %w", j.Name, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection is kept
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("scheduler: job %s was answered %s", j.Name, resp.Status)
	}
	return nil
}
