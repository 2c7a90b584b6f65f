package sender

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// lookout is a sender as production has it, on an internet of the test's: names mean
// what its name server says, and every address that the guard lets pass leads to one
// server on loopback, whose certificate is for example.com and *.example.com.
type lookout struct {
	*Sender
	dns *stubDNS

	mu     sync.Mutex
	passed []string // addresses that the guard let pass
	hosts  []string // of the requests that the server got
	moved  map[string]string
}

var errStopped = errors.New("the guard let it pass")

func newLookout(t *testing.T) *lookout {
	t.Helper()
	l := &lookout{dns: newStubDNS(t), moved: map[string]string{}}
	internet := httptest.NewUnstartedServer(l)
	internet.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that we end
	internet.StartTLS()
	t.Cleanup(internet.Close)

	guard := newGuard(false)
	dialer := &net.Dialer{
		Resolver: l.dns.resolver(),
		Control: func(network, address string, c syscall.RawConn) error {
			if err := guard.Safe(network, address, c); err != nil {
				return err
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.passed = append(l.passed, address)
			return errStopped
		},
	}
	l.Sender = newSender(false, guard, func(ctx context.Context, network, address string) (net.Conn, error) {
		before := len(l.dialed())
		conn, err := dialer.DialContext(ctx, network, address)
		if len(l.dialed()) == before {
			return conn, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, internet.Listener.Addr().String())
	}, time.Now)
	roots := x509.NewCertPool()
	roots.AddCert(internet.Certificate())
	l.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	return l
}

// ServeHTTP redirects as it was told to, and else takes everything.
func (l *lookout) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.hosts = append(l.hosts, r.Host)
	to := l.moved[r.Host]
	l.mu.Unlock()
	if to != "" {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect) // by which a POST stays one, with its body and signature
	}
}

func (l *lookout) dialed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.passed)
}

func (l *lookout) served() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hosts)
}

// stubDNS is a name server on loopback that answers from a table.
type stubDNS struct {
	conn net.PacketConn

	mu      sync.Mutex
	answers map[string][]string // addresses by name
	asked   map[string]bool
}

func newStubDNS(t *testing.T) *stubDNS {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	d := &stubDNS{conn: conn, answers: map[string][]string{}, asked: map[string]bool{}}
	go d.serve()
	return d
}

func (d *stubDNS) set(name string, addresses []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[name] = addresses
}

// lookedUp are the names that were asked for.
func (d *stubDNS) lookedUp() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.asked)
}

func (d *stubDNS) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "udp", d.conn.LocalAddr().String())
	}}
}

func (d *stubDNS) serve() {
	buffer := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if reply, err := d.reply(buffer[:n]); err == nil {
			_, _ = d.conn.WriteTo(reply, from)
		}
	}
}

func (d *stubDNS) reply(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	addresses := d.look(name)
	for _, text := range addresses {
		header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
		ip := netip.MustParseAddr(text)
		switch {
		case ip.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
		case !ip.Is4() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	if len(addresses) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	return m.Pack()
}

func (d *stubDNS) look(name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[name] = true
	return d.answers[name]
}
