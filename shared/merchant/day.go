package merchant

import (
	"context"
	"time"
	_ "time/tzdata" // an image may have no time zones of its own

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

// Day says when a merchant's business days end: each day when the clock on the wall there
// shows the cut-off.
type Day struct {
	zone         *time.Location
	hour, minute int
}

// ParseDay reads a time zone by its name in the IANA database and a cut-off such as
// "18:00". The day that ends at 00:00 is the one before.
func ParseDay(timezone, cutoff string) (Day, error) {
	zone, err := time.LoadLocation(timezone)
	if err != nil || timezone == "" || timezone == "Local" { // which are no places
		return Day{}, fault.Invalid("timezone", "%.60q is not a time zone; give its name, such as Asia/Tokyo", timezone)
	}
	at, err := time.Parse("15:04", cutoff)
	if err != nil || at.Format("15:04") != cutoff {
		return Day{}, fault.Invalid("cutoff", "%.20q is not a time of day, such as 18:00", cutoff)
	}
	return Day{zone, at.Hour(), at.Minute()}, nil
}

// Zone is the name of the time zone.
func (d Day) Zone() string { return d.zone.String() }

// Last is the last end of a business day that is not after t, and that day's date, at
// midnight UTC.
//
// Where clocks are put back over the cut-off, so that it is shown twice, the day ends at
// the later of the two that are not after t. Where they are put forward over it, so that
// it is never shown, the day ends when they are.
func (d Day) Last(t time.Time) (end, date time.Time) {
	local := t.In(d.zone)
	for ahead := 1; ; ahead-- { // a zone may be a day ahead of where the calendar of t's own is
		for _, end := range d.shown(local.Year(), local.Month(), local.Day()+ahead) {
			if end.After(t) {
				continue
			}
			date := time.Date(local.Year(), local.Month(), local.Day()+ahead, 0, 0, 0, 0, time.UTC)
			if d.hour == 0 && d.minute == 0 {
				date = date.AddDate(0, 0, -1)
			}
			return end.UTC(), date
		}
	}
}

// shown lists when the clock shows the cut-off on a date, the later before the earlier;
// when it is put forward over it, the moment of that.
func (d Day) shown(year int, month time.Month, day int) []time.Time {
	wall := time.Date(year, month, day, d.hour, d.minute, 0, 0, time.UTC)
	// The offsets that apply around the date. No place changes its clocks twice in two days.
	before, after := d.offset(wall.Add(-24*time.Hour)), d.offset(wall.Add(24*time.Hour))
	var shown []time.Time
	for _, offset := range []time.Duration{min(before, after), max(before, after)} { // the smaller offset is the later time
		at := wall.Add(-offset)
		if d.offset(at) == offset && (len(shown) == 0 || !shown[0].Equal(at)) {
			shown = append(shown, at)
		}
	}
	if len(shown) == 0 {
		// By the former offset it would be after the change: when that was, its zone began.
		jump, _ := wall.Add(-before).In(d.zone).ZoneBounds()
		shown = append(shown, jump)
	}
	return shown
}

func (d Day) offset(at time.Time) time.Duration {
	_, seconds := at.In(d.zone).Zone()
	return time.Duration(seconds) * time.Second
}

// SetDay says when the merchant's business days end, from the next settlement on.
func (s *Store) SetDay(ctx context.Context, merchant id.ID, timezone, cutoff string) error {
	if _, err := ParseDay(timezone, cutoff); err != nil {
		return err
	}
	tag, err := s.DB.Exec(ctx, updateDay, merchant, timezone, cutoff, s.Now().UTC())
	if err == nil && tag.RowsAffected() == 0 {
		return notFound("merchant")
	}
	return fault.Wrap(err, "set a merchant's business day")
}
