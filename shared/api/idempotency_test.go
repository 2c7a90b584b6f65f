package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 255)
	for _, c := range []struct {
		values []string
		key    string
		code   fault.Code
	}{
		{[]string{"8e03978e-40d5-43dd-bc93-6894a57f9324"}, "8e03978e-40d5-43dd-bc93-6894a57f9324", ""},
		{[]string{`"8e03978e-40d5-43dd-bc93-6894a57f9324"`}, "8e03978e-40d5-43dd-bc93-6894a57f9324", ""},
		{[]string{`"sixteen\"chars\\!!"`}, `sixteen"chars\!!`, ""},
		{[]string{`back\slash-is-bare`}, `back\slash-is-bare`, ""},
		{[]string{"sixteen-or-more!"}, "sixteen-or-more!", ""},
		{[]string{long}, long, ""},
		{[]string{`"` + long + `"`}, long, ""},
		{nil, "", fault.IdempotencyKeyMissing},
		{[]string{""}, "", fault.IdempotencyKeyMissing},
		{[]string{"  "}, "", fault.IdempotencyKeyMissing},
		{[]string{`""`}, "", fault.IdempotencyKeyInvalid},
		{[]string{"fifteen-charact"}, "", fault.IdempotencyKeyInvalid},
		{[]string{`"fifteen-charact"`}, "", fault.IdempotencyKeyInvalid},
		{[]string{long + "k"}, "", fault.IdempotencyKeyInvalid},
		{[]string{`"sixteen-or-more!`}, "", fault.IdempotencyKeyInvalid},
		{[]string{`sixteen-or-more!"`}, "", fault.IdempotencyKeyInvalid},
		{[]string{`sixteen"or"more!`}, "", fault.IdempotencyKeyInvalid},
		{[]string{`"sixteen-or-more!\"`}, "", fault.IdempotencyKeyInvalid},
		{[]string{`"sixteen-\or-more!"`}, "", fault.IdempotencyKeyInvalid},
		{[]string{`"sixteen-or-more!";a=1`}, "", fault.IdempotencyKeyInvalid},
		{[]string{`"`}, "", fault.IdempotencyKeyInvalid},
		{[]string{"sixteen or more!"}, "", fault.IdempotencyKeyInvalid},
		{[]string{`"sixteen or more!"`}, "", fault.IdempotencyKeyInvalid},
		{[]string{"sixteen-or-more!é"}, "", fault.IdempotencyKeyInvalid},
		{[]string{"sixteen-or-more!\x7f"}, "", fault.IdempotencyKeyInvalid},
		{[]string{"sixteen-or-more!", "sixteen-or-more!"}, "", fault.IdempotencyKeyInvalid},
		{[]string{"order-4242424242424242"}, "", fault.CardNumber},
		{[]string{`"4242-4242-4242-4242"`}, "", fault.CardNumber},
	} {
		key, err := idempotencyKey(http.Header{"Idempotency-Key": c.values})
		if c.code == "" && (err != nil || key != c.key) || c.code != "" && !fault.Is(err, c.code) {
			t.Errorf("%q: got %q, %v", c.values, key, err)
		}
		if err != nil && (strings.Contains(err.Error(), "4242") || c.code != fault.CardNumber && fault.As(err).Fields[0].Name != "Idempotency-Key") {
			t.Errorf("%q: in the words %v", c.values, err)
		}
	}
}

func TestIdempotentNamesTheRequest(t *testing.T) {
	t.Parallel()
	r := request(t, `{"amount":1.0}`)
	r.Header.Set("Idempotency-Key", "sixteen-or-more!")
	merchant := id.ID{1}
	got, err := Idempotent(r, merchant)
	if err != nil {
		t.Fatal(err)
	}
	if got.MerchantID != merchant || got.Key != "sixteen-or-more!" || got.Method != "POST" || got.Path != "/v1/orders" || string(got.Body) != `{"amount":1.0}` {
		t.Errorf("got %+v", got)
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	f.Add(`"8e03978e-40d5-43dd-bc93-6894a57f9324"`)
	f.Add(`"a\"\\`)
	f.Fuzz(func(t *testing.T, value string) {
		key, err := idempotencyKey(http.Header{"Idempotency-Key": {value}})
		if err != nil {
			return
		}
		if len(key) < 16 || len(key) > 255 || strings.IndexFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) >= 0 {
			t.Errorf("%q became %q", value, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := idempotencyKey(http.Header{"Idempotency-Key": {quoted}}); err != nil || again != key {
			t.Errorf("%q is %q bare and %q, %v quoted", value, key, again, err)
		}
	})
}
