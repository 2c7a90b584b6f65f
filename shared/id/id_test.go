package id

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNewCarriesTheInjectedTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2031, 5, 6, 7, 8, 9, 123e6, time.UTC)
	u := Source{Now: func() time.Time { return at }}.New()
	if !u.Time().Equal(at) {
		t.Errorf("Time() = %v, want %v", u.Time(), at)
	}
	if u[6]>>4 != 7 || u[8]>>6 != 2 {
		t.Errorf("%s is not a UUIDv7", u)
	}
}

func TestExternalRoundTripsAndSorts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.Custom(func(t *rapid.T) ID {
			return ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		}).Filter(func(u ID) bool { return !u.IsZero() }) // the zero ID has no spelling
		a, b := ids.Draw(t, "a"), ids.Draw(t, "b")
		got, err := Payment.Parse(Payment.External(a))
		if err != nil || got != a {
			t.Fatalf("Parse(External(%s)) = %s, %v", a, got, err)
		}
		if want := bytes.Compare(a[:], b[:]); want != 0 && (Payment.External(a) < Payment.External(b)) != (want < 0) {
			t.Fatalf("%s and %s sort otherwise outside", a, b)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := Payment.External(ID{1, 2, 3})
	for _, s := range []string{
		"", "pay_", "pay_short", "re" + good[3:], good + "0", good[:len(good)-1] + "u",
		"PAY" + good[3:], good[:4] + "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
		good[:len(good)-1] + "1", // two spare bits that are not zero: a second spelling of the same ID
	} {
		if u, err := Payment.Parse(s); err == nil {
			t.Errorf("Parse(%q) = %s, want an error", s, u)
		}
	}
}
