package providersim

import (
	"encoding/json"
	"strings"
)

// event is something that happened, with the object as it was then.
type event struct {
	head
	name    string
	payload []byte
}

// emit records an event about an intent and sends it. The caller holds the lock,
// so the events of an account are in the order in which things happened.
func (s *Stripe) emit(by cause, in *intent, name string, about any) {
	e := &event{head: s.newHead("evt_3"), name: name}
	payload, err := json.Marshal(object{
		"id": e.id, "object": "event", "api_version": StripeVersion, "created": e.created.Unix(), "livemode": false,
		"data": object{"object": about}, "pending_webhooks": 1, "type": name,
		"request": object{"id": orNil(by.requestID), "idempotency_key": orNil(by.key)},
	})
	if err != nil {
		panic("providersim: " + err.Error()) // only our own types come here
	}
	e.payload = payload
	s.objects[e.id] = e
	s.events = append(s.events, e)
	s.sender.send(hook{lane: in.id, event: name, payload: payload, created: e.created}, in.metadata)
}

func (e *event) render() any { return json.RawMessage(e.payload) }

func (s *Stripe) listEvents(c *call) (any, *stripeError) {
	wanted := c.form.list("types")
	if one := c.form.str("type"); one != "" {
		if len(wanted) > 0 {
			return nil, invalid("", "parameters_exclusive", "You may only specify one of these parameters: type, types.")
		}
		wanted = []string{one}
	}
	return page(s, c, s.events, func(e *event) bool { return len(wanted) == 0 || matchesAny(e.name, wanted) })
}

// matchesAny knows names and families such as charge.*.
func matchesAny(name string, patterns []string) bool {
	for _, p := range patterns {
		if family, ok := strings.CutSuffix(p, "*"); ok && strings.HasPrefix(name, family) || p == name {
			return true
		}
	}
	return false
}
