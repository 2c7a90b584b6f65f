package endpoint

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/webhook"
)

func (r *rig) disabledBy(by By) Endpoint {
	r.t.Helper()
	e, _ := r.create(New{})
	e, err := r.Disable(r.t.Context(), r.merchant, e.ID, by, "why")
	check(r.t, err)
	return e
}

func (r *rig) enable(e Endpoint, by By, replay *bool) (Endpoint, id.ID) {
	r.t.Helper()
	got, replayed, err := r.Enable(r.t.Context(), r.merchant, e.ID, by, replay)
	check(r.t, err)
	return got, replayed
}

func TestDisable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.disabledBy(Merchant)
	if e.Enabled || *e.DisabledBy != Merchant || *e.DisabledReason != "why" || !e.DisabledAt.Equal(r.Now()) {
		t.Errorf("disabled %+v", e)
	}
	r.advance(time.Hour)
	again, err := r.Disable(t.Context(), r.merchant, e.ID, Merchant, "another reason")
	if diff := cmp.Diff(e, again, utc); err != nil || diff != "" {
		t.Errorf("disabled twice: %v\n%s", err, diff)
	}
	// An operator's disabling holds, whoever was first.
	by, err := r.Disable(t.Context(), r.merchant, e.ID, Operator, "abuse")
	if err != nil || *by.DisabledBy != Operator || *by.DisabledReason != "abuse" || !by.DisabledAt.Equal(*e.DisabledAt) {
		t.Errorf("by an operator: %+v, %v", by, err)
	}
	if by, err = r.Disable(t.Context(), r.merchant, e.ID, Merchant, ""); err != nil || *by.DisabledBy != Operator {
		t.Errorf("by its merchant after that: %+v, %v", by, err)
	}
	if _, err := r.Disable(t.Context(), r.merchant, e.ID, Operator, "\x00"); !refused(err, fault.InvalidRequest, "reason") {
		t.Errorf("for no reason: %v", err)
	}
}

func TestEnableForgetsHowItAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{})
	r.exec(`UPDATE webhook_endpoints SET failing_since = $2, failures = 12 WHERE id = $1`, e.ID, r.Now())
	r.advance(time.Hour)
	_, err := r.Disable(t.Context(), r.merchant, e.ID, Merchant, "")
	check(t, err)
	r.advance(time.Hour)
	got, replay := r.enable(e, Merchant, nil)
	if !got.Enabled || got.DisabledAt != nil || got.DisabledBy != nil || got.DisabledReason != nil || got.FailingSince != nil || got.Failures != 0 {
		t.Errorf("enabled %+v", got)
	}
	if !replay.IsZero() {
		t.Error("it replays, though nobody asked")
	}
	r.advance(time.Hour)
	again, replay := r.enable(e, Merchant, ptr(true))
	if diff := cmp.Diff(got, again, utc); diff != "" || !replay.IsZero() {
		t.Errorf("enabled twice: a replay: %t\n%s", !replay.IsZero(), diff)
	}
}

func ptr[T any](v T) *T { return &v }

func TestEnableReplaysWhatWasMissed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		by     By
		asked  *bool
		wanted bool
	}{
		"it said so":                   {Gone, nil, true},
		"it failed":                    {Failing, nil, true},
		"it failed, not wanted":        {Failing, ptr(false), false},
		"by its merchant":              {Merchant, nil, false},
		"by its merchant, asked for":   {Merchant, ptr(true), true},
		"by its merchant, not wanted":  {Merchant, ptr(false), false},
		"by an operator":               {Operator, nil, false},
		"by an operator and asked for": {Operator, ptr(true), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			e := r.disabledBy(c.by)
			r.advance(time.Hour)
			_, replay := r.enable(e, Operator, c.asked)
			if !replay.IsZero() != c.wanted {
				t.Fatalf("a replay: %t; want %t", !replay.IsZero(), c.wanted)
			}
			if !c.wanted {
				return
			}
			got, err := r.Webhooks.GetReplay(t.Context(), r.merchant, replay)
			if err != nil || got.Reason != "enabled" || got.EndpointID != e.ID || !got.Since.Equal(*e.DisabledAt) || got.State != "collecting" {
				t.Errorf("replay %+v, %v", got, err)
			}
		})
	}
}

// What an endpoint missed begins before it was disabled: with its failures, and with
// what waited then.
func TestReplayBeginsWithTheFirstMissed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failing, waited, want time.Duration // before it was disabled
	}{
		"nothing before":      {want: 0},
		"its failures":        {failing: 5 * time.Hour, want: 5 * time.Hour},
		"what waited":         {waited: time.Hour, want: time.Hour},
		"failures, then that": {failing: 5 * time.Hour, waited: time.Hour, want: 5 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			e, _ := r.create(New{})
			r.delivery(e.ID, webhook.Abandoned, 9*time.Hour) // of another time when it was disabled
			r.advance(time.Hour)
			if c.failing > 0 {
				r.exec(`UPDATE webhook_endpoints SET failing_since = $2, failures = 12 WHERE id = $1`, e.ID, r.Now().Add(-c.failing))
			}
			e, err := r.Disable(t.Context(), r.merchant, e.ID, Merchant, "")
			check(t, err)
			if c.waited > 0 {
				r.delivery(e.ID, webhook.Abandoned, c.waited)
			}
			_, replay := r.enable(e, Merchant, ptr(true))
			got, err := r.Webhooks.GetReplay(t.Context(), r.merchant, replay)
			if err != nil || !got.Since.Equal(e.DisabledAt.Add(-c.want)) {
				t.Errorf("since %v, %v; want %v before %v", got.Since, err, c.want, e.DisabledAt)
			}
		})
	}
}

// The event that was answered with 410 is written down a moment before the endpoint is
// disabled for it.
func TestReplayBeginsWithTheEventThatHadItDisabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{})
	r.delivery(e.ID, webhook.Abandoned, time.Second)
	r.advance(20 * time.Millisecond)
	r.exec(`UPDATE webhook_endpoints SET enabled = false, disabled_at = $2, disabled_by = 'gone' WHERE id = $1`, e.ID, r.Now())
	r.advance(time.Hour)
	_, replay := r.enable(e, Merchant, nil)
	check(t, r.Webhooks.Turn(t.Context(), replay, 0))
	got, err := r.Webhooks.GetReplay(t.Context(), r.merchant, replay)
	if err != nil || got.Total != 1 {
		t.Errorf("replay %+v, %v; want the event that was refused in it", got, err)
	}
}

func TestOnlyOperatorsEnableWhatTheyDisabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.disabledBy(Operator)
	before := r.rows()
	if _, _, err := r.Enable(t.Context(), r.merchant, e.ID, Merchant, ptr(true)); !refused(err, fault.InvalidState, "") {
		t.Errorf("by its merchant: %v", err)
	}
	if after := r.rows(); !slices.Equal(before, after) {
		t.Errorf("what was refused changed something:\n%s", cmp.Diff(before, after))
	}
	if got, _ := r.enable(e, Operator, nil); !got.Enabled {
		t.Errorf("by an operator: %+v", got)
	}
}

// An endpoint is disabled while it is sent what it missed in an outage before.
func TestReplayCutShortByDisablingGoesOnAfterEnabling(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{})
	r.delivery(e.ID, webhook.Exhausted, 60*time.Hour)
	first, err := r.Webhooks.StartReplay(t.Context(), r.merchant, webhook.ReplayRequest{EndpointID: e.ID, Since: r.Now().Add(-72 * time.Hour)})
	check(t, err)
	r.exec(`UPDATE webhook_endpoints SET open_until = $2 WHERE id = $1`, e.ID, r.Now().Add(time.Hour)) // so that nothing is let go
	check(t, r.Webhooks.Turn(t.Context(), first.ID, 0))
	r.advance(time.Second)
	_, err = r.Disable(t.Context(), r.merchant, e.ID, Merchant, "")
	check(t, err)
	r.advance(time.Minute)
	check(t, r.Webhooks.Turn(t.Context(), first.ID, 1)) // finds it disabled
	r.advance(time.Minute)
	_, replay := r.enable(e, Merchant, ptr(true))
	check(t, r.Webhooks.Turn(t.Context(), replay, 0))
	got, err := r.Webhooks.GetReplay(t.Context(), r.merchant, replay)
	if err != nil || got.Total != 1 {
		t.Errorf("replay %+v, %v; want what the first one did not come to", got, err)
	}
}

// Cloud Tasks is away: the replay is in the database, and the sweep finds it.
func TestEnableWithoutAQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.disabledBy(Gone)
	r.queue.Stop()
	got, replay := r.enable(e, Merchant, nil)
	if !got.Enabled || replay.IsZero() {
		t.Errorf("enabled %+v, replay %v", got, replay)
	}
}

// What waited for its place within a low rate holds nothing up when the rate is raised, or
// the endpoint was off meanwhile.
func TestPlacesInARateThatIsNoMore(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rig, id.ID) error{
		"raised": func(r *rig, e id.ID) error {
			_, err := r.Update(t.Context(), r.merchant, e, Change{RateLimit: ptr(200)})
			return err
		},
		"enabled": func(r *rig, e id.ID) error {
			if _, err := r.Disable(t.Context(), r.merchant, e, Merchant, ""); err != nil {
				return err
			}
			_, _, err := r.Enable(t.Context(), r.merchant, e, Merchant, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			e, _ := r.create(New{})
			r.exec(`UPDATE webhook_endpoints SET next_slot_at = $2 WHERE id = $1`, e.ID, r.Now().Add(3*time.Hour))
			check(t, change(r, e.ID))
			var next *time.Time
			check(t, r.pool.QueryRow(t.Context(), `SELECT next_slot_at FROM webhook_endpoints WHERE id = $1`, e.ID).Scan(&next))
			if next != nil {
				t.Errorf("the next place is at %v; want now", next)
			}
		})
	}
}
