package pubsubpush

import (
	"context"
	"fmt"
	"maps"
	"path"
	"strconv"
	"strings"
	"time"

	pb "cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Limits of one publish request, https://cloud.google.com/pubsub/quotas#resource_limits.
const (
	maxMessages   = 1000
	maxRequest    = 10 << 20
	maxAttributes = 100
	maxAttrKey    = 256
	maxAttrValue  = 1024
	maxOrdering   = 1024
)

// message is what was published, as every subscription sees it. It is never changed.
type message struct {
	id         string
	data       []byte
	attributes map[string]string
	key        string
	published  time.Time
}

// publisher is pstest's with a Publish that hands the messages to the push driver too.
type publisher struct {
	*pstest.GServer
	server *Server
}

func (p publisher) Publish(ctx context.Context, r *pb.PublishRequest) (*pb.PublishResponse, error) {
	if err := checkPublish(r); err != nil {
		return nil, err
	}
	if err := p.server.accepts(ctx, r.Topic); err != nil {
		return nil, err
	}
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	ids, err := p.server.publish(ctx, r.Topic, r.Messages)
	if err != nil {
		return nil, err
	}
	return &pb.PublishResponse{MessageIds: ids}, nil
}

func (s *Server) accepts(ctx context.Context, topic string) error {
	_, err := s.pstest.GServer.GetTopic(ctx, &pb.GetTopicRequest{Topic: topic})
	return err
}

// publish gives the messages to the subscriptions of the topic. The caller holds the lock, so that all of them see
// the messages of all topics in one order.
func (s *Server) publish(ctx context.Context, topic string, messages []*pb.PubsubMessage) ([]string, error) {
	ids, err := s.publishToPull(ctx, topic, messages)
	if err != nil {
		return nil, err
	}
	now := s.now()
	for i, m := range messages {
		s.seq++
		if ids[i] == "" {
			ids[i] = strconv.FormatUint(s.seq, 10)
		}
		msg := &message{id: ids[i], data: m.Data, attributes: m.Attributes, key: m.OrderingKey, published: now}
		for _, u := range s.subs {
			if u.Topic == topic && u.wants(msg) {
				u.add(msg, s.seq, now)
			}
		}
	}
	s.wake()
	return ids, nil
}

// publishToPull gives the messages to pstest if somebody pulls from it there; it keeps them for ever. The ids are
// pstest's, or empty.
func (s *Server) publishToPull(ctx context.Context, topic string, messages []*pb.PubsubMessage) ([]string, error) {
	pulled, err := s.pstest.GServer.ListTopicSubscriptions(ctx, &pb.ListTopicSubscriptionsRequest{Topic: topic, PageSize: 1})
	if err != nil {
		return nil, err
	}
	if len(pulled.Subscriptions) == 0 {
		return make([]string, len(messages)), nil
	}
	r := proto.CloneOf(&pb.PublishRequest{Topic: topic, Messages: messages})
	resp, err := s.pstest.GServer.Publish(ctx, r)
	if err != nil {
		return nil, err
	}
	return resp.MessageIds, nil
}

// deadLetter forwards a message that used up its attempts. The topic exists since Subscribe; if it was deleted since,
// the message is lost, as in the product.
func (s *Server) deadLetter(u *subscription, d *delivery) {
	attributes := maps.Clone(d.message.attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = strconv.Itoa(d.attempt)
	attributes["CloudPubSubDeadLetterSourceSubscription"] = path.Base(u.Name)
	attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] = strings.Split(u.Name, "/")[1]
	attributes["CloudPubSubDeadLetterSourceTopicPublishTime"] = d.message.published.Format(time.RFC3339Nano)
	if s.accepts(s.ctx, u.DeadLetterTopic) != nil {
		return
	}
	_, _ = s.publish(s.ctx, u.DeadLetterTopic, []*pb.PubsubMessage{{
		Data: d.message.data, Attributes: attributes, OrderingKey: d.message.key,
	}})
}

func checkPublish(r *pb.PublishRequest) error {
	switch {
	case r.Topic == "":
		return invalid("missing topic")
	case len(r.Messages) == 0 || len(r.Messages) > maxMessages:
		return invalid("%d messages, must be 1 to %d", len(r.Messages), maxMessages)
	case proto.Size(r) > maxRequest:
		return invalid("the request has more than %d bytes", maxRequest)
	}
	for _, m := range r.Messages {
		if err := checkMessage(m); err != nil {
			return err
		}
	}
	return nil
}

func checkMessage(m *pb.PubsubMessage) error {
	switch {
	case len(m.Data) == 0 && len(m.Attributes) == 0:
		return invalid("a message needs data or an attribute")
	case len(m.Attributes) > maxAttributes:
		return invalid("%d attributes, more than %d", len(m.Attributes), maxAttributes)
	case len(m.OrderingKey) > maxOrdering:
		return invalid("the ordering key has more than %d bytes", maxOrdering)
	}
	for k, v := range m.Attributes {
		if k == "" || len(k) > maxAttrKey || len(v) > maxAttrValue || strings.HasPrefix(k, "goog") {
			return invalid("attribute %q: keys have 1 to %d bytes and do not begin with goog, values have at most %d", k, maxAttrKey, maxAttrValue)
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return status.Error(codes.InvalidArgument, fmt.Sprintf(format, args...))
}

// subscriber is pstest's, which would take a push subscription and never push.
type subscriber struct{ *pstest.GServer }

func (s subscriber) CreateSubscription(ctx context.Context, r *pb.Subscription) (*pb.Subscription, error) {
	if r.GetPushConfig().GetPushEndpoint() != "" {
		return nil, status.Error(codes.Unimplemented, "push subscriptions are made with Server.Subscribe")
	}
	return s.GServer.CreateSubscription(ctx, r)
}
