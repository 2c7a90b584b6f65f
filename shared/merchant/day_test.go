package merchant

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/shared/fault"
)

func day(t interface{ Fatal(...any) }, zone, cutoff string) Day {
	d, err := ParseDay(zone, cutoff)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLastIsTheEndOfTheMerchantsDay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, cutoff, at, end, date string }{
		// 02:00 in Tokyo is 17:00 UTC.
		{"Asia/Tokyo", "00:00", "2026-11-23T17:00:00Z", "2026-11-23T15:00:00Z", "2026-11-23"},
		{"Asia/Tokyo", "00:00", "2026-11-23T15:00:00Z", "2026-11-23T15:00:00Z", "2026-11-23"}, // at the very moment
		{"Asia/Tokyo", "00:00", "2026-11-23T14:59:59Z", "2026-11-22T15:00:00Z", "2026-11-22"},
		{"Asia/Tokyo", "18:00", "2026-11-23T17:00:00Z", "2026-11-23T09:00:00Z", "2026-11-23"},
		{"Asia/Tokyo", "02:30", "2026-11-23T17:00:00Z", "2026-11-22T17:30:00Z", "2026-11-23"},
		{"UTC", "00:00", "2026-11-23T17:00:00Z", "2026-11-23T00:00:00Z", "2026-11-22"},
		{"America/New_York", "00:00", "2026-11-23T17:00:00Z", "2026-11-23T05:00:00Z", "2026-11-22"},
		{"Asia/Kathmandu", "00:00", "2026-11-23T17:00:00Z", "2026-11-22T18:15:00Z", "2026-11-22"},
		{"Pacific/Kiritimati", "00:00", "2026-11-23T17:00:00Z", "2026-11-23T10:00:00Z", "2026-11-23"}, // 14 hours ahead

		// 2026-03-08 in New York: from 02:00 to 03:00. The cut-off is never shown; the day ends when clocks are put forward.
		{"America/New_York", "02:30", "2026-03-08T17:00:00Z", "2026-03-08T07:00:00Z", "2026-03-08"},
		{"America/New_York", "02:30", "2026-03-08T06:59:59Z", "2026-03-07T07:30:00Z", "2026-03-07"},
		{"America/New_York", "02:00", "2026-03-08T17:00:00Z", "2026-03-08T07:00:00Z", "2026-03-08"},
		{"America/New_York", "03:00", "2026-03-08T17:00:00Z", "2026-03-08T07:00:00Z", "2026-03-08"},
		// 2026-11-01: from 02:00 back to 01:00. It is shown twice; the day ends at the later, once that is over.
		{"America/New_York", "01:30", "2026-11-01T17:00:00Z", "2026-11-01T06:30:00Z", "2026-11-01"},
		{"America/New_York", "01:30", "2026-11-01T06:29:59Z", "2026-11-01T05:30:00Z", "2026-11-01"},
		{"America/New_York", "01:30", "2026-11-01T05:29:59Z", "2026-10-31T05:30:00Z", "2026-10-31"},
		{"America/New_York", "01:00", "2026-11-01T17:00:00Z", "2026-11-01T06:00:00Z", "2026-11-01"},
		{"America/New_York", "02:00", "2026-11-01T17:00:00Z", "2026-11-01T07:00:00Z", "2026-11-01"},
		// Half an hour, in Australia: 2026-10-04 from 02:00 to 02:30.
		{"Australia/Lord_Howe", "02:15", "2026-10-04T01:00:00Z", "2026-10-03T15:30:00Z", "2026-10-04"},
		// Midnight itself: in Beirut 2026-03-29 begins at 01:00.
		{"Asia/Beirut", "00:00", "2026-03-29T17:00:00Z", "2026-03-28T22:00:00Z", "2026-03-28"},
		// A whole day that never was: Samoa went from the 29th to the 31st of December 2011.
		{"Pacific/Apia", "18:00", "2011-12-30T11:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		end, date := day(t, c.zone, c.cutoff).Last(at)
		if got, of := end.Format(time.RFC3339), date.Format(time.DateOnly); got != c.end || of != c.date {
			t.Errorf("%s %s at %s: %s ended at %s, want %s at %s", c.zone, c.cutoff, c.at, of, got, c.date, c.end)
		}
	}
}

// Whatever the zone: the end is not after the time, no later one is, and dates don't go back.
func TestLastIsTheLatest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{
			"Asia/Tokyo", "America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia",
			"Africa/Casablanca", "UTC",
		}).Draw(t, "zone")
		cutoff := time.Unix(60*rapid.Int64Range(0, 24*60-1).Draw(t, "minute"), 0).UTC().Format("15:04")
		d := day(t, zone, cutoff)
		at := time.Unix(rapid.Int64Range(1_300_000_000, 1_900_000_000).Draw(t, "at"), 0).UTC()
		end, date := d.Last(at)
		if end.After(at) || at.Sub(end) > 50*time.Hour {
			t.Fatalf("%s %s at %s: %s", zone, cutoff, at, end)
		}
		if again, same := d.Last(end); !again.Equal(end) || !same.Equal(date) {
			t.Fatalf("the last end at %s is %s", end, again)
		}
		later, next := d.Last(at.Add(24 * time.Hour))
		if later.Before(end) || next.Before(date) || next.Sub(date) > 48*time.Hour {
			t.Fatalf("%s %s: %s at %s, and %s at %s a day later", zone, cutoff, date, end, next, later)
		}
	})
}

func TestNoSuchDay(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"", "00:00"},
		{"Local", "00:00"},
		{"Mars/Olympus", "00:00"},
		{"../etc/passwd", "00:00"},
		{"Asia/Tokyo", ""},
		{"Asia/Tokyo", "24:00"},
		{"Asia/Tokyo", "9:00"},
		{"Asia/Tokyo", "12:00:30"},
	} {
		if d, err := ParseDay(c[0], c[1]); err == nil {
			t.Errorf("%q, %q: %v", c[0], c[1], d)
		}
	}
}

func TestADayIsSet(t *testing.T) {
	t.Parallel()
	s, tx := newStore(t)
	m, _, _ := issue(t, s)
	stored := func(want string) {
		t.Helper()
		var got string
		err := tx.QueryRow(t.Context(), `SELECT timezone || ' ' || to_char(settlement_cutoff, 'HH24:MI') FROM merchants WHERE id = $1`, m.ID).Scan(&got)
		if err != nil || got != want {
			t.Errorf("stored: %q, %v; want %q", got, err, want)
		}
	}
	stored("Asia/Tokyo 00:00")
	if err := s.SetDay(t.Context(), m.ID, "Europe/Paris", "18:30"); err != nil {
		t.Fatal(err)
	}
	stored("Europe/Paris 18:30")
	if err := s.SetDay(t.Context(), m.ID, "Europe/Paris", "18:30:30"); !fault.Is(err, fault.InvalidRequest) {
		t.Errorf("a cut-off with seconds: %v", err)
	}
	if err := s.SetDay(t.Context(), s.NewID(), "UTC", "00:00"); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such merchant: %v", err)
	}
	stored("Europe/Paris 18:30")
}
