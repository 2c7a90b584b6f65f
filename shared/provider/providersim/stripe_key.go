package providersim

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// stripeKeyPeriod is how long a result is kept. Stripe removes keys once they
// are at least 24 hours old; the simulator does so at once, because that is what
// makes a late retry dangerous (https://docs.stripe.com/api/idempotent_requests).
const stripeKeyPeriod = 24 * time.Hour

// keyStore keeps the results of requests under their idempotency keys.
type keyStore struct {
	mu      sync.Mutex
	records map[string]*keyRecord
}

type keyRecord struct {
	path, params string // of the first request with the key
	requestID    string
	began        time.Time
	done         bool
	reply        reply
}

// begin claims the request's key. It returns the stored result if there is one,
// or the refusal of a key that is in use or was used for something else; neither
// means go ahead. A request without a key gets no record.
func (k *keyStore) begin(c *call, now time.Time) (*keyRecord, *reply, *stripeError) {
	if c.key == "" {
		return nil, nil, nil
	}
	if len(c.key) > 255 {
		return nil, nil, invalid("", "", "Idempotency key is too long: it may have up to 255 characters.")
	}
	params := c.form.values.Encode()
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.records[c.key]
	if old != nil && old.done && now.Sub(old.began) >= stripeKeyPeriod {
		old = nil
	}
	switch {
	case old == nil:
		rec := &keyRecord{path: c.path, params: params, requestID: c.requestID, began: now}
		k.records[c.key] = rec
		return rec, nil, nil
	case old.path != c.path:
		return nil, nil, keyMisused("Keys for idempotent requests can only be used for the same endpoint they were first used for ('%s' vs '%s'). "+
			"Try using a key other than '%s' if you meant to execute a different request.", c.path, old.path, c.key)
	case old.params != params:
		return nil, nil, keyMisused("Keys for idempotent requests can only be used with the same parameters they were first used with. "+
			"Try using a key other than '%s' if you meant to execute a different request.", c.key)
	case !old.done:
		return nil, nil, keyInUse(c.key)
	}
	stored := old.reply
	stored.header = maps.Clone(stored.header)
	stored.header.Set("Idempotent-Replayed", "true")
	stored.header.Set("Original-Request", old.requestID)
	return nil, &stored, nil
}

// finish stores the result under the key and returns it.
func (k *keyStore) finish(rec *keyRecord, rep reply) reply {
	if rec == nil {
		return rep
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	rec.reply, rec.done = rep, true
	return rep
}

// forget gives the key back: the request was refused before it was executed.
func (k *keyStore) forget(rec *keyRecord, c *call) {
	if rec == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.records[c.key] == rec {
		delete(k.records, c.key)
	}
}

func keyMisused(format string, args ...any) *stripeError {
	e := invalid("", "", format, args...)
	e.Type = "idempotency_error"
	return e
}

func keyInUse(key string) *stripeError {
	return &stripeError{
		status: http.StatusConflict, Type: "idempotency_error", Code: "idempotency_key_in_use",
		Message: "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, " +
			"and the other request is still going through): " + key + ". Please try again later.",
	}
}
