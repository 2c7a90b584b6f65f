package listpayments

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
)

func ids(a apitest.Answer) []string {
	var found []string
	data, _ := a.Member("data").([]any)
	for _, p := range data {
		object, _ := p.(map[string]any)
		text, _ := object["id"].(string)
		found = append(found, text)
	}
	return found
}

func TestPagesFollowEachOther(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	var made []string // newest first
	for range 5 {
		w.Advance(time.Second)
		made = append([]string{w.Payment("manual").ID}, made...)
	}
	var seen []string
	target := "/v1/payments?limit=2"
	for page := range 3 {
		a := w.Do(h, w.Request("GET", target, ""))
		if a.Status != http.StatusOK || (a.Member("has_more") == true) != (page < 2) || (a.Member("next_cursor") != nil) != (page < 2) {
			t.Fatalf("page %d: got %d %s", page, a.Status, a.Body)
		}
		seen = append(seen, ids(a)...)
		target = "/v1/payments?limit=2&cursor=" + url.QueryEscape(a.Text("next_cursor"))
		w.Advance(time.Second)
		w.Payment("manual") // shifts nothing
	}
	if strings.Join(seen, " ") != strings.Join(made, " ") {
		t.Errorf("saw %v, want %v", seen, made)
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	first := w.Payment("manual")
	w.Advance(time.Minute)
	middle := w.Clock.Now()
	w.Advance(time.Minute)
	second := w.Payment("automatic")
	_, stranger := w.Merchant("Stranger")
	stamp := url.QueryEscape(middle.Format(time.RFC3339))
	for query, want := range map[string][]string{
		"":                                       {second.ID, first.ID},
		"status=AUTHORIZED":                      {first.ID},
		"status=AUTHORIZED,CAPTURED":             {second.ID, first.ID},
		"status=AUTHORIZED&status=CAPTURED":      {second.ID, first.ID},
		"status=REFUNDED":                        nil,
		"created_after=" + stamp:                 {second.ID},
		"created_before=" + stamp:                {first.ID},
		"merchant_reference=" + first.Reference:  {first.ID},
		"merchant_reference=none":                nil,
		"currency=JPY&provider=stripe&limit=100": {second.ID, first.ID},
		"currency=USD":                           nil,
		"created_after=" + url.QueryEscape("2027-03-01T18:01:00+09:00"): {second.ID},
	} {
		a := w.Do(h, w.Request("GET", "/v1/payments?"+query, ""))
		if got := ids(a); a.Status != http.StatusOK || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: got %d %v, want %v", query, a.Status, got, want)
		}
	}
	if a := w.Do(h, w.Request("GET", "/v1/payments", "", "Authorization", "Bearer "+stranger.Reveal())); len(ids(a)) != 0 {
		t.Errorf("another merchant sees %s", a.Body)
	}
}

func TestWrongParametersAreNamed(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	h := w.Build(Build)
	before := w.Rows()
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=101": "limit", "limit=ten": "limit", "limit=1&limit=2": "limit",
		"cursor=x": "cursor", "cursor=": "cursor", "cursor=eyJ0IjoxfQ": "cursor",
		"cursor=" + strings.Repeat("A", 200): "cursor",
		"status=paid":                        "status", "status=": "status",
		"created_after=yesterday": "created_after", "created_before=2026-02-30T00:00:00Z": "created_before",
		"currency=yen": "currency", "stauts=PENDING": "stauts", "merchant_reference=%00": "merchant_reference",
	} {
		a := w.Do(h, w.Request("GET", "/v1/payments?"+query, ""))
		code, fields := a.Problem()
		if a.Status != http.StatusBadRequest || code != fault.InvalidRequest || len(fields) != 1 || fields[0].Name != field {
			t.Errorf("%s: got %d %s", query, a.Status, a.Body)
		}
	}
	a := w.Do(h, w.Request("GET", "/v1/payments?merchant_reference=4242424242424242", ""))
	if code, _ := a.Problem(); code != fault.CardNumber || strings.Contains(string(a.Body), "4242") {
		t.Errorf("a card number: %s", a.Body)
	}
	if a := w.Do(h, w.Request("GET", "/v1/payments", "", "Authorization", "")); a.Status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", a.Status)
	}
	if after := w.Rows(); !apitest.Same(before, after) {
		t.Errorf("reading wrote: %v became %v", before, after)
	}
}
