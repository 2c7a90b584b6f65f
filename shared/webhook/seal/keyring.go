package seal

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// keepFresh is how long a data key opens its secret before KMS is asked again: how
	// long a key that was disabled there goes on working.
	keepFresh = time.Hour

	// keepStale is how long it does while KMS can't be asked.
	keepStale = 24 * time.Hour

	// awayFor is how long KMS counts as away for those who have a key, once it could
	// not be asked: each of their deliveries would wait for it.
	awayFor = 10 * time.Second

	// maxKept bounds the data keys in memory; one takes some 200 bytes.
	maxKept = 10_000
)

// keyring keeps unwrapped data keys, and gives up those first that were not used for
// the longest time.
type keyring struct {
	limit int

	mu        sync.Mutex
	entries   map[slot]*list.Element
	order     *list.List // of *keptKey, the one used last in front
	awayUntil time.Time
}

// slot is a hash of all that was given to KMS.
type slot [sha256.Size]byte

type keptKey struct {
	slot slot
	key  []byte
	at   time.Time
}

func newKeyring(limit int) *keyring {
	return &keyring{limit: limit, entries: map[slot]*list.Element{}, order: list.New()}
}

// get returns the key of the slot, if there is one, and whether it is good without
// asking KMS.
func (r *keyring) get(s slot, now time.Time) (key []byte, good bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[s]
	if e == nil {
		return nil, false
	}
	kept := e.Value.(*keptKey)
	age := now.Sub(kept.at)
	if age >= keepStale {
		r.remove(e)
		return nil, false
	}
	r.order.MoveToFront(e)
	return kept.key, age < keepFresh || now.Before(r.awayUntil)
}

func (r *keyring) put(s slot, key []byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[s]; e != nil {
		r.remove(e)
	}
	r.entries[s] = r.order.PushFront(&keptKey{slot: s, key: key, at: now})
	if r.order.Len() > r.limit {
		r.remove(r.order.Back())
	}
}

func (r *keyring) drop(s slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[s]; e != nil {
		r.remove(e)
	}
}

func (r *keyring) remove(e *list.Element) {
	delete(r.entries, e.Value.(*keptKey).slot)
	r.order.Remove(e)
}

// away notes that KMS could not be asked.
func (r *keyring) away(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awayUntil = now.Add(awayFor)
}
