package payment

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/saga"
)

// Wake is the body of a task that carries one saga or one obligation on. Try is the
// saga's number of tries when the task was made. The task of the present try may run
// early, as when an operator runs it by hand; one of an earlier try was overtaken, and
// does nothing before the saga is due.
type Wake struct {
	SagaID       id.ID `json:"saga_id,omitzero"`
	ObligationID id.ID `json:"obligation_id,omitzero"`
	Try          int   `json:"try"`
}

// wake is a task to be made.
type wake struct {
	body     Wake
	provider string
	tries    int
	at       time.Time
}

// wakeLater makes the task. Failing is fine: the saga is due in the database, and
// the sweep makes the task again.
func (s *Service) wakeLater(ctx context.Context, w wake) {
	if s.Tasks == nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, afterTimeout)
	defer cancel()
	if err := s.enqueue(bounded, w); err != nil {
		s.Log.WarnContext(ctx, "the task is left to the sweep", "saga", w.body.SagaID, "obligation", w.body.ObligationID, "error", err)
	}
}

func (s *Service) enqueue(ctx context.Context, w wake) error {
	kind, subject := "saga", w.body.SagaID
	if subject.IsZero() {
		kind, subject = "obligation", w.body.ObligationID
	}
	// The time is in the name since a name that was used can't be used again for
	// hours, and the sweep must be able to make a lost task anew.
	name := outbox.TaskName(kind+"-"+subject.String(), w.tries, int(w.at.Unix()))
	return s.Tasks.Enqueue(ctx, outbox.Task{
		Queue: outbox.ResumeQueue(w.provider), Name: name, URL: s.Tasks.Config().ResumeURL, Body: encode(w.body), At: w.at,
	})
}

// sweepGrace keeps the sweep off what its own task is about to do.
const sweepGrace = 20 * time.Second

// EnqueueDue makes a task for each saga and obligation whose time has come or whose
// worker died, at most limit of each, and says how many. What can't be enqueued keeps
// nothing else from it.
func (s *Service) EnqueueDue(ctx context.Context, limit int) (made int, err error) {
	now := s.Now()
	sagas, err := saga.ListDue(ctx, s.Pool, now.Add(-sweepGrace), limit)
	if err != nil {
		return 0, err
	}
	obligations, err := listDueObligations(ctx, s.Pool, now, limit)
	if err != nil {
		return 0, err
	}
	var failed []error
	var done []id.ID
	for _, d := range sagas {
		if err := s.enqueue(ctx, wake{body: Wake{SagaID: d.ID, Try: d.Tries}, provider: d.Provider, tries: d.Tries, at: now}); err != nil {
			failed = append(failed, err)
			continue
		}
		done = append(done, d.ID)
	}
	for _, o := range obligations {
		if err := s.enqueue(ctx, wake{body: Wake{ObligationID: o.ID}, provider: o.Provider, tries: o.Tries, at: now}); err != nil {
			failed = append(failed, err)
			continue
		}
		made++
	}
	if len(done) > 0 {
		failed = append(failed, saga.TasksMade(ctx, s.Pool, done, now))
	}
	return made + len(done), errors.Join(failed...)
}
