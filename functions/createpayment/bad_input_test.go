package createpayment

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/api"
	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
)

// Every refusal is a problem document with a stable code, and with the field where
// there is one; and nothing is written.
func TestBadInput(t *testing.T) {
	t.Parallel()
	with := func(old, replacement string) string { return strings.Replace(good, old, replacement, 1) }
	const card = "4242424242424242"
	cases := map[string]struct {
		body   string
		header []string // beside a good Idempotency-Key
		status int
		code   fault.Code
		field  string
	}{
		"body too large":      {body: with(`"v"`, `"`+strings.Repeat("x", api.MaxBody)+`"`), status: 413, code: fault.BodyTooLarge},
		"not JSON":            {body: "amount=5000&currency=JPY", status: 400, code: fault.InvalidJSON},
		"empty":               {body: "", status: 400, code: fault.InvalidJSON},
		"cut off":             {body: good[:40], status: 400, code: fault.InvalidJSON},
		"two documents":       {body: good + good, status: 400, code: fault.InvalidJSON},
		"an array":            {body: "[" + good + "]", status: 400, code: fault.InvalidJSON},
		"not declared JSON":   {body: good, header: []string{"Content-Type", "text/plain"}, status: 415, code: fault.UnsupportedMedia},
		"nothing declared":    {body: good, header: []string{"Content-Type", ""}, status: 415, code: fault.UnsupportedMedia},
		"unknown member":      {body: with(`"k":"v"}`, `"k":"v"},"capture":true`), status: 400, code: fault.InvalidRequest, field: "capture"},
		"another case":        {body: with(`"amount"`, `"Amount"`), status: 400, code: fault.InvalidRequest, field: "Amount"},
		"missing amount":      {body: with(`"amount":5000,`, ""), status: 400, code: fault.InvalidRequest, field: "amount"},
		"missing currency":    {body: with(`"currency":"JPY",`, ""), status: 400, code: fault.InvalidRequest, field: "currency"},
		"missing method":      {body: with(`"payment_method":"pm_card_visa",`, ""), status: 400, code: fault.InvalidRequest, field: "payment_method"},
		"null":                {body: with("5000", "null"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"amount 0":            {body: with("5000", "0"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"amount negative":     {body: with("5000", "-5000"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"amount negative 0":   {body: with("5000", "-0"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"amount fractional":   {body: with("5000", "50.5"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"amount 5000.0":       {body: with("5000", "5000.0"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"an exponent":         {body: with("5000", "5e3"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"amount as a string":  {body: with("5000", `"5000"`), status: 400, code: fault.InvalidRequest, field: "amount"},
		"above the limit":     {body: with("5000", "100000000"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"beyond 64 bits":      {body: with("5000", "92233720368547758080"), status: 400, code: fault.InvalidRequest, field: "amount"},
		"duplicate key":       {body: with(`"amount":5000`, `"amount":5000,"amount":5000`), status: 400, code: fault.InvalidRequest, field: "amount"},
		"duplicate inside":    {body: with(`"k":"v"`, `"k":"v","k":"w"`), status: 400, code: fault.InvalidRequest, field: "metadata.k"},
		"unknown currency":    {body: with("JPY", "XYZ"), status: 400, code: fault.InvalidRequest, field: "currency"},
		"lower-case currency": {body: with("JPY", "jpy"), status: 400, code: fault.InvalidRequest, field: "currency"},
		"not representable":   {body: with(`5000,"currency":"JPY"`, `5001,"currency":"BHD"`), status: 400, code: fault.AmountNotSupported},
		"currency not taken":  {body: with("JPY", "IRR"), status: 400, code: fault.CurrencyNotSupported},
		"unknown provider":    {body: with(`"stripe"`, `"nobody"`), status: 400, code: fault.InvalidRequest, field: "provider"},
		"unknown method":      {body: with(`"manual"`, `"later"`), status: 400, code: fault.InvalidRequest, field: "capture_method"},
		"empty reference":     {body: with(`"order-17"`, `""`), status: 400, code: fault.InvalidRequest, field: "merchant_reference"},
		"long reference":      {body: with(`order-17`, strings.Repeat("é", 256)), status: 400, code: fault.InvalidRequest, field: "merchant_reference"},
		"metadata of numbers": {body: with(`"v"`, `1`), status: 400, code: fault.InvalidRequest, field: "metadata.k"},
		"a NUL":               {body: with(`"v"`, `"\u0000"`), status: 400, code: fault.InvalidRequest, field: "metadata.k"},
		"expiry too short":    {body: with(`"amount"`, `"expires_in":59,"amount"`), status: 400, code: fault.InvalidRequest, field: "expires_in"},
		"return_url":          {body: with(`"amount"`, `"return_url":"javascript:alert(1)","amount"`), status: 400, code: fault.InvalidRequest, field: "return_url"},

		"a card number":             {body: with("pm_card_visa", card), status: 400, code: fault.CardNumber},
		"a card number in metadata": {body: with(`"v"`, `"card 4242 4242-4242 4242!"`), status: 400, code: fault.CardNumber},
		"a card number as a name":   {body: with(`"k"`, `"`+card+`"`), status: 400, code: fault.CardNumber},
		"a full-width card number":  {body: with(`"v"`, `"４２４２４２４２４２４２４２４２"`), status: 400, code: fault.CardNumber},
		"a card number, escaped":    {body: with(`"v"`, `"\u0034242424242424242"`), status: 400, code: fault.CardNumber},
		"a card number, unknown":    {body: with(`"k":"v"}`, `"k":"v"},"card":"`+card+`"`), status: 400, code: fault.CardNumber},
		"a card number as the key":  {body: good, header: []string{"Idempotency-Key", card}, status: 400, code: fault.CardNumber},

		"no key":              {body: good, header: []string{"Idempotency-Key", ""}, status: 400, code: fault.IdempotencyKeyMissing, field: "Idempotency-Key"},
		"key too short":       {body: good, header: []string{"Idempotency-Key", "fifteen-charact"}, status: 400, code: fault.IdempotencyKeyInvalid, field: "Idempotency-Key"},
		"key too long":        {body: good, header: []string{"Idempotency-Key", strings.Repeat("k", 256)}, status: 400, code: fault.IdempotencyKeyInvalid, field: "Idempotency-Key"},
		"key with a space":    {body: good, header: []string{"Idempotency-Key", "order 17 attempt 1"}, status: 400, code: fault.IdempotencyKeyInvalid, field: "Idempotency-Key"},
		"key not closed":      {body: good, header: []string{"Idempotency-Key", `"order-17-attempt-1`}, status: 400, code: fault.IdempotencyKeyInvalid, field: "Idempotency-Key"},
		"no API key":          {body: good, header: []string{"Authorization", ""}, status: 401, code: fault.Unauthenticated},
		"wrong API key":       {body: good, header: []string{"Authorization", "Bearer sk_00000000000000000000000000_" + strings.Repeat("A", 43)}, status: 401, code: fault.Unauthenticated},
		"not an API key":      {body: good, header: []string{"Authorization", "Bearer hunter2"}, status: 401, code: fault.Unauthenticated},
		"another scheme":      {body: good, header: []string{"Authorization", "Basic c2tfOg=="}, status: 401, code: fault.Unauthenticated},
		"bad, and no API key": {body: "{", header: []string{"Authorization", ""}, status: 401, code: fault.Unauthenticated},
		"bad, and no key":     {body: "{", header: []string{"Idempotency-Key", ""}, status: 400, code: fault.IdempotencyKeyMissing},
	}
	w := apitest.New(t)
	h := w.Build(Build)
	before := w.Rows()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := w.Do(h, w.Request(http.MethodPost, path, c.body, append([]string{"Idempotency-Key", key}, c.header...)...))
			code, fields := a.Problem()
			if a.Status != c.status || code != c.code || a.Text("detail") == "" || a.Header.Get("Request-Id") == "" {
				t.Fatalf("got %d %s", a.Status, a.Body)
			}
			if c.field != "" && (len(fields) == 0 || fields[0].Name != c.field || fields[0].Detail == "") {
				t.Errorf("names %v", fields)
			}
			if text := string(a.Body); strings.Contains(text, "4242") || strings.Contains(text, "hunter2") {
				t.Errorf("repeats what must not be repeated: %s", text)
			}
			if (a.Header.Get("WWW-Authenticate") != "") != (c.status == 401) {
				t.Errorf("%d with WWW-Authenticate %q", a.Status, a.Header.Get("WWW-Authenticate"))
			}
		})
	}
	if after := w.Rows(); !apitest.Same(before, after) {
		t.Errorf("rows before %v, after %v", before, after)
	}
	log := regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(w.Log.String(), "") // its digits are chance's
	if strings.Contains(log, "4242") || strings.Contains(log, "hunter2") {
		t.Error("the log repeats what must not be repeated")
	}
	if len(w.PubSub.Published()) != 0 {
		t.Error("something was published")
	}
}
