package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Job is one cron job. Name, Schedule and URL are required; the rest has the product's defaults.
type Job struct {
	Name     string // letters, digits, hyphens and underscores
	Schedule string // unix-cron: minute, hour, day of month, month, day of week
	TimeZone string // of the zone database, such as Asia/Tokyo; default UTC
	URL      string

	Method  string // default POST
	Headers map[string]string
	Body    []byte

	ServiceAccount string // email of the token's account; without it no token is sent
	Audience       string // default: the URL

	AttemptDeadline time.Duration // real time for an answer, 15 s to 30 minutes; default 3 minutes
	RetryCount      int           // attempts after a failed one, 0 to 5
	// MaxRetryDuration, from the first attempt on, lets a job be tried until both it and RetryCount are spent.
	MaxRetryDuration       time.Duration
	MinBackoff, MaxBackoff time.Duration // default 5 s and 1 h
	MaxDoublings           int           // of the backoff, before it grows evenly; default 5
}

func (j *Job) setDefaults() {
	j.TimeZone = cmp.Or(j.TimeZone, "UTC")
	j.Method = cmp.Or(j.Method, http.MethodPost)
	j.Audience = cmp.Or(j.Audience, j.URL)
	j.AttemptDeadline = cmp.Or(j.AttemptDeadline, 3*time.Minute)
	j.MinBackoff = cmp.Or(j.MinBackoff, 5*time.Second)
	j.MaxBackoff = cmp.Or(j.MaxBackoff, time.Hour)
	j.MaxDoublings = cmp.Or(j.MaxDoublings, 5)
}

var jobName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,500}$`)

func (j *Job) check() (cron.Schedule, error) {
	target, err := url.Parse(j.URL)
	switch {
	case !jobName.MatchString(j.Name):
		return nil, errors.New("the name must be letters, digits, hyphens and underscores")
	case err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https"):
		return nil, fmt.Errorf("%q is not an http or https URL", j.URL)
	case j.AttemptDeadline < 15*time.Second || j.AttemptDeadline > 30*time.Minute:
		return nil, errors.New("the attempt deadline must be 15 s to 30 minutes")
	case j.RetryCount < 0 || j.RetryCount > 5:
		return nil, errors.New("the retry count must be 0 to 5")
	case j.MaxRetryDuration < 0 || j.MinBackoff < 0 || j.MinBackoff > j.MaxBackoff || j.MaxDoublings < 0:
		return nil, errors.New("the retry durations must not be negative, and the shortest backoff comes first")
	}
	return parse(j.Schedule, j.TimeZone)
}

// parse reads a unix-cron schedule: five fields, no macros and no zone of its own.
func parse(schedule, zone string) (cron.Schedule, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, err
	}
	if n := len(strings.Fields(schedule)); n != 5 {
		return nil, fmt.Errorf("schedule %q has %d fields, not 5", schedule, n)
	}
	const fields = cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow
	parsed, err := cron.NewParser(fields).Parse(schedule)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", schedule, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("schedule %q is not unix-cron", schedule)
	}
	spec.Location = loc
	return spec, nil
}

// retries tells whether a run that failed is tried again, after so many attempts and so long.
func (j *Job) retries(attempts int, sinceFirst time.Duration) bool {
	return attempts <= j.RetryCount || sinceFirst < j.MaxRetryDuration
}

// backoff is the wait after the attempt numbered n, from 1: it doubles MaxDoublings times, then grows evenly.
func (j *Job) backoff(n int) time.Duration {
	wait := float64(j.MinBackoff) * math.Pow(2, float64(min(n-1, j.MaxDoublings)))
	if beyond := n - 1 - j.MaxDoublings; beyond > 0 {
		wait *= float64(1 + beyond)
	}
	return time.Duration(min(wait, float64(j.MaxBackoff)))
}
