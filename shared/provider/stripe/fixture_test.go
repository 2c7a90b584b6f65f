package stripe

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// noon is when the tests take place, unless they have a clock of their own.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var (
	ourPayment    = id.ID{1, 2, 3}
	ourMerchant   = id.ID{4, 5, 6}
	ourRefund     = id.ID{7, 8, 9}
	ourObligation = id.ID{10, 11, 12}
	ourSaga       = id.ID{13, 14, 15}
)

const (
	testKey  = "sk_test_adapter1234567890"
	ourIn    = "pi_ours"
	ourUnits = 5000
)

func yen(n int64) money.Money { return money.New(n, money.MustParseCurrency("JPY")) }

func newAdapter(t testing.TB, base string, opt Options) *Adapter {
	t.Helper()
	if opt.Now == nil {
		opt.Now = func() time.Time { return noon }
	}
	if opt.Dial == nil { // real sockets, in real time: a busy machine is no timeout
		opt.ConnectTimeout, opt.ReadTimeout = time.Minute, time.Minute
	}
	a, err := New(Config{SecretKey: testKey, APIBase: base}, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// request is a plausible one of its step.
func request(step provider.Step) provider.Request {
	r := provider.Request{
		Step: step, Account: testMode, MerchantID: ourMerchant, PaymentID: ourPayment, Amount: yen(ourUnits),
	}
	switch step {
	case provider.Authorize:
		r.PaymentMethod, r.Description = "pm_card_visa", "order 17"
	case provider.Refund:
		r.Reference, r.RefundID = ourIn, ourRefund
	default:
		r.Reference = ourIn
	}
	return r
}

func firstCall(t testing.TB, r provider.Request) provider.Call {
	t.Helper()
	call, err := provider.FirstCall(provider.NewAttempt(ourSaga, 1, r, noon))
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func replay(t testing.TB, r provider.Request) provider.Call {
	t.Helper()
	call, ok := provider.Replay(provider.NewAttempt(ourSaga, 1, r, noon), capabilities(), noon)
	if !ok {
		t.Fatal("the key window is closed")
	}
	return call
}

// fields are members of a JSON object.
type fields map[string]any

// with returns a copy with other members.
func (f fields) with(other fields) fields {
	all := fields{}
	for _, m := range []fields{f, other} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func (f fields) bytes() []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return b
}

// intentIn is our PaymentIntent in a status.
func intentIn(status string) fields {
	f := fields{
		"id": ourIn, "object": "payment_intent", "amount": ourUnits, "amount_received": 0, "currency": "jpy",
		"capture_method": "manual", "status": status, "created": noon.Unix(), "latest_charge": "ch_ours",
		"client_secret": "pi_ours_secret_hush",
		"metadata":      fields{"tollgate_payment": id.Payment.External(ourPayment)},
	}
	switch status {
	case "succeeded":
		f["amount_received"] = ourUnits
	case "canceled":
		f["canceled_at"] = noon.Add(-time.Minute).Unix()
	}
	return f
}

// declinedIntent is our PaymentIntent after a decline.
func declinedIntent() fields {
	return intentIn("requires_payment_method").with(fields{"last_payment_error": cardError()})
}

func cardError() fields {
	return fields{"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "Your card has insufficient funds."}
}

func refundIn(status string) fields {
	return fields{
		"id": "re_theirs", "object": "refund", "amount": ourUnits, "currency": "jpy", "status": status,
		"payment_intent": ourIn, "charge": "ch_ours", "created": noon.Unix(), "balance_transaction": "txn_1",
		"metadata": fields{"tollgate_payment": id.Payment.External(ourPayment), "tollgate_refund": id.Refund.External(ourRefund)},
	}
}

func errorBody(e fields) string { return string(fields{"error": e}.bytes()) }

// reply is a whole HTTP/1.1 answer.
func reply(status int, body string, headers ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\nRequest-Id: req_raw\r\n", status, http.StatusText(status), len(body))
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	return b.String() + "\r\n" + body
}

// rawServer answers each request with bytes, without net/http's good manners.
type rawServer struct {
	listener net.Listener
	conns    sync.WaitGroup

	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

// newRawServer answers the nth request, counted from 0, with answer(n). Closing the
// connection follows when answer says so.
func newRawServer(t testing.TB, answer func(n int) (raw string, closeAfter bool)) *rawServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{listener: listener}
	s.conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { s.serve(conn, answer) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
	})
	return s
}

// always answers every request with the same bytes.
func always(t testing.TB, raw string) *rawServer {
	return newRawServer(t, func(int) (string, bool) { return raw, false })
}

// cut answers every request with the same bytes, and cuts the connection.
func cut(t testing.TB, raw string) *rawServer {
	return newRawServer(t, func(int) (string, bool) { return raw, true })
}

func (s *rawServer) base() string { return "http://" + s.listener.Addr().String() }

func (s *rawServer) serve(conn net.Conn, answer func(int) (string, bool)) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		n := len(s.requests)
		s.requests, s.bodies = append(s.requests, req), append(s.bodies, string(body))
		s.mu.Unlock()
		raw, closeAfter := answer(n)
		if _, err := io.WriteString(conn, raw); err != nil || closeAfter {
			return
		}
	}
}

// seen returns the requests so far.
func (s *rawServer) seen() ([]*http.Request, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.requests...), append([]string(nil), s.bodies...)
}
