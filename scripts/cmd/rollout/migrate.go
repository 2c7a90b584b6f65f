package main

import (
	"context"
	"fmt"
	"time"

	cloudrun "cloud.google.com/go/run/apiv2"
	"cloud.google.com/go/run/apiv2/runpb"
)

// migrateJob is the job that terraform makes of scripts/migrate.
const migrateJob = "migrate"

// migrateTime is longer than terraform lets the job run.
const migrateTime = 65 * time.Minute

// migrate runs the job and waits for its end. Each migration fits the release before
// it, so the functions go on meanwhile. To run it twice does nothing twice.
func (s *session) migrate(ctx context.Context) error {
	name := fmt.Sprintf("projects/%s/locations/%s/jobs/%s", s.project, s.region, migrateJob)
	var op *cloudrun.RunJobOperation
	err := s.persist(ctx, func(ctx context.Context) (err error) {
		op, err = s.jobs.RunJob(ctx, &runpb.RunJobRequest{Name: name})
		return err
	})
	if err != nil {
		return fmt.Errorf("job %s: %w", migrateJob, err)
	}
	execution, _ := op.Metadata() // nil until it begins
	err = s.finish(ctx, migrateTime, func(ctx context.Context) (bool, error) {
		err := s.persist(ctx, func(ctx context.Context) error {
			ended, err := op.Poll(ctx)
			if ended != nil {
				execution = ended
			}
			return err
		})
		return op.Done(), err
	})
	if err != nil {
		return fmt.Errorf("job %s: %w%s", migrateJob, err, logs(execution))
	}
	if execution.GetSucceededCount() < max(1, execution.GetTaskCount()) {
		return fmt.Errorf("job %s failed: the database has the migrations before the one that failed, and no function has changed%s", migrateJob, logs(execution))
	}
	s.say("the database has this release's migrations")
	return nil
}

func logs(e *runpb.Execution) string {
	if e.GetLogUri() == "" {
		return ""
	}
	return "\nits log: " + e.GetLogUri()
}
