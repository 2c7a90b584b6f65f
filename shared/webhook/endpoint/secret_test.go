package endpoint

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/webhook/sender"
)

func (r *rig) rotate(e Endpoint, overlap time.Duration) Rotation {
	r.t.Helper()
	made, err := r.RotateSecret(r.t.Context(), r.merchant, e.ID, overlap)
	check(r.t, err)
	return made
}

func TestRotationOverlaps(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{sender.SchemeV1, sender.SchemeV1a} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			e, first := r.create(New{Signature: scheme})
			start := r.Now()
			r.advance(time.Hour)
			second := r.rotate(e, DefaultOverlap)
			ends := r.Now().Add(DefaultOverlap)
			if second.Signature != scheme || second.Key == first {
				t.Errorf("rotated to %s, the same key: %t", second.Signature, second.Key == first)
			}
			want := []Signing{{CreatedAt: r.Now()}, {CreatedAt: start, ExpiresAt: &ends}}
			if diff := cmp.Diff(want, second.Signing, utc); diff != "" {
				t.Errorf("signing (-want +got):\n%s", diff)
			}
			kept := r.secrets(e.ID)
			if len(kept) != 2 || (sender.Key{Scheme: scheme, Secret: []byte(kept[0])}).Spell() != second.Key ||
				(sender.Key{Scheme: scheme, Secret: []byte(kept[1])}).Spell() != first {
				t.Error("the sealed keys are not the ones that were shown")
			}

			// A later rotation does not lengthen an earlier one's overlap.
			r.advance(time.Hour)
			third := r.rotate(e, MaxOverlap)
			if len(third.Signing) != 3 || !third.Signing[2].ExpiresAt.Equal(ends) || !third.Signing[1].ExpiresAt.Equal(r.Now().Add(MaxOverlap)) {
				t.Errorf("signing %+v", third.Signing)
			}
			// What has ended is destroyed by the next; without an overlap all of it ends.
			r.advance(DefaultOverlap)
			if fourth := r.rotate(e, MaxOverlap); len(fourth.Signing) != 3 || len(r.secrets(e.ID)) != 3 {
				t.Errorf("signing %+v", fourth.Signing)
			}
			if last := r.rotate(e, 0); len(last.Signing) != 1 || last.Signing[0].ExpiresAt != nil || len(r.secrets(e.ID)) != 1 {
				t.Errorf("signing %+v", last.Signing)
			}
		})
	}
}

func TestFiveKeysSignAtMost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{})
	for range 4 {
		r.advance(time.Hour)
		r.rotate(e, 2*DefaultOverlap)
	}
	before := r.rows()
	ends := r.Now().Add(-3*time.Hour + 2*DefaultOverlap).Format(time.RFC3339)
	if _, err := r.RotateSecret(t.Context(), r.merchant, e.ID, time.Hour); !refused(err, fault.InvalidState, "") || !strings.Contains(err.Error(), ends) {
		t.Errorf("a sixth: %v; want the end of the first, %s", err, ends)
	}
	if after := r.rows(); !slices.Equal(before, after) {
		t.Errorf("what was refused changed something:\n%s", cmp.Diff(before, after))
	}
	if last := r.rotate(e, 0); len(last.Signing) != 1 {
		t.Errorf("ending all others: %+v", last.Signing)
	}
}

func TestOverlapsThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.create(New{})
	before := r.rows()
	for _, overlap := range []time.Duration{-time.Second, MaxOverlap + time.Second} {
		if _, err := r.RotateSecret(t.Context(), r.merchant, e.ID, overlap); !refused(err, fault.InvalidRequest, "overlap_seconds") {
			t.Errorf("%v: %v", overlap, err)
		}
	}
	if after := r.rows(); !slices.Equal(before, after) {
		t.Errorf("something changed:\n%s", cmp.Diff(before, after))
	}
}
