package stack

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	cloudtasksapi "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/shared/local/pubsubpush"
	"github.com/tollgate/tollgate/shared/local/scheduler"
	"github.com/tollgate/tollgate/shared/outbox"
)

// The Google Cloud project that isn't there, with the names and settings of terraform (tasks.tf, events.tf).
const (
	project  = "tollgate-local"
	location = "projects/" + project + "/locations/asia-northeast1"

	paymentEvents  = "payment-events"
	providerEvents = "provider-events"
)

// ResumeQueue is the full name of the queue that carries open operations with a provider on.
func ResumeQueue(provider string) string { return location + "/queues/" + outbox.ResumeQueue(provider) }

// DeliveryQueue is the full name of the queue of webhook deliveries.
func DeliveryQueue() string { return location + "/queues/" + outbox.DeliveryQueue }

// Subscription is the full name of a function's push subscription.
func Subscription(function string) string {
	return "projects/" + project + "/subscriptions/" + function
}

func topicName(id string) string { return "projects/" + project + "/topics/" + id }

func deadLetters(topic string) string { return topic + "-dead" }

// SettlementQueue is the full name of the queue of a settlement's steps.
func SettlementQueue() string { return location + "/queues/" + outbox.SettlementQueue }

// TasksClient is the real client, for what operators do by gcloud. The caller closes it.
func (s *Stack) TasksClient(ctx context.Context) (*cloudtasksapi.Client, error) {
	return cloudtasksapi.NewClient(ctx, s.Tasks.ClientOptions()...)
}

// A queue's limits and retries, in seconds where they are times.
type queue struct {
	perSecond            float64
	concurrent, attempts int32
	backoff              int64
}

// queues are the queues by their names.
func queues() map[string]queue {
	all := map[string]queue{
		DeliveryQueue():   {perSecond: 500, concurrent: 1000, attempts: 100, backoff: 1},
		SettlementQueue(): {perSecond: 10, concurrent: 4, attempts: -1, backoff: 10},
	}
	for _, provider := range Providers() {
		all[ResumeQueue(provider)] = queue{perSecond: 50, concurrent: 100, attempts: 100, backoff: 1}
	}
	return all
}

func (s *Stack) createQueues(ctx context.Context, _ Options) error {
	for name, q := range queues() {
		_, err := s.Tasks.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{
			Name:       name,
			RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: q.perSecond, MaxConcurrentDispatches: q.concurrent},
			RetryConfig: &cloudtaskspb.RetryConfig{
				MaxAttempts: q.attempts, MaxRetryDuration: durationpb.New(24 * time.Hour),
				MinBackoff: durationpb.New(time.Duration(q.backoff) * time.Second), MaxBackoff: durationpb.New(5 * time.Minute), MaxDoublings: 8,
			},
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) createTopics(ctx context.Context, _ Options) error {
	for _, topic := range []string{paymentEvents, providerEvents} {
		for _, name := range []string{topic, deadLetters(topic)} {
			if err := s.PubSub.CreateTopic(ctx, topicName(name)); err != nil {
				return err
			}
		}
	}
	for function, topic := range subscribers {
		err := s.PubSub.Subscribe(ctx, pubsubpush.Subscription{
			Name: Subscription(function), Topic: topicName(topic), Endpoint: s.hosts.URL(function),
			ServiceAccount: pubsubAccount, Ordered: true, AckDeadline: 30 * time.Second,
			MinBackoff: 10 * time.Second, MaxBackoff: 10 * time.Minute,
			DeadLetterTopic: topicName(deadLetters(topic)), MaxAttempts: 20,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// subscribers are the functions that a topic is pushed to.
var subscribers = map[string]string{
	"applywebhook":   providerEvents,
	"notifymerchant": paymentEvents,
}

// A job of Cloud Scheduler's.
type job struct {
	name, function string
	schedule, zone string
	timeout        int // seconds, the function's
	retries        int // five minutes apart
}

var jobs = []job{
	{"sweep", "sweep", "* * * * *", "Etc/UTC", 55, 0},
	{"settle", "settle", "0 2 * * *", "Asia/Tokyo", 300, 3},
	{"settle-again", "settle", "0 6 * * *", "Asia/Tokyo", 300, 3},
	{"reconcile", "reconcile", "10 * * * *", "Etc/UTC", 540, 0},
	{"verifyaudit", "verifyaudit", "30 3 * * *", "Asia/Tokyo", 900, 3},
}

// createJobs makes the jobs of Cloud Scheduler.
func (s *Stack) createJobs(_ context.Context, o Options) (err error) {
	s.jobs, err = scheduler.New(scheduler.Options{Now: s.Clock.Now, Token: s.Tokens.Token, Wake: s.Clock.Wake})
	if err != nil {
		return err
	}
	s.defers(s.jobs.Close)
	for _, j := range jobs {
		if o.Jobs != nil && !slices.Contains(o.Jobs, j.name) {
			continue
		}
		if j.name == "sweep" {
			j.schedule = cmp.Or(o.SweepSchedule, j.schedule)
		}
		err := s.jobs.Add(scheduler.Job{
			Name: j.name, Schedule: j.schedule, TimeZone: j.zone, URL: s.hosts.URL(j.function),
			Headers: map[string]string{"Content-Type": "application/json"}, Body: []byte("{}"),
			ServiceAccount: schedulerAccount, AttemptDeadline: time.Duration(j.timeout) * time.Second,
			RetryCount: j.retries, MinBackoff: 5 * time.Minute, MaxBackoff: 5 * time.Minute,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// RunJob runs a scheduled job now, whatever its schedule. It fails if the job does.
func (s *Stack) RunJob(ctx context.Context, name string) error {
	code, err := s.jobs.RunNow(ctx, name)
	if err == nil && code/100 != 2 {
		err = fmt.Errorf("stack: job %s was answered %d", name, code)
	}
	return err
}

// TasksConfig is where tasks are made and whom they call, for what operators do by the packages of the functions.
func (s *Stack) TasksConfig() outbox.TasksConfig {
	return outbox.TasksConfig{
		Location: location, ServiceAccount: tasksAccount,
		ResumeURL: s.hosts.URL("resumepayment"), DeliverURL: s.hosts.URL("deliverwebhook"), SettleURL: s.hosts.URL("settle"),
	}
}
