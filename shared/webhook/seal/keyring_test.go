package seal

import (
	"testing"
	"time"
)

func TestKeyringIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	r, now := newKeyring(3), time.Unix(0, 0)
	for b := range byte(3) {
		r.put(slot{b}, []byte{b}, now)
	}
	r.get(slot{0}, now)
	r.put(slot{3}, []byte{3}, now)
	r.put(slot{3}, []byte{4}, now)
	for s, want := range map[slot]bool{{0}: true, {1}: false, {2}: true, {3}: true} {
		if key, good := r.get(s, now); good != want || (key != nil) != want {
			t.Errorf("slot %x: %x, %v; want it kept: %v", s[0], key, good, want)
		}
	}
	if key, _ := r.get(slot{3}, now); key[0] != 4 {
		t.Errorf("slot 3 holds %x; want what was put last", key)
	}
	r.get(slot{0}, now.Add(keepStale))
	r.drop(slot{2})
	r.drop(slot{2})
	if len(r.entries) != 1 || r.order.Len() != 1 {
		t.Errorf("%d entries, %d in order; want one", len(r.entries), r.order.Len())
	}
}
