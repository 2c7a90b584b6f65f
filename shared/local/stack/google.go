package stack

import (
	"cmp"
	"context"
	"fmt"
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

// TasksClient is the real client, for what operators do by gcloud. The caller closes it.
func (s *Stack) TasksClient(ctx context.Context) (*cloudtasksapi.Client, error) {
	return cloudtasksapi.NewClient(ctx, s.Tasks.ClientOptions()...)
}

// queues are the queues with their limits.
func queues() map[string]*cloudtaskspb.RateLimits {
	limits := map[string]*cloudtaskspb.RateLimits{
		DeliveryQueue(): {MaxDispatchesPerSecond: 500, MaxConcurrentDispatches: 1000},
	}
	for _, provider := range Providers() {
		limits[ResumeQueue(provider)] = &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 50, MaxConcurrentDispatches: 100}
	}
	return limits
}

func (s *Stack) createQueues(ctx context.Context, _ Options) error {
	for name, rates := range queues() {
		_, err := s.Tasks.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{
			Name: name, RateLimits: rates,
			RetryConfig: &cloudtaskspb.RetryConfig{
				MaxAttempts: 100, MaxRetryDuration: durationpb.New(24 * time.Hour),
				MinBackoff: durationpb.New(time.Second), MaxBackoff: durationpb.New(5 * time.Minute), MaxDoublings: 8,
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

const eachMinute = "* * * * *"

// createJobs makes the jobs of Cloud Scheduler.
func (s *Stack) createJobs(_ context.Context, o Options) (err error) {
	s.jobs, err = scheduler.New(scheduler.Options{Now: s.Clock.Now, Token: s.Tokens.Token, Wake: s.Clock.Wake})
	if err != nil {
		return err
	}
	s.defers(s.jobs.Close)
	return s.jobs.Add(scheduler.Job{
		Name: "sweep", Schedule: cmp.Or(o.SweepSchedule, eachMinute), URL: s.hosts.URL("sweep"),
		ServiceAccount: schedulerAccount, AttemptDeadline: 55 * time.Second,
	})
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
		ResumeURL: s.hosts.URL("resumepayment"), DeliverURL: s.hosts.URL("deliverwebhook"),
	}
}
