// Package outboxtest gives tests what events need: payments to belong to, and a
// Pub/Sub that the real client talks to and that can be told to fail.
package outboxtest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Merchant makes a merchant.
func Merchant(t testing.TB, db postgres.DB, newID func() id.ID, now time.Time) id.ID {
	t.Helper()
	merchant := newID()
	exec(t, db, `INSERT INTO merchants (id, name, status, created_at, updated_at) VALUES ($1, 'Test', 'ACTIVE', $2, $2)`,
		merchant, now)
	return merchant
}

// Payment makes a payment, with the audit row that the database asks for. It is one
// statement, so that the row and its audit commit together on a pool as well.
func Payment(t testing.TB, db postgres.DB, merchant id.ID, newID func() id.ID, now time.Time) id.ID {
	t.Helper()
	payment := newID()
	exec(t, db, `
		WITH audit AS (
			INSERT INTO transaction_audit_log (transaction_id, id, merchant_id, object, object_id, kind, version,
				action, delta, actor, request_id, at)
			VALUES ($1, $2, $3, 'payment', $1, 'change', 1, 'create', '{}', 'test', 'req_test', $4))
		INSERT INTO transactions (id, merchant_id, version, event_sequence, status, reconciliation_status, currency,
			amount_minor, authorized_minor, captured_minor, refund_reserved_minor, refunded_minor, disputed_minor,
			capture_excess_minor, refund_excess_minor, capture_method, payment_method, provider, provider_account,
			metadata, expires_at, created_at, updated_at)
		VALUES ($1, $3, 1, 0, 'PENDING', 'SYNCED', 'JPY', 5000, 0, 0, 0, 0, 0, 0, 0, 'manual', 'pm_card_visa',
			'stripe', 'acct_test', '{}', $4, $4, $4)`,
		payment, newID(), merchant, now)
	return payment
}

func exec(t testing.TB, db postgres.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("outboxtest: %v", err)
	}
}

// Commit writes one more event of the payment, as a change would: in a transaction
// that holds the payment's row lock, with the next sequence. The event's id, type,
// sequence and payload are filled in where they are not given.
func Commit(ctx context.Context, db *pgxpool.Pool, newID func() id.ID, e outbox.Event) (outbox.Event, error) {
	if e.ID.IsZero() {
		e.ID = newID()
	}
	if e.Type == "" {
		e.Type = "payment.captured"
	}
	return e, pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		const lock = `SELECT merchant_id FROM transactions WHERE id = $1 FOR UPDATE`
		if err := tx.QueryRow(ctx, lock, e.PaymentID).Scan(&e.MerchantID); err != nil {
			return err
		}
		const next = `SELECT coalesce(max(sequence), 0) + 1 FROM events WHERE transaction_id = $1`
		if err := tx.QueryRow(ctx, next, e.PaymentID).Scan(&e.Sequence); err != nil {
			return err
		}
		if e.Payload == nil {
			e.Payload = fmt.Appendf(nil, `{"id":%q,"type":%q,"sequence":%d}`, id.Event.External(e.ID), e.Type, e.Sequence)
		}
		var b pgx.Batch
		outbox.Queue(&b, e)
		return postgres.Pipeline(ctx, tx, &b)
	})
}

// Hook sees a publish request, in the context of its call; an error fails it.
type Hook func(context.Context, *pubsubpb.PublishRequest) error

// PubSub is a Pub/Sub with the topics payment-events and provider-events of project
// "test", and Topics that reach it through the real client.
type PubSub struct {
	Topics  *outbox.Topics
	Options []option.ClientOption

	server *pstest.Server
	mu     sync.Mutex
	before Hook
	after  Hook
}

// NewPubSub starts a Pub/Sub that ends with the test.
func NewPubSub(t testing.TB) *PubSub {
	t.Helper()
	p := &PubSub{server: pstest.NewServer()}
	t.Cleanup(func() { _ = p.server.Close() })
	p.Options = []option.ClientOption{
		option.WithEndpoint(p.server.Addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithUnaryInterceptor(p.intercept)),
	}
	config := outbox.TopicConfig{Project: "test", PaymentEvents: "payment-events", ProviderEvents: "provider-events"}
	for _, topic := range []string{config.PaymentEvents, config.ProviderEvents} {
		name := "projects/test/topics/" + topic
		if _, err := p.server.GServer.CreateTopic(context.Background(), &pubsubpb.Topic{Name: name}); err != nil {
			t.Fatalf("outboxtest: %v", err)
		}
	}
	topics, err := outbox.OpenTopics(context.Background(), config, p.Options...)
	if err != nil {
		t.Fatalf("outboxtest: %v", err)
	}
	t.Cleanup(func() { _ = topics.Close() })
	p.Topics = topics
	return p
}

// Fail sets hooks that run before a request is sent, so that nothing of it arrives,
// and after it was answered, so that only the reply is lost. Nil hooks do nothing.
func (p *PubSub) Fail(before, after Hook) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after = before, after
}

func (p *PubSub) intercept(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	publish, ok := req.(*pubsubpb.PublishRequest)
	if !ok {
		return invoke(ctx, method, req, reply, conn, opts...)
	}
	p.mu.Lock()
	before, after := p.before, p.after
	p.mu.Unlock()
	if before != nil {
		if err := before(ctx, publish); err != nil {
			return err
		}
	}
	if err := invoke(ctx, method, req, reply, conn, opts...); err != nil {
		return err
	}
	if after != nil {
		return after(ctx, publish)
	}
	return nil
}

// Message is a published message.
type Message struct {
	Key        string
	Sequence   int64
	Data       string
	Attributes map[string]string
}

// Published lists what arrived, in the order of arrival.
func (p *PubSub) Published() []Message {
	var out []Message
	for _, m := range p.server.Messages() {
		sequence, _ := strconv.ParseInt(m.Attributes["sequence"], 10, 64) // provider events have none
		out = append(out, Message{Key: m.OrderingKey, Sequence: sequence, Data: string(m.Data), Attributes: m.Attributes})
	}
	return out
}
