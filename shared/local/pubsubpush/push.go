package pubsubpush

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// wrapped is the body of a push. The product sends id and time under two names each; so do we, since a receiver that
// refuses unknown fields must know of it.
type wrapped struct {
	DeliveryAttempt int            `json:"deliveryAttempt,omitempty"`
	Message         wrappedMessage `json:"message"`
	Subscription    string         `json:"subscription"`
}

type wrappedMessage struct {
	Attributes   map[string]string `json:"attributes,omitempty"`
	Data         []byte            `json:"data,omitempty"` // base64
	MessageID    string            `json:"messageId"`
	MessageID2   string            `json:"message_id"`
	OrderingKey  string            `json:"orderingKey,omitempty"`
	PublishTime  string            `json:"publishTime"`
	PublishTime2 string            `json:"publish_time"`
}

func body(u *subscription, m *message, attempt int) ([]byte, error) {
	published := m.published.Format("2006-01-02T15:04:05.999Z07:00") // milliseconds, as the product has it
	w := wrapped{
		Message: wrappedMessage{
			Attributes: m.attributes, Data: m.data, OrderingKey: m.key,
			MessageID: m.id, MessageID2: m.id, PublishTime: published, PublishTime2: published,
		},
		Subscription: u.Name,
	}
	if u.DeadLetterTopic != "" {
		w.DeliveryAttempt = attempt // told only where a dead-letter policy counts it
	}
	return json.Marshal(w)
}

// push sends a message and tells whether the endpoint acknowledged it within the ack deadline, in real time.
func (s *Server) push(u *subscription, d *delivery, attempt int) bool {
	payload, err := body(u, d.message, attempt)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, u.AckDeadline)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.Endpoint, bytes.NewReader(payload))
	if err != nil {
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "CloudPubSub-Google")
	if u.ServiceAccount != "" {
		r.Header.Set("Authorization", "Bearer "+s.token(u.ServiceAccount, u.Audience))
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false
	}
	switch resp.StatusCode {
	case http.StatusProcessing, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		return true
	}
	return false
}

// finish settles the push of a lane's first message: done, forwarded as a dead letter, or to be tried again.
func (s *Server) finish(u *subscription, l *lane, acked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.underWay--
	if s.ctx.Err() != nil {
		return
	}
	d, now := l.line[0], s.now()
	switch {
	case acked:
		u.drop(l, now)
		if !d.duplicate && s.oneIn(s.chaos.DuplicateOneIn) {
			u.duplicate(d, s.seq, now)
		}
	case d.duplicate:
		u.drop(l, now) // it was acknowledged once
	case u.MaxAttempts > 0 && d.attempt >= u.MaxAttempts:
		u.drop(l, now)
		s.deadLetter(u, d)
	default:
		u.wait(l, now.Add(u.backoff(d.attempt)))
	}
}

// duplicate has an acknowledged message pushed again, past the order of its key.
func (u *subscription) duplicate(d *delivery, seq uint64, now time.Time) {
	u.backlog++
	u.wait(&lane{line: []*delivery{{message: d.message, attempt: d.attempt, duplicate: true}}, seq: seq}, now)
}
