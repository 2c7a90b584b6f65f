package outbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/shared/telemetry"
)

// The queues.
const (
	DeliveryQueue   = "webhooks"
	SettlementQueue = "settlement"
)

// ResumeQueue is the queue of the tasks that carry on sagas with the provider.
func ResumeQueue(provider string) string { return "provider-" + provider }

// taskDeadline bounds a handler: a task that is not answered by then counts as failed.
const taskDeadline = time.Minute

// TasksConfig says where the queues are and whom tasks call, as whom.
type TasksConfig struct {
	Location       string `env:"TASKS_LOCATION,required,notEmpty" who:"terraform"` // projects/P/locations/L
	ServiceAccount string `env:"TASKS_SERVICE_ACCOUNT,required,notEmpty" who:"terraform"`
	ResumeURL      string `env:"RESUME_URL" who:"terraform"`
	DeliverURL     string `env:"DELIVER_URL" who:"terraform"`
	SettleURL      string `env:"SETTLE_URL" who:"terraform"`
}

// Tasks makes tasks in Cloud Tasks.
type Tasks struct {
	client *cloudtasks.Client
	config TasksConfig
}

// OpenTasks makes the client.
func OpenTasks(ctx context.Context, c TasksConfig, opts ...option.ClientOption) (*Tasks, error) {
	client, err := cloudtasks.NewClient(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("outbox: open Cloud Tasks: %w", err)
	}
	return &Tasks{client: client, config: c}, nil
}

// Close frees the connections.
func (t *Tasks) Close() error { return t.client.Close() }

// Config tells whom tasks call.
func (t *Tasks) Config() TasksConfig { return t.config }

// Task is one request to be made later.
type Task struct {
	Queue     string // the last part of the queue's name
	Name      string // see TaskName
	URL       string
	Body      []byte        // JSON, ids only: a task may hold 100 KB, and operators see it
	At        time.Time     // not before; up to 30 days ahead
	RequestID string        // the request that the work belongs to; ctx's when empty
	Deadline  time.Duration // for the handler: when zero a minute, at most 30
}

// Enqueue makes the task. A task whose name exists, or existed lately, is not made
// again, and that is no error: the name says what is to be done, and it was asked
// for before. So the database decides whether the work is still wanted, not the queue.
func (t *Tasks) Enqueue(ctx context.Context, task Task) error {
	queue := t.config.Location + "/queues/" + task.Queue
	if task.RequestID != "" {
		ctx = telemetry.WithRequestID(ctx, task.RequestID)
	}
	headers := telemetry.Inject(ctx)
	headers["Content-Type"] = "application/json"
	req := &cloudtaskspb.HttpRequest{
		Url:        task.URL,
		HttpMethod: cloudtaskspb.HttpMethod_POST,
		Headers:    headers,
		Body:       task.Body,
		AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{
			ServiceAccountEmail: t.config.ServiceAccount,
			Audience:            task.URL,
		}},
	}
	made := &cloudtaskspb.Task{
		Name:             queue + "/tasks/" + task.Name,
		MessageType:      &cloudtaskspb.Task_HttpRequest{HttpRequest: req},
		DispatchDeadline: durationpb.New(taskDeadline),
	}
	if task.Deadline > 0 {
		made.DispatchDeadline = durationpb.New(task.Deadline)
	}
	if !task.At.IsZero() {
		made.ScheduleTime = timestamppb.New(task.At)
	}
	_, err := t.client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: made})
	if err != nil && status.Code(err) != codes.AlreadyExists {
		return fmt.Errorf("outbox: make task %s in %s: %w", task.Name, task.Queue, err)
	}
	return nil
}

// TaskName names the task that does work for the readable id, such as a delivery's.
// The numbers tell tasks for the same id apart. Cloud Tasks slows down on names that
// rise, as ours would by their UUIDv7, so a hash goes first; operators read the rest.
func TaskName(readable string, numbers ...int) string {
	name := readable
	for _, n := range numbers {
		name += "-" + strconv.Itoa(n)
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:4]) + "-" + name
}
