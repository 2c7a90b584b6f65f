package providersim

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

// paypalKeys keeps what requests made under their PayPal-Request-Id.
type paypalKeys struct {
	mu      sync.Mutex
	records map[string]*paypalKey
}

type paypalKey struct {
	path   string
	body   []byte
	until  time.Time
	done   bool
	result paypalResult
}

// paypalStored is the answer to an id that was used before.
type paypalStored struct {
	status  int
	render  func() any
	problem *paypalError
}

func (k *paypalKeys) begin(c *paypalCall, now time.Time) (*paypalKey, *paypalStored) {
	if c.key == "" || c.route.period == 0 {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.records[c.key]
	switch {
	case old == nil || old.done && !now.Before(old.until):
		rec := &paypalKey{path: c.path, body: c.body, until: now.Add(c.route.period)}
		k.records[c.key] = rec
		return rec, nil
	case old.path != c.path || !bytes.Equal(old.body, c.body):
		return nil, &paypalStored{problem: unprocessable("DUPLICATE_REQUEST_ID", "The PayPal-Request-Id was used for another request.")}
	case !old.done:
		return nil, &paypalStored{problem: unprocessable("PREVIOUS_REQUEST_IN_PROGRESS", "A previous request with this id is currently in progress.")}
	}
	return nil, &paypalStored{status: http.StatusOK, render: old.result.render}
}

func (k *paypalKeys) finish(rec *paypalKey, result paypalResult) {
	if rec == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	rec.done, rec.result = true, result
}

func (k *paypalKeys) forget(rec *paypalKey, key string) {
	if rec == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.records[key] == rec {
		delete(k.records, key)
	}
}
