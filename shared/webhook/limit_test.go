package webhook

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

func TestLimitsOfAnEndpoint(t *testing.T) {
	t.Parallel()
	t.Run("rate", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.subscribe(r.endpoint.URL)
		r.exec(`UPDATE webhook_endpoints SET rate_limit = 2`)
		var at []time.Time
		r.endpoint.answers(func(http.ResponseWriter, *http.Request) { at = append(at, r.Now()) }) // one at a time: the clock waits for each
		start := r.Now()
		for _, p := range r.payments(12) {
			r.tell(p)
		}
		r.advance(10 * time.Second)
		if len(at) != 12 {
			t.Fatalf("%d posts", len(at))
		}
		slices.SortFunc(at, time.Time.Compare)
		for i, a := range at {
			// A second's worth at once, then two in each second.
			if least := start.Add(time.Duration(i-2) * time.Second / 2); a.Before(least) {
				t.Errorf("attempt %d at %v; want it not before %v", i, a.Sub(start), least.Sub(start))
			}
		}
		if last := at[11].Sub(start); last > 6*time.Second {
			t.Errorf("the last came after %v", last)
		}
		for _, l := range r.logs() {
			if l.Attempt != 1 {
				t.Errorf("an attempt was used up by waiting: %+v", l)
			}
		}
	})
	t.Run("in flight", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.subscribe(r.endpoint.URL)
		r.exec(`UPDATE webhook_endpoints SET max_in_flight = 3`)
		deliveries := make([]Delivery, 5)
		for i, p := range r.payments(5) {
			r.tell(p)
			deliveries[i] = r.deliveryOf(p)
		}
		var leased []*held
		for _, d := range deliveries {
			h, err := r.lease(t.Context(), d.ID, 1)
			if err != nil || h == nil {
				t.Fatalf("lease: %+v, %v", h, err)
			}
			leased = append(leased, h)
		}
		for i, h := range leased {
			if want := map[bool]verdict{true: admitted, false: crowded}[i < 3]; h.Verdict != want {
				t.Errorf("attempt %d is %q; want %q", i, h.Verdict, want)
			}
		}
		if err := r.Deliver(t.Context(), deliveries[3].ID, 1); err != nil {
			t.Fatal(err)
		}
		d := r.get(deliveries[3].ID)
		if d.Status != Pending || d.Attempts != 0 || !d.NextAttemptAt.After(r.Now()) || len(r.endpoint.got()) != 0 {
			t.Errorf("a crowded attempt: %+v; want it later, and not used up", d)
		}
		r.advance(lostAfter) // the leases end
		r.due(3)
		r.advance(5 * time.Minute)
		if got := r.count(); got[Delivered] != 5 {
			t.Errorf("%v", got)
		}
	})
}

func (r *rig) logs() []logRow {
	r.t.Helper()
	var all []logRow
	rows, _ := r.Pool.Query(r.t.Context(), `SELECT DISTINCT delivery_id FROM webhook_delivery_logs`)
	for rows.Next() {
		var d id.ID
		if err := rows.Scan(&d); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, r.logged(d)...)
	}
	return all
}

// An attempt that waited for its place within the rate finds the endpoint crowded. It does not
// have to wait for another place.
func TestCrowdedAttemptKeepsItsPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(r.endpoint.URL)
	r.exec(`UPDATE webhook_endpoints SET max_in_flight = 1, next_slot_at = $1`, r.Now().Add(time.Hour))
	payments := r.payments(2)
	for _, p := range payments {
		r.tell(p)
	}
	r.exec(`UPDATE webhook_deliveries SET slot = true`)
	if h, err := r.lease(t.Context(), r.deliveryOf(payments[0]).ID, 1); err != nil || h.Verdict != admitted {
		t.Fatalf("lease: %+v, %v", h, err)
	}
	second := r.deliveryOf(payments[1]).ID
	r.deliver(second, 1)
	r.exec(`UPDATE webhook_deliveries SET lease_token = NULL, lease_until = NULL`)
	r.deliver(second, 1)
	if d := r.get(second); d.Status != Delivered {
		t.Errorf("%+v; want it delivered when the other is done", d)
	}
}
