package main

import (
	"context"
	"fmt"

	"cloud.google.com/go/run/apiv2/runpb"
)

// migrateJob is the job that terraform makes of scripts/migrate.
const migrateJob = "migrate"

// migrate runs the job and waits for its end. Each migration fits the release before
// it, so the functions go on meanwhile. To run it twice does nothing twice.
func (s *session) migrate(ctx context.Context) error {
	name := fmt.Sprintf("projects/%s/locations/%s/jobs/%s", s.project, s.region, migrateJob)
	var execution *runpb.Execution
	err := s.persist(ctx, func(ctx context.Context) error {
		op, err := s.jobs.RunJob(ctx, &runpb.RunJobRequest{Name: name})
		if err != nil {
			return err
		}
		return s.finish(ctx, func(ctx context.Context) (bool, error) {
			execution, err = op.Poll(ctx)
			if started, wrong := op.Metadata(); wrong == nil && execution == nil {
				execution = started
			}
			return op.Done(), err
		})
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
