package stripe

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tollgate/tollgate/shared/provider/wire"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, want string }{
		"nothing": {"", ""},
		"what is kept": {
			`{"id":"pi_1","object":"payment_intent","amount":5000,"livemode":false,"next":null,"list":[1,-2.5e3,"x"],"status":"succeeded"}`,
			`{"id":"pi_1","object":"payment_intent","amount":5000,"livemode":false,"next":null,"list":[1,-2.5e3,"[masked]"],"status":"succeeded"}`,
		},
		"secrets":         {`{"client_secret":"pi_1_secret_x","redirect_to_url":{"url":"https://hooks"}}`, `{"client_secret":"[masked]","redirect_to_url":{"url":"[masked]"}}`},
		"the payer":       {`{"billing_details":{"address":{"city":"Kyoto"},"name":"A B","phone":""}}`, `{"billing_details":{"address":{"city":"[masked]"},"name":"[masked]","phone":""}}`},
		"the card":        {`{"card":{"last4":"4242","exp_month":12,"exp_year":2034,"fingerprint":"abc"}}`, `{"card":{"last4":"4242","exp_month":"[masked]","exp_year":"[masked]","fingerprint":"[masked]"}}`},
		"a card number":   {`{"message":"no 4242 4242 4242 4242","number":4242424242424242}`, `{"message":"no [masked]","number":"[masked]"}`},
		"in a key":        {`{"4242424242424242":1}`, `{"[masked]":1}`},
		"an API key":      {`{"message":"Invalid API Key: sk_test_abcdefgh12345678"}`, `{"message":"Invalid API Key: [masked]"}`},
		"our metadata":    {`{"metadata":{"tollgate_payment":"pay_1","email":"a@b.c"}}`, `{"metadata":{"tollgate_payment":"pay_1","email":"[masked]"}}`},
		"arrays":          {`[{"id":"a"},[],{},{"type":["b","c"]}]`, `[{"id":"a"},[],{},{"type":["b","c"]}]`},
		"cut":             {`{"id":"pi_1","client_secret":"pi_1_sec`, `{"id":"pi_1","client_secret":…[cut]`},
		"cut early":       {`{`, `{…[cut]`},
		"two documents":   {`{"id":"a"}{"name":"b"}`, `{"id":"a"}{"name":"[masked]"}`},
		"then garbage":    {`{"id":"a"} <html>`, `{"id":"a"}…[cut]`},
		"HTML":            {"<html>\x00\xff4242424242424242</html>", "<html>??[masked]</html>"},
		"a damaged start": {"\ufeff{\"client_secret\":\"x\"}", "\ufeff…[cut]"},
		"a string":        {`"pi_1"`, `"pi_1"`},
		"a NUL":           {`{"message":"a\u0000b"}`, `{"message":"a?b"}`},
	} {
		if got := kept.Reply([]byte(c.body)); got != c.want {
			t.Errorf("%s: mask(%s)\n got %s\nwant %s", name, c.body, got, c.want)
		}
	}
}

func TestMaskIsBounded(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"many members": "[" + strings.Repeat(`{"id":"pi_1"},`, wire.MaxEvidenceBytes) + "1]",
		"one string":   `{"message":"` + strings.Repeat("é", wire.MaxEvidenceBytes) + `"}`,
		"deep":         strings.Repeat("[", 9000),
		"a page":       strings.Repeat("<p>", wire.MaxEvidenceBytes),
	} {
		got := kept.Reply([]byte(body))
		if len(got) > wire.MaxEvidenceBytes || !strings.HasSuffix(got, "…[cut]") || !utf8.ValidString(got) {
			t.Errorf("%s: %d bytes ending in %q", name, len(got), got[max(0, len(got)-20):])
		}
	}
}

// A whole document stays one, with the same shape.
func FuzzMask(f *testing.F) {
	f.Add(intentIn("requires_capture").bytes())
	f.Add([]byte(`{"a":[{"b":{}},[[1]],"c",null,true],"d":-0.1e5}`))
	f.Add([]byte(`{"a":{"id":"x"},"b":"y"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := kept.Reply(body)
		if len(got) > wire.MaxEvidenceBytes || !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Fatalf("mask(%q) = %q", body, got)
		}
		if len(body) > 0 && (body[0] == '{' || body[0] == '[') && json.Valid(body) && len(body) < 1000 && !json.Valid([]byte(got)) {
			t.Errorf("mask(%s) is no longer JSON: %s", body, got)
		}
	})
}
