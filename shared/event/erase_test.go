package event

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Whatever the catalogue sends, its personal data can be taken out, and what is left is still
// an event of its type.
func TestErasePersonal(t *testing.T) {
	t.Parallel()
	found := 0
	for _, typ := range Types() {
		erased, changed, err := ErasePersonal(typ.Example)
		if err != nil {
			t.Fatalf("%s: %v", typ.Name, err)
		}
		if !json.Valid(erased) {
			t.Errorf("%s: %s", typ.Name, erased)
		}
		if changed {
			found++
		}
		again, changed, err := ErasePersonal(erased)
		if err != nil || changed || !bytes.Equal(again, erased) {
			t.Errorf("%s: erased twice: %t %v", typ.Name, changed, err)
		}
	}
	if found == 0 {
		t.Error("no example has personal data")
	}
}

func TestErasePersonalLeavesTheRest(t *testing.T) {
	t.Parallel()
	const payload = `{"id":"evt_1","type":"refund.created","sequence":3,"data":{` +
		`"payment":{"id":"pay_1","object":"payment","amount":5,"description":"For Ada","metadata":{"a":"Ada"},"return_url":"https://a.example/ada","next":null},` +
		`"refund":{"id":"re_1","object":"refund","reason":"Ada moved"}}}`
	const want = `{"id":"evt_1","type":"refund.created","sequence":3,"data":{` +
		`"payment":{"id":"pay_1","object":"payment","amount":5,"description":null,"metadata":{},"return_url":null,"next":null},` +
		`"refund":{"id":"re_1","object":"refund","reason":null}}}`
	got, changed, err := ErasePersonal([]byte(payload))
	if err != nil || !changed || string(got) != want {
		t.Errorf("got  %s %t %v\nwant %s", got, changed, err, want)
	}
	for _, bad := range []string{`[]`, `{"data":1}`, `{"data":{"payment":[]}}`, `{"data":{"payment":{"object":1}}}`} {
		if _, _, err := ErasePersonal([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "event: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
