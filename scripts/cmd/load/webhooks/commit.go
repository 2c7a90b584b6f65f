package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/postgres"
)

const (
	commitConnections = 10                     // to the database, of a committer
	publishTime       = 300 * time.Millisecond // what shared/payment gives it after the answer
	eventType         = event.PaymentCaptured
	paymentEvents     = "payment-events"
)

// A committer does for the event of a payment's change what the change itself does.
type committer struct {
	db     *pgxpool.Pool
	topics *outbox.Topics
	relay  *outbox.Relay
	now    func() time.Time
	newID  func() id.ID

	data        []byte // an event's, from the catalogue's example
	placeholder []byte // the payment's id in it
}

// openCommitter makes one that reaches the database and Pub/Sub as the functions do.
func openCommitter(ctx context.Context, host stack.HostConfig, now func() time.Time, connections int32) (_ *committer, err error) {
	c := &committer{now: now, newID: id.Source{Now: now}.New}
	if err := c.readExample(); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(host.Databases["resumepayment"])
	if err != nil {
		return nil, err
	}
	config.MaxConns = connections
	if c.db, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	c.topics, err = outbox.OpenTopics(ctx, outbox.TopicConfig{Project: project(), PaymentEvents: paymentEvents, ProviderEvents: "provider-events"},
		option.WithEndpoint(host.PubSubAddress), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		c.db.Close()
		return nil, err
	}
	c.relay = outbox.NewRelay(c.db, c.topics.PaymentEvents, now, c.newID)
	return c, nil
}

func (c *committer) close() {
	_ = c.topics.Close()
	c.db.Close()
}

// project is the stack's.
func project() string { return strings.Split(stack.Subscription("notifymerchant"), "/")[1] }

// readExample has events be as large as they are in truth.
func (c *committer) readExample() error {
	kind, _ := event.Lookup(eventType)
	var body struct{ Data json.RawMessage }
	var payment struct{ Payment struct{ ID string } }
	if err := json.Unmarshal(kind.Example, &body); err != nil {
		return fmt.Errorf("the example of %s: %w", eventType, err)
	}
	if err := json.Unmarshal(body.Data, &payment); err != nil || payment.Payment.ID == "" {
		return fmt.Errorf("the example of %s names no payment: %w", eventType, err)
	}
	c.data, c.placeholder = body.Data, []byte(payment.Payment.ID)
	return nil
}

const (
	lockPayment  = `SELECT merchant_id FROM transactions WHERE id = $1 FOR UPDATE`
	nextSequence = `SELECT coalesce(max(sequence), 0) + 1 FROM events WHERE subject_id = $1`
)

// commit writes one more event of the payment, in a transaction that holds the payment's row lock.
func (c *committer) commit(ctx context.Context, payment id.ID) (outbox.Event, error) {
	e := outbox.Event{ID: c.newID(), PaymentID: payment, Type: eventType, RequestID: "req_load", At: c.now()}
	return e, pgx.BeginFunc(ctx, c.db, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, lockPayment, payment).Scan(&e.MerchantID); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, nextSequence, payment).Scan(&e.Sequence); err != nil {
			return err
		}
		data := bytes.ReplaceAll(c.data, c.placeholder, []byte(id.Payment.External(payment)))
		e.Payload = event.Event{
			ID: e.ID, Type: e.Type, Timestamp: e.At, Sequence: e.Sequence, Data: json.RawMessage(data),
		}.Encode()
		var b pgx.Batch
		outbox.Queue(&b, e)
		return postgres.Pipeline(ctx, tx, &b)
	})
}

// publish publishes what waits of the payment. What it does not manage is left to the sweep.
func (c *committer) publish(ctx context.Context, payment id.ID) {
	bounded, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	_ = c.relay.Publish(bounded, payment) // why is in the outbox
}

// ServeCommits has an instance commit events: POST /<payment>. It answers once the event is committed, and publishes
// then, as a function does. A process that is killed in between has left the event to the sweep.
func ServeCommits(ctx context.Context, host stack.HostConfig, now func() time.Time) (string, error) {
	c, err := openCommitter(ctx, host, now, commitConnections)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{payment}", func(w http.ResponseWriter, r *http.Request) {
		payment, err := id.Parse(r.PathValue("payment"))
		if err == nil {
			_, err = c.commit(r.Context(), payment)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		_ = http.NewResponseController(w).Flush()
		c.publish(context.WithoutCancel(r.Context()), payment)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // it ends with the process
	return l.Addr().String(), nil
}
