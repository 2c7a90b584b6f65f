package providersim

import (
	"slices"
	"strconv"
	"time"
)

// listed is an object that can stand in a list.
type listed interface {
	resource
	header() *head
}

// page answers a list request: newest first, from the objects in order of
// creation that keep lets through.
func page[T listed](s *Stripe, c *call, all []T, keep func(T) bool) (any, *stripeError) {
	limit := 10
	if n, ok, problem := c.form.integer("limit"); problem != nil {
		return nil, problem
	} else if ok {
		if n > 100 {
			return nil, invalid("limit", "parameter_invalid_integer", "This value must be less than or equal to 100.")
		}
		limit = int(n)
	}
	span, problem := c.form.created()
	if problem != nil {
		return nil, problem
	}
	after, problem := s.cursor(c, "starting_after")
	if problem != nil {
		return nil, problem
	}
	before, problem := s.cursor(c, "ending_before")
	if problem != nil {
		return nil, problem
	}
	if after != 0 && before != 0 {
		return nil, invalid("", "parameters_exclusive", "You may only specify one of these parameters: starting_after, ending_before.")
	}

	fits := func(o T) bool {
		h := o.header()
		return (after == 0 || h.ordinal < after) && h.ordinal > before && span.holds(h.created) && keep(o)
	}
	var found []T
	if before != 0 { // the page that ends just before the cursor, so the oldest that fit
		for _, o := range all {
			if len(found) <= limit && fits(o) {
				found = append(found, o)
			}
		}
	} else {
		for _, o := range slices.Backward(all) {
			if fits(o) {
				if found = append(found, o); len(found) > limit {
					break
				}
			}
		}
	}
	more := len(found) > limit
	found = found[:min(limit, len(found))]
	if before != 0 {
		slices.Reverse(found)
	}
	data := make([]any, 0, len(found))
	for _, o := range found {
		data = append(data, o.render())
	}
	return object{"object": "list", "url": c.path, "has_more": more, "data": data}, nil
}

// cursor finds the place of the object that a cursor names; 0 is none.
func (s *Stripe) cursor(c *call, name string) (int64, *stripeError) {
	id := c.form.str(name)
	if id == "" {
		return 0, nil
	}
	o, ok := s.objects[id].(listed)
	if !ok {
		return 0, missing(400, name, "object", id)
	}
	return o.header().ordinal, nil
}

// span is a filter on created, in whole seconds.
type span struct{ from, to int64 }

func (p span) holds(t time.Time) bool { return t.Unix() >= p.from && t.Unix() <= p.to }

// created reads created=t or created[gt|gte|lt|lte]=t.
func (f form) created() (span, *stripeError) {
	p := span{from: -1 << 62, to: 1 << 62}
	bounds := f.hash("created")
	if f.has("created") {
		bounds["gte"], bounds["lte"] = f.str("created"), f.str("created")
	}
	for how, text := range bounds {
		t, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return p, invalid("created", "parameter_invalid_integer", "Invalid integer: %s", text)
		}
		switch how {
		case "gt":
			p.from = max(p.from, t+1)
		case "gte":
			p.from = max(p.from, t)
		case "lt":
			p.to = min(p.to, t-1)
		case "lte":
			p.to = min(p.to, t)
		default:
			return p, invalid("created["+how+"]", "parameter_unknown", "Received unknown parameter: created[%s]", how)
		}
	}
	return p, nil
}
