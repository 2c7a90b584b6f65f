package outbox

import (
	"context"
	"fmt"

	pubsub "cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
)

// TopicConfig names the topics.
type TopicConfig struct {
	Project        string `env:"PUBSUB_PROJECT,required,notEmpty" who:"terraform"`
	PaymentEvents  string `env:"PAYMENT_EVENTS_TOPIC" envDefault:"payment-events" who:"terraform"`
	ProviderEvents string `env:"PROVIDER_EVENTS_TOPIC" envDefault:"provider-events" who:"terraform"`
}

// Topics are the topics that Tollgate publishes to.
type Topics struct {
	PaymentEvents  *Topic // what merchants are told
	ProviderEvents *Topic // what providers told us

	client *pubsub.TopicAdminClient
}

// OpenTopics makes the client. Pub/Sub keeps the order of a key only among what is
// published in one region, so in production the options name a regional endpoint.
func OpenTopics(ctx context.Context, c TopicConfig, opts ...option.ClientOption) (*Topics, error) {
	client, err := pubsub.NewTopicAdminClient(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("outbox: open Pub/Sub: %w", err)
	}
	topic := func(name string) *Topic {
		return &Topic{client: client, name: "projects/" + c.Project + "/topics/" + name}
	}
	return &Topics{PaymentEvents: topic(c.PaymentEvents), ProviderEvents: topic(c.ProviderEvents), client: client}, nil
}

// Close frees the connections.
func (t *Topics) Close() error { return t.client.Close() }

// Topic is one Pub/Sub topic.
type Topic struct {
	client *pubsub.TopicAdminClient
	name   string
}

// Message is what a topic carries. Attributes are not encrypted apart and appear in
// the consoles of the platform: ids and types, never content.
type Message struct {
	Data       []byte
	Attributes map[string]string
}

// Publish sends the messages under one ordering key, in their order, as one request:
// when it returns nil all of them are durable at Pub/Sub, and otherwise none may be
// taken to be. It retries what is worth retrying until ctx ends. The messages of one
// call may hold 10 MB together.
func (t *Topic) Publish(ctx context.Context, key string, messages ...Message) error {
	req := &pubsubpb.PublishRequest{Topic: t.name, Messages: make([]*pubsubpb.PubsubMessage, len(messages))}
	for i, m := range messages {
		req.Messages[i] = &pubsubpb.PubsubMessage{Data: m.Data, Attributes: m.Attributes, OrderingKey: key}
	}
	if _, err := t.client.Publish(ctx, req); err != nil {
		return fmt.Errorf("publish to %s: %w", t.name, err)
	}
	return nil
}
