package outbox

import (
	"context"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// RelayWithClaim is for tests that stop a relay half way: it leases the key, publishes
// its rows if told to, and returns what the relay would do next.
func RelayWithClaim(t testing.TB, r *Relay, key id.ID, publish bool) (note func() error) {
	t.Helper()
	ctx := context.Background()
	token := r.newID()
	trains, err := claim(ctx, r.db, key, 1, token, r.now())
	if err != nil || len(trains) != 1 {
		t.Fatalf("claim: %d keys, %v", len(trains), err)
	}
	if publish {
		if err := r.publish(ctx, trains)[0]; err != nil {
			t.Fatal(err)
		}
	}
	var sent []id.ID
	for _, e := range trains[0] {
		sent = append(sent, e.ID)
	}
	return func() error { return r.note(ctx, token, sent, nil, nil) }
}

// LeaseTime is how long a relay may hold a key.
const LeaseTime time.Duration = lease
