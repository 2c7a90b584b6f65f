package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// queues looks at tasks and runs them.
type queues struct {
	client   *cloudtasks.Client
	location string
}

// taskRow is a task as the queue has it. The queue shows no bodies to those who may
// only list, and needs to show none: the name says what the task is for.
type taskRow struct {
	Queue      string    `json:"queue" col:"queue"`
	Task       string    `json:"task" col:"task"`
	DueAt      time.Time `json:"due_at" col:"due"`
	Attempts   int32     `json:"attempts" col:"attempts"`
	LastResult string    `json:"last_result" col:"last result"`
	CreatedAt  time.Time `json:"created_at"`
}

func rowOf(t *cloudtaskspb.Task) taskRow {
	queue, _, _ := strings.Cut(t.Name, "/tasks/")
	row := taskRow{
		Queue: path.Base(queue), Task: path.Base(t.Name), DueAt: t.ScheduleTime.AsTime(), Attempts: t.DispatchCount,
		CreatedAt: t.CreateTime.AsTime(),
	}
	if last := t.LastAttempt; last != nil {
		switch {
		case last.ResponseTime == nil:
			row.LastResult = "running"
		case codes.Code(last.ResponseStatus.GetCode()) == codes.OK:
			row.LastResult = "OK"
		default:
			row.LastResult = codes.Code(last.ResponseStatus.GetCode()).String() + " " + last.ResponseStatus.GetMessage()
		}
	}
	return row
}

// names lists the queues, or the one that is asked for.
func (q *queues) names(ctx context.Context, only string) ([]string, error) {
	if only != "" {
		return []string{q.location + "/queues/" + path.Base(only)}, nil
	}
	var all []string
	for it := q.client.ListQueues(ctx, &cloudtaskspb.ListQueuesRequest{Parent: q.location}); ; {
		found, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list the queues of %s: %w", q.location, err)
		}
		all = append(all, found.Name)
	}
}

func (q *queues) list(ctx context.Context, queue string) ([]taskRow, error) {
	var rows []taskRow
	for it := q.client.ListTasks(ctx, &cloudtaskspb.ListTasksRequest{Parent: queue}); ; {
		t, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return rows, nil
		}
		if status.Code(err) == codes.NotFound {
			return nil, fmt.Errorf("there is no queue %s in %s", path.Base(queue), q.location)
		}
		if err != nil {
			return nil, fmt.Errorf("list the tasks of %s: %w", queue, err)
		}
		rows = append(rows, rowOf(t))
	}
}

func tasksList(f *flag.FlagSet) action {
	queue := f.String("queue", "", "")
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		q, err := s.queues(ctx)
		if err != nil {
			return nil, err
		}
		names, err := q.names(ctx, *queue)
		if err != nil {
			return nil, err
		}
		all := list[taskRow]{none: "No tasks wait."}
		for _, name := range names {
			rows, err := q.list(ctx, name)
			if err != nil {
				return nil, err
			}
			all.rows = append(all.rows, rows...)
		}
		slices.SortStableFunc(all.rows, func(a, b taskRow) int {
			return cmp.Or(a.DueAt.Compare(b.DueAt), strings.Compare(a.Task, b.Task))
		})
		return all, nil
	}
}

func tasksRun(f *flag.FlagSet) action {
	queue := f.String("queue", "", "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		q, err := s.queues(ctx)
		if err != nil {
			return nil, err
		}
		name, err := q.find(ctx, *queue, args[0])
		if err != nil {
			return nil, err
		}
		t, err := q.client.RunTask(ctx, &cloudtaskspb.RunTaskRequest{Name: name})
		if status.Code(err) == codes.NotFound {
			return nil, errNoTask(args[0])
		}
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", name, err)
		}
		row := rowOf(t)
		return done{fmt.Sprintf("Task %s of queue %s was sent.", row.Task, row.Queue)}, nil
	}
}

// find is the full name of a task that is given by it or by its last part.
func (q *queues) find(ctx context.Context, queue, task string) (string, error) {
	if strings.HasPrefix(task, "projects/") {
		return task, nil
	}
	names, err := q.names(ctx, queue)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		full := name + "/tasks/" + task
		_, err := q.client.GetTask(ctx, &cloudtaskspb.GetTaskRequest{Name: full})
		if err == nil {
			return full, nil
		}
		if status.Code(err) != codes.NotFound {
			return "", fmt.Errorf("look for task %s: %w", task, err)
		}
	}
	return "", errNoTask(task)
}

func errNoTask(task string) error {
	return fmt.Errorf("no task %s waits: it was done, or there was none; see scripts/ops tasks list", task)
}
