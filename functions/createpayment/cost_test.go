package createpayment

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/tollgate/tollgate/shared/api/apitest"
)

// What one authorized create costs the database before its answer: authenticate,
// claim, record, each one round trip, and two commits. Counted on the wire, between
// the function's pool and PostgreSQL.
func TestTheCostOfACreate(t *testing.T) {
	t.Parallel()
	w := apitest.New(t)
	meter := newMeter(t, w.Config["DATABASE_URL"])
	w.Config["DATABASE_URL"] = meter.url
	w.Config["DATABASE_POOL_MAX"] = "1" // one connection, so that its statements are prepared after the first time
	h := w.Build(Build)
	create := func(key string) {
		body := `{"amount":5000,"currency":"JPY","payment_method":"pm_card_visa","capture_method":"manual"}`
		rec := &flushed{ResponseRecorder: httptest.NewRecorder(), onFlush: meter.stop}
		meter.start()
		h.ServeHTTP(rec, w.Request(http.MethodPost, "/v1/payments", body, "Idempotency-Key", key))
		if rec.Code != http.StatusCreated || !strings.Contains(rec.Body.String(), `"AUTHORIZED"`) {
			t.Fatalf("answered %d %s", rec.Code, rec.Body)
		}
	}
	create("to-warm-the-statements")
	create("the-one-that-is-counted")
	if meter.trips > 3 || meter.trips < 1 {
		t.Errorf("%d round trips before the answer, want at most 3", meter.trips)
	}
	if meter.commits > 2 || meter.commits < 1 {
		t.Errorf("%d commits before the answer, want at most 2", meter.commits)
	}
	t.Logf("%d round trips, %d commits", meter.trips, meter.commits)
}

// flushed tells when the answer has left.
type flushed struct {
	*httptest.ResponseRecorder
	onFlush func()
}

func (f *flushed) FlushError() error {
	f.onFlush()
	f.Flush()
	return nil
}

// meter is a wire to PostgreSQL that counts, while started, how often the client has
// to wait for the server, and how many transactions that wrote something ended.
type meter struct {
	url string

	mu             sync.Mutex
	on             bool
	asking         bool // the client has sent something that is not answered yet
	wrote          bool // the transaction has changed rows
	trips, commits int
}

func newMeter(t *testing.T, database string) *meter {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	u.Host = l.Addr().String()
	q := u.Query()
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	m := &meter{url: u.String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go m.wire(client, server)
		}
	}()
	return m
}

func (m *meter) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on, m.trips, m.commits, m.wrote = true, 0, 0, false
}

func (m *meter) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = false
}

func (m *meter) wire(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, io.TeeReader(client, writerFunc(func([]byte) {
			m.mu.Lock()
			m.asking = true
			m.mu.Unlock()
		})))
	}()
	var pending []byte
	_, _ = io.Copy(client, io.TeeReader(server, writerFunc(func(b []byte) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.on && m.asking {
			m.trips++
		}
		m.asking = false
		pending = m.messages(append(pending, b...))
	})))
}

// messages reads the server's messages: a type, a length, and the rest.
// https://www.postgresql.org/docs/current/protocol-message-formats.html
func (m *meter) messages(b []byte) (rest []byte) {
	for len(b) >= 5 {
		end := 1 + int(binary.BigEndian.Uint32(b[1:5]))
		if len(b) < end {
			break
		}
		switch body := b[5:end]; b[0] {
		case 'C': // CommandComplete, with its tag
			for _, verb := range []string{"INSERT", "UPDATE", "DELETE"} {
				m.wrote = m.wrote || bytes.HasPrefix(body, []byte(verb))
			}
		case 'Z': // ReadyForQuery; I: outside a transaction
			if body[0] == 'I' {
				if m.on && m.wrote {
					m.commits++
				}
				m.wrote = false
			}
		}
		b = b[end:]
	}
	return bytes.Clone(b)
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}
