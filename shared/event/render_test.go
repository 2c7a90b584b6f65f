package event_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/event/eventtest"
)

func TestInFullAnEventIsSentAsItIsKept(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{`{ "id": "evt_1" , "data":{"x":1.0}}`, "not even JSON"} {
		got, err := event.Render([]byte(payload), event.Version, event.Full)
		if err != nil || string(got) != payload {
			t.Errorf("%s became %s, %v", payload, got, err)
		}
	}
}

func TestThinAnEventHasWhatItTakesToFetchIt(t *testing.T) {
	t.Parallel()
	for _, typ := range event.Types() {
		got, err := event.Render(typ.Example, event.Version, event.Thin)
		if err != nil {
			t.Fatal(err)
		}
		eventtest.CheckThin(t, got)
		if eventtest.Validate(got) == nil {
			t.Errorf("%s, thin, passes for one in full: %s", typ.Name, got)
		}
	}
	refunded, _ := event.Lookup(event.RefundSucceeded)
	const want = `{"id":"evt_06d2ymzt7y1w5xh8c3dqkr9bg4","type":"refund.succeeded","api_version":"2026-11-01",` +
		`"timestamp":"2026-11-02T09:30:01Z","sequence":4,"data":{` +
		`"payment":{"id":"pay_06d2ymzrrpx7d9k5s0tq8cw2bc","object":"payment"},` +
		`"refund":{"id":"re_06d2yp3cd9q4v1h7rbx5t0k8nm","object":"refund"}}}`
	got, _ := event.Render(refunded.Example, event.Version, event.Thin)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	again, _ := event.Render(refunded.Example, event.Version, event.Thin)
	if !bytes.Equal(got, again) {
		t.Errorf("made twice, it differs: %s and %s", got, again)
	}
}

// Events from before there were versions are in the form of the first.
func TestAnEventWithoutAVersionIsOfTheFirst(t *testing.T) {
	t.Parallel()
	got, err := event.Render([]byte(`{"id":"evt_1","type":"payment.captured","timestamp":"2026-10-01T00:00:00Z","sequence":1,
		"data":{"payment":{"id":"pay_1","object":"payment","amount":1}}}`), "2026-11-01", event.Thin)
	const want = `{"id":"evt_1","type":"payment.captured","api_version":"2026-11-01","timestamp":"2026-10-01T00:00:00Z","sequence":1,` +
		`"data":{"payment":{"id":"pay_1","object":"payment"}}}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

func TestABodyThatIsTooLongGoesOutThin(t *testing.T) {
	t.Parallel()
	captured, _ := event.Lookup(event.PaymentCaptured)
	sized := func(size int) []byte {
		note := strings.Repeat("x", size-len(captured.Example)-len(`,"a":""`))
		return bytes.Replace(captured.Example, []byte(`{"cart":"17"`), fmt.Appendf(nil, `{"cart":"17","a":"%s"`, note), 1)
	}
	longest, tooLong := sized(event.MaxBody-1), sized(event.MaxBody)
	if len(longest) != 19_999 || len(tooLong) != 20_000 {
		t.Fatalf("bodies of %d and %d bytes", len(longest), len(tooLong))
	}
	if got, err := event.Render(longest, event.Version, event.Full); err != nil || !bytes.Equal(got, longest) {
		t.Errorf("%d bytes became %d, %v", len(longest), len(got), err)
	}
	got, err := event.Render(tooLong, event.Version, event.Full)
	if err != nil {
		t.Fatal(err)
	}
	eventtest.CheckThin(t, got)
	thin, _ := event.Render(longest, event.Version, event.Thin)
	if !bytes.Equal(got, thin) {
		t.Errorf("too long: %s, thin: %s", got, thin)
	}
}

func TestWhatCantBeRenderedIsAnError(t *testing.T) {
	t.Parallel()
	const good = `{"id":"evt_1","type":"payment.captured","timestamp":"2026-10-01T00:00:00Z","sequence":1,"data":{}}`
	for name, c := range map[string]struct{ payload, version, form, want string }{
		"no version":      {good, "", event.Full, "no version"},
		"another version": {good, "2026-10-31", event.Thin, "no version"},
		"another form":    {good, event.Version, "slim", "no form"},
		"no JSON":         {good[:20], event.Version, event.Thin, "read a payload"},
		"a list":          {`[]`, event.Version, event.Thin, "read a payload"},
		"no data":         {`{"id":"evt_1"}`, event.Version, event.Thin, "data"},
		"no object":       {`{"id":"evt_1","data":{"payment":7}}`, event.Version, event.Thin, "payment"},
		"no type":         {`{"id":"evt_1","data":{}}`, event.Version, event.Thin, "without type"},
	} {
		got, err := event.Render([]byte(c.payload), c.version, c.form)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, typ := range event.Types() {
		f.Add([]byte(typ.Example))
	}
	f.Add([]byte(`{"data":null}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		once, err := event.Render(payload, event.Version, event.Thin)
		if err != nil {
			return
		}
		// What is thin stays as it is.
		again, err := event.Render(once, event.Version, event.Thin)
		if err != nil || !bytes.Equal(once, again) {
			t.Errorf("%s became %s, %v", once, again, err)
		}
	})
}
