package providersim

import "strings"

// object is a JSON object as the API returns it.
type object = map[string]any

// route is one endpoint.
type route struct {
	operation Operation
	result    string   // the type it returns, for expand; lists begin with "list:"
	params    []string // the parameters it takes, besides expand
	run       func(*Stripe, *call) (any, *stripeError)
}

// routes is the part of the API that the simulator has. {id} is any identifier.
var routes = map[string]route{
	"POST payment_intents":              {Authorize, "payment_intent", createParams, (*Stripe).createIntent},
	"POST payment_intents/{id}/confirm": {Confirm, "payment_intent", confirmParams, (*Stripe).confirmIntent},
	"POST payment_intents/{id}/capture": {Capture, "payment_intent", captureParams, (*Stripe).captureIntent},
	"POST payment_intents/{id}/cancel":  {Void, "payment_intent", cancelParams, (*Stripe).cancelIntent},
	"POST refunds":                      {Refund, "refund", refundParams, (*Stripe).createRefund},

	"GET payment_intents/{id}":      {Retrieve, "payment_intent", nil, retrieve[*intent]("payment_intent")},
	"GET charges/{id}":              {Retrieve, "charge", nil, retrieve[*charge]("charge")},
	"GET refunds/{id}":              {Retrieve, "refund", nil, retrieve[*refund]("refund")},
	"GET payment_methods/{id}":      {Retrieve, "payment_method", nil, retrieve[*method]("PaymentMethod")},
	"GET balance_transactions/{id}": {Retrieve, "balance_transaction", nil, retrieve[*transaction]("balance transaction")},
	"GET disputes/{id}":             {Retrieve, "dispute", nil, retrieve[*dispute]("dispute")},
	"GET payouts/{id}":              {Retrieve, "payout", nil, retrieve[*stripePayout]("payout")},
	"GET events/{id}":               {Retrieve, "event", nil, retrieve[*event]("event")},

	"GET payment_intents":      {List, "list:payment_intent", pageParams, (*Stripe).listIntents},
	"GET charges":              {List, "list:charge", append([]string{"payment_intent"}, pageParams...), (*Stripe).listCharges},
	"GET refunds":              {List, "list:refund", append([]string{"payment_intent", "charge"}, pageParams...), (*Stripe).listRefunds},
	"GET disputes":             {List, "list:dispute", append([]string{"payment_intent", "charge"}, pageParams...), (*Stripe).listDisputes},
	"GET payouts":              {Report, "list:payout", append([]string{"status"}, pageParams...), (*Stripe).listPayouts},
	"GET balance_transactions": {Report, "list:balance_transaction", append([]string{"type", "currency", "source", "payout"}, pageParams...), (*Stripe).listTransactions},
	"GET events":               {List, "list:event", append([]string{"type", "types"}, pageParams...), (*Stripe).listEvents},
}

func findRoute(verb, path string) (r route, id string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return route{}, "", false
	}
	parts := strings.Split(rest, "/")
	if len(parts) > 1 {
		id, parts[1] = parts[1], "{id}"
	}
	r, ok = routes[verb+" "+strings.Join(parts, "/")]
	return r, id, ok
}

// retrieve makes the endpoint that returns one object of a type.
func retrieve[T resource](kind string) func(*Stripe, *call) (any, *stripeError) {
	return func(s *Stripe, c *call) (any, *stripeError) {
		found, problem := lookUp[T](s, 404, "id", kind, c.id)
		if problem != nil {
			return nil, problem
		}
		return found.render(), nil
	}
}

// lookUp finds an object of a type by its identifier.
func lookUp[T resource](s *Stripe, status int, param, kind, id string) (T, *stripeError) {
	found, ok := s.objects[id].(T)
	if !ok {
		return found, missing(status, param, kind, id)
	}
	return found, nil
}

// expansions says which properties of a type hold another object's identifier,
// and of which type that object is.
var expansions = map[string]map[string]string{
	"payment_intent":      {"latest_charge": "charge", "payment_method": "payment_method"},
	"charge":              {"payment_intent": "payment_intent", "balance_transaction": "balance_transaction", "refunds": "list:refund"},
	"refund":              {"charge": "charge", "payment_intent": "payment_intent", "balance_transaction": "balance_transaction", "failure_balance_transaction": "balance_transaction"},
	"balance_transaction": {"source": "source"},
	"dispute":             {"charge": "charge", "payment_intent": "payment_intent"},
	"payout":              {"balance_transaction": "balance_transaction"},
	// What a source is depends on the transaction; these are properties that
	// a charge and a refund both have.
	"source": {"payment_intent": "payment_intent", "balance_transaction": "balance_transaction"},
}

// expandable checks a path such as latest_charge.balance_transaction, which may
// be up to four levels deep.
func expandable(kind, path string) bool {
	parts := strings.Split(path, ".")
	if len(parts) > 4 {
		return false
	}
	for _, part := range parts {
		if element, list := strings.CutPrefix(kind, "list:"); list {
			if part != "data" {
				return false
			}
			kind = element
			continue
		}
		next, ok := expansions[kind][part]
		if !ok {
			return false
		}
		kind = next
	}
	return true
}

// expand puts objects in place of their identifiers along a path that expandable
// has let through.
func (s *Stripe) expand(v any, path []string) {
	o, ok := v.(object)
	if !ok || len(path) == 0 {
		return
	}
	name := path[0]
	if elements, ok := o[name].([]any); ok {
		for _, e := range elements {
			s.expand(e, path[1:])
		}
		return
	}
	switch inner := o[name].(type) {
	case string:
		found, ok := s.objects[inner]
		if !ok {
			return
		}
		o[name] = found.render()
	case nil:
		if c, ok := s.objects[str(o["id"])].(*charge); ok && name == "refunds" {
			o[name] = c.renderRefunds()
		}
	}
	s.expand(o[name], path[1:])
}

func str(v any) string {
	s, _ := v.(string)
	return s
}
