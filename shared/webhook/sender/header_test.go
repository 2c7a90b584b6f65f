package sender

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
	"pgregory.net/rapid"
)

func TestOwnHeadersThatPass(t *testing.T) {
	t.Parallel()
	full := map[string]string{}
	for i := range maxOwnHeaders {
		full[fmt.Sprintf("X-%d", i)] = strings.Repeat("v", maxOwnHeaderBytes/maxOwnHeaders-len("X-0"))
	}
	for _, own := range []map[string]string{
		nil,
		{"Authorization": "Bearer abc.def~ghi"},
		{"X-Api-Key": "k"},
		{"x-tenant": "a\tb c", "X_Odd!": "{}\",;"},
		{"Accept": "application/json"},
		{"Traceparent": "00-0-0-00"},
		{"Googly": "x"},
		{"Web": "x"},
		full,
	} {
		if err := CheckHeaders(own); err != nil {
			t.Errorf("%.100v: the header %v", own, err)
		}
	}
}

func TestOwnHeadersThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "webhook-anything",
		"Content-Type", "content-length", "Content-Encoding", "Host", "User-Agent", "Connection", "Transfer-Encoding", "TE", "Trailer",
		"Upgrade", "Expect", "Keep-Alive", "Accept-Encoding", "Idempotency-Key", "X-Idempotency-Key", "Proxy-Authorization", "Proxy-Connection",
		"Cookie", "Set-Cookie", "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "X-Http-Method-Override",
		"Metadata-Flavor", "Metadata", "X-Google-Metadata-Request", "X-Goog-Iap-Jwt-Assertion", "X-Aws-Ec2-Metadata-Token", "Sec-Fetch-Mode",
		"", " X", "X ", "X Y", "X:", "X\r\nHost", "X\x00", "Ünicode", "X\u2028",
	} {
		if err := CheckHeaders(map[string]string{name: "hush"}); err == nil {
			t.Errorf("the name %q passes", name)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: the error shows the value: %v", name, err)
		}
	}
	for _, value := range []string{"", " hush", "hush ", "hu\nsh", "hush\r\nHost: x", "hu\x00sh", "hu\x7fsh", "hüsh", "hush\t"} {
		if err := CheckHeaders(map[string]string{"X-Api-Key": value}); err == nil {
			t.Errorf("the value %q passes", value)
		} else if strings.Contains(err.Error(), "sh") && strings.Contains(err.Error(), "hu") {
			t.Errorf("%q: the error shows the value: %v", value, err)
		}
	}
	many, long := map[string]string{}, map[string]string{"X-A": strings.Repeat("v", maxOwnHeaderBytes-3), "X-B": "v"}
	for i := range maxOwnHeaders + 1 {
		many[fmt.Sprintf("X-%d", i)] = "v"
	}
	for name, own := range map[string]map[string]string{"eleven": many, "too long": long, "one name twice": {"X-Key": "1", "x-key": "2"}} {
		if CheckHeaders(own) == nil {
			t.Errorf("%s: they pass", name)
		}
	}
}

// Also headers that were taken when less was reserved.
func TestOursWinOverOwnHeaders(t *testing.T) {
	t.Parallel()
	own := map[string]string{
		"X-Api-Key": "k", "webhook-id": "evt_forged", "Webhook-Signature": "v1,forged", "WEBHOOK-TIMESTAMP": "1", "content-type": "text/html",
		"User-Agent": "forged", "Host": "forged", "Transfer-Encoding": "gzip", "Accept-Encoding": "gzip", "Metadata-Flavor": "Google", "Cookie": "a=b",
	}
	key, body := v1(make([]byte, 32)), []byte("{}")
	header, err := Header("evt_1", vectorAt, body, []Key{key}, own)
	if err != nil {
		t.Fatal(err)
	}
	var got http.Header
	var host string
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { got, host = r.Header, r.Host })
	if r, err := local().Send(t.Context(), url, header, body); err != nil || r.Outcome != OutcomeDelivered {
		t.Fatalf("%+v, %v", r, err)
	}
	want := map[string]string{
		"X-Api-Key": "k", "Webhook-Id": "evt_1", "Webhook-Timestamp": Timestamp(vectorAt), "Content-Type": "application/json", "User-Agent": UserAgent,
		"Webhook-Signature": Sign("evt_1", vectorAt, body, []Key{key}), "Content-Length": "2",
	}
	for name := range got {
		if got.Get(name) != want[name] || len(got[name]) != 1 {
			t.Errorf("%s: %q; want %q", name, got[name], want[name])
		}
		delete(want, name)
	}
	if len(want) != 0 || "http://"+host != url {
		t.Errorf("the endpoint at %s did not see %v, and is called %s", url, want, host)
	}
	if err := verify(key.Spell(), got, body); err != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
}

func FuzzCheckHeaders(f *testing.F) {
	f.Add("X-Api-Key", "k")
	f.Add("webhook-id", "x\r\n")
	f.Fuzz(func(t *testing.T, name, value string) {
		if CheckHeaders(map[string]string{name: value}) != nil {
			return
		}
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || reserved(http.CanonicalHeaderKey(name)) {
			t.Errorf("%q: %q passes", name, value)
		}
	})
}

// What passes is sent as it is.
func TestOwnHeadersArriveAsGiven(t *testing.T) {
	t.Parallel()
	var got http.Header
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	s := local()
	rapid.Check(t, func(t *rapid.T) {
		own := rapid.MapOfN(rapid.StringMatching(`[A-Za-z][A-Za-z0-9-]{0,20}`), rapid.StringMatching(`[!-~]([ -~]{0,20}[!-~])?`), 0, maxOwnHeaders).
			Filter(func(m map[string]string) bool { return CheckHeaders(m) == nil }).Draw(t, "own")
		header, err := Header("evt_1", vectorAt, nil, []Key{v1(make([]byte, 32))}, own)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Send(t.Context(), url, header, nil); err != nil || r.Outcome != OutcomeDelivered {
			t.Fatalf("%+v, %v", r, err)
		}
		for name, value := range own {
			if got.Get(name) != value {
				t.Fatalf("%s arrives as %q; want %q", name, got.Get(name), value)
			}
		}
	})
}
