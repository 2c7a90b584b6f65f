package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

type search struct {
	Status []string
	Limit  int
	After  time.Time
	Ref    string
}

func read(t *testing.T, query string) (search, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/payments", nil)
	r.URL.RawQuery = query
	q := ReadQuery(r, "status", "limit", "after", "ref")
	s := search{q.Strings("status"), q.Int("limit", 1, 100), q.Time("after"), q.String("ref")}
	return s, q.Err()
}

func TestQuery(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 123000, time.UTC)
	for query, want := range map[string]search{
		"":                                      {},
		"status=PENDING&status=FAILED,CANCELED": {Status: []string{"PENDING", "FAILED", "CANCELED"}},
		"limit=100":                             {Limit: 100},
		"limit=1&ref=a+b%2C%C3%A9":              {Limit: 1, Ref: "a b,é"},
		"after=2026-03-01T09:00:00.000123Z":     {After: at},
		"after=2026-03-01T18:00:00.000123%2B09:00": {After: at.In(time.FixedZone("", 9*3600))},
	} {
		got, err := read(t, query)
		if diff := cmp.Diff(want, got, cmp.Comparer(time.Time.Equal)); err != nil || diff != "" {
			t.Errorf("%s: %v %s", query, err, diff)
		}
	}
}

func TestQueryRefuses(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"limit=0": "limit: must be an integer between 1 and 100", "limit=101": "limit: ", "limit=-1": "limit: ",
		"limit=1.0": "limit: ", "limit=+5": "limit: ", "limit=05": "limit: ", "limit=1e1": "limit: ", "limit=99999999999999999999": "limit: ",
		"limit=": "limit: is empty", "limit=1&limit=2": "limit: is given 2 times", "limit=%D9%A1": "limit: ",
		"after=2026-03-01": "after: must be a time", "after=1772355600": "after: ", "after=2026-03-01T09:00:00": "after: ",
		"after=2026-03-01T18:00:00+09:00": "%2B", "after=0000-01-01T00:00:00Z": "after: ",
		"status=": "status: has an item that is empty", "status=PENDING,,FAILED": "status: ", "status=%00": "status: ",
		"stauts=PENDING": "stauts: is not a parameter", "Status=PENDING": "Status: is not", "ref=%00": "ref: contains",
		"a;b": "can't be parsed", "ref=%zz": "can't be parsed",
	} {
		got, err := read(t, query)
		if !fault.Is(err, fault.InvalidRequest) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v", query, got, err)
		}
	}
	for _, query := range []string{"ref=4242424242424242", "4242-4242-4242-4242=x", "x=4242+4242+4242+4242"} {
		if _, err := read(t, query); !fault.Is(err, fault.CardNumber) || strings.Contains(err.Error(), "4242") {
			t.Errorf("%s: %v", query, err)
		}
	}
}

func TestPathID(t *testing.T) {
	t.Parallel()
	want := id.ID{1, 2, 3}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.SetPathValue("id", id.Payment.External(want))
	if got, err := PathID(r, id.Payment); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "pay_", want.String(), id.Refund.External(want), id.Payment.External(want) + "0"} {
		r.SetPathValue("id", s)
		if got, err := PathID(r, id.Payment); !fault.Is(err, fault.NotFound) || !got.IsZero() {
			t.Errorf("%q: got %v, %v", s, got, err)
		}
	}
}
