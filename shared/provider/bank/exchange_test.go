package bank

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider"
)

// What is sent: each change under a key of its own, derived from the attempt's.
func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	key := "tollgate-" + ourSaga.String()
	payment, merchant, refund := id.Payment.External(ourPayment), id.Merchant.External(ourMerchant), id.Refund.External(ourRefund)
	ours := fields{"tollgate_payment": payment, "tollgate_merchant": merchant}
	for _, c := range []struct {
		request provider.Request
		replies script
		asked   []string
		last    fields // body of the request that changes something
	}{
		{
			request(authorize),
			script{},
			[]string{postRequest + " " + key + "-authorize-1", postFlow + " " + key + "-authorize-1-flow-1"},
			fields{"billing_request_flows": fields{
				"redirect_uri": "https://shop.example/back", "exit_uri": "https://shop.example/back", "links": fields{"billing_request": "BRQ1"},
			}},
		},
		{
			request(authorize),
			script{postRequest: refusal(422, "validation_failed", "")},
			[]string{postRequest + " " + key + "-authorize-1"},
			fields{"billing_requests": fields{"metadata": ours, "payment_request": fields{
				"amount": ourUnits, "currency": "GBP", "description": "order 17", "metadata": ours,
			}}},
		},
		{request(void), script{}, []string{postCancel + " " + key + "-void-1"}, fields{"data": fields{}}},
		{
			request(refunding),
			script{getPayment: ok("payments", transferIn("paid_out").with(fields{"amount_refunded": 700}))},
			[]string{getRequest, getPayment, postRefund + " " + key + "-refund-1"},
			fields{"refunds": fields{
				"amount": ourUnits, "total_amount_confirmation": ourUnits + 700, "links": fields{"payment": "PM1"},
				"metadata": fields{"tollgate_payment": payment, "tollgate_refund": refund},
			}},
		},
	} {
		server := newDesk(t, well().with(c.replies))
		newAdapter(t, server.URL, Options{}).Execute(t.Context(), firstCall(t, c.request))
		if diff := cmp.Diff(c.asked, server.asked()); diff != "" {
			t.Error(diff)
		}
		r, body := server.seen[len(server.seen)-1], server.bodies[len(server.bodies)-1]
		var got any
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		var want any
		if err := json.Unmarshal([]byte(c.last.text()), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", c.request.Step, diff)
		}
		for name, value := range map[string]string{
			"Authorization": "Bearer " + testToken, "GoCardless-Version": "2015-07-06", "Content-Type": "application/json",
		} {
			if r.Header.Get(name) != value {
				t.Errorf("%s: %s is %q", c.request.Step, name, r.Header.Get(name))
			}
		}
	}
}

// GoCardless takes three metadata; the reason is the one to be left out.
func TestRefundMetadata(t *testing.T) {
	t.Parallel()
	r := request(refunding)
	r.Reason = strings.Repeat("é", 600)
	o, err := newOrder(provider.NewAttempt(ourSaga, 1, r, noon))
	if m := o.refundMetadata(); err != nil || len(m) != 3 || m[metaReason] != strings.Repeat("é", 500) {
		t.Errorf("%v, %v", m, err)
	}
	r.ObligationID = ourObligation
	o, err = newOrder(provider.NewAttempt(ourSaga, 1, r, noon))
	if m := o.refundMetadata(); err != nil || len(m) != 3 || m[metaObligation] != ourObligation.String() || m[metaReason] != "" {
		t.Errorf("%v, %v", m, err)
	}
}

// Without a connection nothing was sent, which only a first call may conclude from.
func TestNotSent(t *testing.T) {
	t.Parallel()
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") }
	a := newAdapter(t, "https://api.gocardless.com", Options{Dial: refuse})
	for _, step := range []provider.Step{authorize, void, refunding} {
		got := a.Execute(t.Context(), firstCall(t, request(step)))
		if got.Outcome != notSent || len(got.Facts) > 0 || !strings.Contains(got.Evidence.Error, "connection refused") {
			t.Errorf("%s: %s, %+v", step, got.Outcome, got.Evidence)
		}
		if got := a.Execute(t.Context(), replay(t, request(step))); got.Outcome != undecided {
			t.Errorf("%s, replayed: %s", step, got.Outcome)
		}
	}
}

// mute takes requests and says nothing, but to those that the script knows.
func mute(t *testing.T, s script) string {
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a, known := s[r.Method+" "+r.URL.Path]; known {
			w.WriteHeader(a.status)
			_, _ = w.Write([]byte(a.body))
			return
		}
		<-stop
	}))
	t.Cleanup(func() {
		close(stop)
		server.Close()
	})
	return server.URL
}

func TestSilence(t *testing.T) {
	t.Parallel()
	reading := script{getRequest: well()[getRequest], getPayment: well()[getPayment]}
	for name, c := range map[string]struct {
		step  provider.Step
		knows script
		want  provider.Outcome
	}{
		"billing request":       {authorize, nil, undecided},
		"page":                  {authorize, script{postRequest: well()[postRequest]}, undecided},
		"void":                  {void, nil, undecided},
		"refund":                {refunding, reading, undecided},
		"before a refund":       {refunding, nil, notSent},
		"still before a refund": {refunding, script{getRequest: well()[getRequest]}, notSent},
		"after a refused void":  {void, script{postCancel: refusal(409, "invalid_state", ""), getRequest: well()[getRequest]}, undecided},
	} {
		a := newAdapter(t, mute(t, c.knows), Options{ConnectTimeout: time.Minute, ReadTimeout: 300 * time.Millisecond})
		got := a.Execute(t.Context(), firstCall(t, request(c.step)))
		if got.Outcome != c.want || !got.TimedOut {
			t.Errorf("%s: %s, timed out %t: %q", name, got.Outcome, got.TimedOut, got.Evidence.Error)
		}
		if name == "page" && got.Reference != "BRQ1" {
			t.Errorf("the billing request is not remembered: %q", got.Reference)
		}
	}
}

// However many requests an authorize takes, the context's deadline is for all of them.
func TestOneDeadlineIsForAllRequests(t *testing.T) {
	t.Parallel()
	url := mute(t, script{postRequest: well()[postRequest]})
	a := newAdapter(t, url, Options{ConnectTimeout: time.Hour, ReadTimeout: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	got := a.Execute(ctx, firstCall(t, request(authorize)))
	// On a busy machine the budget may be spent before anything is sent.
	if !got.TimedOut || got.Outcome != undecided && got.Outcome != notSent {
		t.Errorf("%s, timed out %t: %q", got.Outcome, got.TimedOut, got.Evidence.Error)
	}
}
