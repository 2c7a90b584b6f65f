package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/fault"
)

type order struct {
	Amount   int64             `json:"amount" api:"required"`
	Currency string            `json:"currency" api:"required"`
	Note     string            `json:"note"`
	Limit    *int64            `json:"limit"`
	Express  bool              `json:"express"`
	Metadata map[string]string `json:"metadata"`
	Payer    struct {
		Name string `json:"name" api:"required"`
	} `json:"payer"`
	Tags []string `json:"tags"`
}

func request(t *testing.T, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/orders", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var got order
	err := Decode(request(t, ` {"amount":5000, "currency":"JPY","note":"a\u00e9\n","limit":0,"express":true,
		"metadata":{"k":"v","":"empty"},"payer":{"name":"Ada"},"tags":["x","y"]} `+"\n"), &got)
	if err != nil {
		t.Fatal(err)
	}
	zero := int64(0)
	want := order{
		Amount: 5000, Currency: "JPY", Note: "aé\n", Limit: &zero, Express: true,
		Metadata: map[string]string{"k": "v", "": "empty"}, Tags: []string{"x", "y"},
	}
	want.Payer.Name = "Ada"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = order{}
	if err := Decode(request(t, `{"amount":-3,"currency":"x","metadata":{"k":""}}`), &got); err != nil || got.Amount != -3 || got.Limit != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnEmptyStringEmptiesWhatSaysSo(t *testing.T) {
	t.Parallel()
	var got struct {
		Note  *string `json:"note" api:"clearable"`
		Other *string `json:"other"`
	}
	if err := Decode(request(t, `{"note":""}`), &got); err != nil || got.Note == nil || *got.Note != "" {
		t.Errorf("got %v, %v", got.Note, err)
	}
	for body, field := range map[string]string{`{"other":""}`: "other", `{"note":null}`: "note", `{"note":"","note":"x"}`: "note"} {
		if err := Decode(request(t, body), &got); !fault.Is(err, fault.InvalidRequest) || fault.As(err).Fields[0].Name != field {
			t.Errorf("%s: %v; want %s refused", body, err, field)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	const rest = `,"currency":"JPY"}`
	for name, c := range map[string]struct {
		body  string
		code  fault.Code
		field string // and a word of its detail
	}{
		"empty":                     {"", fault.InvalidJSON, ""},
		"not JSON":                  {`amount=5000`, fault.InvalidJSON, ""},
		"cut off":                   {`{"amount":5000`, fault.InvalidJSON, ""},
		"trailing comma":            {`{"amount":5000,}`, fault.InvalidJSON, ""},
		"a comment":                 {`{"amount":5000/**/` + rest, fault.InvalidJSON, ""},
		"NaN":                       {`{"amount":NaN` + rest, fault.InvalidJSON, ""},
		"a leading zero":            {`{"amount":05000` + rest, fault.InvalidJSON, ""},
		"a plus sign":               {`{"amount":+5000` + rest, fault.InvalidJSON, ""},
		"not UTF-8":                 {`{"amount":5000,"note":"` + "\xff" + `"` + rest, fault.InvalidJSON, ""},
		"a byte order mark":         {"\ufeff" + `{"amount":5000` + rest, fault.InvalidJSON, ""},
		"two documents":             {`{"amount":5000` + rest + ` {}`, fault.InvalidJSON, ""},
		"a document and a letter":   {`{"amount":5000` + rest + `x`, fault.InvalidJSON, ""},
		"an array":                  {`[{"amount":5000` + rest + `]`, fault.InvalidJSON, ""},
		"a string":                  {`"amount"`, fault.InvalidJSON, ""},
		"null":                      {`null`, fault.InvalidJSON, ""},
		"too deep":                  {`{"metadata":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + rest, fault.InvalidJSON, ""},
		"an unknown member":         {`{"amount":5000,"capture":true` + rest, fault.InvalidRequest, "capture: is not a member"},
		"another case":              {`{"Amount":5000` + rest, fault.InvalidRequest, "Amount: is not a member"},
		"a missing member":          {`{"amount":5000}`, fault.InvalidRequest, "currency: is missing"},
		"a missing inner member":    {`{"amount":5000,"payer":{}` + rest, fault.InvalidRequest, "payer.name: is missing"},
		"null for a member":         {`{"amount":null` + rest, fault.InvalidRequest, "amount: is null; leave it out"},
		"null for an optional":      {`{"amount":5000,"limit":null` + rest, fault.InvalidRequest, "limit: is null; leave it out"},
		"a member twice":            {`{"amount":5000,"amount":5000` + rest, fault.InvalidRequest, "amount: stands twice"},
		"twice, once escaped":       {`{"amount":1,"\u0061mount":5000` + rest, fault.InvalidRequest, "amount: stands twice"},
		"twice in metadata":         {`{"amount":1,"metadata":{"k":"a","k":"b"}` + rest, fault.InvalidRequest, "metadata.k: stands twice"},
		"a fraction":                {`{"amount":50.5` + rest, fault.InvalidRequest, "amount: must be an integer"},
		"a whole fraction":          {`{"amount":5000.0` + rest, fault.InvalidRequest, "amount: must be an integer"},
		"an exponent":               {`{"amount":5e3` + rest, fault.InvalidRequest, "amount: must be an integer"},
		"a capital exponent":        {`{"amount":5E3` + rest, fault.InvalidRequest, "amount: must be an integer"},
		"negative zero":             {`{"amount":-0` + rest, fault.InvalidRequest, "amount: must be an integer"},
		"a number as a string":      {`{"amount":"5000"` + rest, fault.InvalidRequest, "amount: must be an integer"},
		"a boolean":                 {`{"amount":true` + rest, fault.InvalidRequest, "amount: must be an integer"},
		"beyond 64 bits":            {`{"amount":9223372036854775808` + rest, fault.InvalidRequest, "amount: is out of range"},
		"a string as a number":      {`{"amount":5000,"currency":392}`, fault.InvalidRequest, "currency: must be a string, not a number"},
		"an empty string":           {`{"amount":5000,"note":""` + rest, fault.InvalidRequest, "note: is empty; leave it out"},
		"an empty string in a list": {`{"amount":5000,"tags":[""]` + rest, fault.InvalidRequest, "tags[0]: is empty"},
		"a boolean as a string":     {`{"amount":5000,"express":"yes"` + rest, fault.InvalidRequest, "express: must be a boolean"},
		"metadata as a list":        {`{"amount":5000,"metadata":[]` + rest, fault.InvalidRequest, "metadata: must be an object"},
		"metadata of numbers":       {`{"amount":5000,"metadata":{"k":1}` + rest, fault.InvalidRequest, "metadata.k: must be a string"},
		"metadata of null":          {`{"amount":5000,"metadata":{"k":null}` + rest, fault.InvalidRequest, "metadata.k: is null"},
		"a list of numbers":         {`{"amount":5000,"tags":["a",1]` + rest, fault.InvalidRequest, "tags[1]: must be a string"},
		"a NUL in a string":         {`{"amount":5000,"note":"a\u0000b"` + rest, fault.InvalidRequest, "note: contains the character U+0000"},
		"a NUL in a name":           {`{"amount":5000,"metadata":{"\u0000":"b"}` + rest, fault.InvalidRequest, "contains the character U+0000"},
		"a card number":             {`{"amount":5000,"note":"4242 4242-4242 4242"` + rest, fault.CardNumber, ""},
		"a card number as a name":   {`{"amount":5000,"metadata":{"4242424242424242":"x"}` + rest, fault.CardNumber, ""},
		"an unknown card number":    {`{"amount":5000,"4242424242424242":"x"` + rest, fault.CardNumber, ""},
		"a full-width one":          {`{"amount":5000,"note":"４２４２４２４２４２４２４２４２"` + rest, fault.CardNumber, ""},
		"an escaped one":            {`{"amount":5000,"note":"\u0034242424242424242"` + rest, fault.CardNumber, ""},
		"one as a number":           {`{"amount":4242424242424242` + rest, fault.CardNumber, ""},
		"one in a string beside":    {`{"amount":"x","note":null,"other":["5555555555554444"]` + rest, fault.CardNumber, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Decode(request(t, c.body), new(order))
			if !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.field) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "4242") {
				t.Errorf("the refusal repeats the card number: %v", err)
			}
		})
	}
}

func TestDecodeNamesEveryFaultOfABody(t *testing.T) {
	t.Parallel()
	err := Decode(request(t, `{"amount":1.5,"x":1,"tags":[2]}`), new(order))
	want := []fault.Field{
		{Name: "amount", Detail: "must be an integer written in digits alone, such as 5000: no fraction, no exponent, no negative zero"},
		{Name: "x", Detail: "is not a member of this request; leave it out, or check its spelling"},
		{Name: "tags[0]", Detail: "must be a string, not a number"},
		{Name: "currency", Detail: "is missing"},
	}
	if diff := cmp.Diff(want, fault.As(err).Fields); diff != "" {
		t.Error(diff)
	}
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, `"%s%d":1,`, strings.Repeat("é", 200), i)
	}
	fields := fault.As(Decode(request(t, "{"+strings.TrimSuffix(many.String()[:60000], ",")+`"":1}`), new(order))).Fields
	for _, f := range fields {
		if len(f.Name) > maxName+len("…") {
			t.Errorf("a name of %d bytes is repeated", len(f.Name))
		}
	}
	if len(fields) > maxFaults {
		t.Errorf("%d faults", len(fields))
	}
}

func TestDecodeLooksAtTheHeadersFirst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"Content-Type", "application/json", true},
		{"Content-Type", "application/json; charset=UTF-8", true},
		{"Content-Type", "", false},
		{"Content-Type", "text/json", false},
		{"Content-Type", "application/json; charset=latin1", false},
		{"Content-Type", "application/json;;", false},
		{"Content-Type", "application/x-www-form-urlencoded", false},
		{"Content-Encoding", "identity", true},
		{"Content-Encoding", "gzip", false},
	} {
		r := request(t, `{"amount":1,"currency":"JPY"}`)
		r.Header.Set(c.name, c.value)
		err := Decode(r, new(order))
		if c.ok && err != nil || !c.ok && !fault.Is(err, fault.UnsupportedMedia) {
			t.Errorf("%s: %s: %v", c.name, c.value, err)
		}
	}
}

func TestBodyIsBoundedAndReadOnce(t *testing.T) {
	t.Parallel()
	exactly := `{"note":"` + strings.Repeat("x", MaxBody-len(`{"note":"","amount":1,"currency":"JPY"}`)) + `","amount":1,"currency":"JPY"}`
	r := request(t, exactly)
	if err := Decode(r, new(order)); err != nil {
		t.Fatal(err)
	}
	if b, err := Body(r, MaxBody); err != nil || string(b) != exactly {
		t.Errorf("the second time: %d bytes, %v", len(b), err)
	}
	declared := request(t, exactly+" ")
	declared.Body = io.NopCloser(iotest.ErrReader(errors.New("the body was read although its length says enough")))
	chunked := request(t, exactly+" ")
	chunked.ContentLength = -1
	for name, r := range map[string]*http.Request{"by its length": declared, "by its bytes": chunked} {
		if _, err := Body(r, MaxBody); !fault.Is(err, fault.BodyTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := request(t, "")
	broken.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := Body(broken, MaxBody); !fault.Is(err, fault.InvalidRequest) {
		t.Errorf("cut off: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"amount":5000,"currency":"JPY"}`, `{"amount":1,"amount":2}`, `{"metadata":{"a":"b"}}`, `[[[[`, `{"\ud800":1}`, "{\"\x00\":0}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var got order
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		err := Decode(r, &got)
		if err != nil && fault.As(err).Kind() != fault.KindInput {
			t.Errorf("%q: %v", body, err)
		}
		if err == nil && (strings.Count(body, `"amount"`) > 1 && got.Note == "" && len(got.Metadata) == 0 && len(got.Tags) == 0 && got.Payer.Name == "") {
			t.Errorf("took %q", body)
		}
	})
}
