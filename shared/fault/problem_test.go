package fault

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestProblemIsTheSameBytesEveryTime(t *testing.T) {
	t.Parallel()
	e := New(InvalidState, "The payment is CAPTURED & can't be canceled.").
		With("current_status", "CAPTURED").With("allowed", []string{"refund"}).With("status", "never shown")
	want := `{"type":"urn:tollgate:problem:invalid_state","title":"The current status forbids the operation",` +
		`"status":409,"detail":"The payment is CAPTURED & can't be canceled.","instance":"/v1/payments/pay_1/cancel",` +
		`"code":"invalid_state","allowed":["refund"],"current_status":"CAPTURED"}`
	for range 20 {
		if got := string(Problem(e, "/v1/payments/pay_1/cancel")); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

func TestProblemNamesFields(t *testing.T) {
	t.Parallel()
	want := `"errors":[{"field":"amount","detail":"must be at least 1"}]}`
	if got := string(Problem(Invalid("amount", "must be at least %d", 1), "/v1/payments")); !strings.HasSuffix(got, want) {
		t.Errorf("got %s, which does not end in %s", got, want)
	}
}

func TestProblemKeepsInternalsInside(t *testing.T) {
	t.Parallel()
	leaky := &Error{
		Detail: "insert into transactions", Err: errors.New("host=db password=hunter2"),
		Fields: []Field{{"row", "hunter2"}}, Extra: map[string]any{"sql": "hunter2"},
	}
	for name, e := range map[string]*Error{
		"wrapped": As(Wrap(leaky, "insert into transactions")), "as it is": leaky,
		"another error": As(errors.New("hunter2")), "a code outside the table": {Code: "hunter2", Detail: "hunter2"},
	} {
		got := string(Problem(e, "/v1/payments"))
		if strings.Contains(got, "hunter2") || strings.Contains(got, "transactions") {
			t.Errorf("%s: the document tells internals: %s", name, got)
		}
		if !strings.Contains(got, `"status":500,`) || !strings.Contains(got, `"code":"internal_error"`) {
			t.Errorf("%s: not an internal error: %s", name, got)
		}
	}
}

func TestEveryCodeRenders(t *testing.T) {
	t.Parallel()
	seen := map[Code]bool{}
	for _, entry := range Codes() {
		if seen[entry.Code] {
			t.Errorf("%s stands twice in the table", entry.Code)
		}
		seen[entry.Code] = true
		var doc struct {
			Type, Title string
			Status      int
			Code        Code
		}
		e := New(entry.Code, "why").With("expires_at", time.Unix(0, 0).UTC())
		if err := json.Unmarshal(Problem(e, "/"), &doc); err != nil {
			t.Fatalf("%s: %v", entry.Code, err)
		}
		if doc.Code != entry.Code || doc.Status != entry.Status || doc.Title != entry.Title ||
			doc.Type != "urn:tollgate:problem:"+string(entry.Code) {
			t.Errorf("%s: got %+v", entry.Code, doc)
		}
	}
}
