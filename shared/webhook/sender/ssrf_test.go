package sender

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"code.dny.dev/ssrf"
	"golang.org/x/net/dns/dnsmessage"
)

// hostile are addresses that no endpoint may lead to.
var hostile = []string{
	"127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", // this machine
	"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", // private
	"169.254.169.254", "169.254.0.1", // link-local, and the metadata server on it
	"100.64.0.1", "100.127.255.255", // carrier-grade NAT
	"192.0.0.1", "192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", // assignments, documentation, 6to4 relays
	"198.18.0.1", "198.19.255.255", // benchmarks
	"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", // multicast, reserved, broadcast
	"::1", "::", "::127.0.0.1", // this machine
	"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", // IPv4 in IPv6
	"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", // NAT64
	"2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1", // 6to4, Teredo
	"fd20:ce::254", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", // metadata servers, unique and link-local
	"2001:db8::1", "3fff::1", "5f00::1", "100::1", "ff02::1", // documentation, segment routing, discard, multicast
}

var public = []string{"93.184.216.34", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:2800:220:1::1"}

func bracket(ip string) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]"
	}
	return ip
}

// lookout is a sender as production has it, except that it resolves names by the
// test's table and connects nowhere: dials that the guard lets pass end there, noted.
type lookout struct {
	*Sender
	dns *stubDNS

	mu     sync.Mutex
	passed []string
}

var errStopped = errors.New("the test stops here")

func newLookout(t *testing.T) *lookout {
	t.Helper()
	l := &lookout{dns: newStubDNS(t)}
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
	l.Sender = newSender(false, guard, dialer, time.Now)
	return l
}

func (l *lookout) dialed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.passed...)
}

func TestHostileTargetsAreRefused(t *testing.T) {
	t.Parallel()
	l := newLookout(t)
	targets := []string{
		// Not https, not an address, not a port of ours.
		"http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com", "example.com",
		"https://", "https:///x", "https:example.com", "https://user@example.com/", "https://user:pass@example.com/",
		"https://example.com:22/", "https://example.com:80/", "https://example.com:8443/", "https://example.com/#x",
		"https://[fe80::1%25eth0]/", "https://[::1", "https://exa mple.com/", "javascript:alert(1)",
		"https://example.com/" + strings.Repeat("x", maxURLBytes),
	}
	for _, ip := range hostile {
		targets = append(targets, "https://"+bracket(ip)+"/", "https://"+bracket(ip)+":443/hook")
	}
	// Spellings of loopback that resolvers take for a number.
	for _, host := range []string{"2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "0x7f.1"} {
		l.dns.set(host, []string{"127.0.0.1"})
		targets = append(targets, "https://"+host+"/")
	}
	// Names that lead to each hostile address, alone and as one of two.
	for i, ip := range hostile {
		host := "host" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example"
		l.dns.set(host, []string{ip})
		targets = append(targets, "https://"+host+"/", "https://"+strings.ToUpper(host)+"./")
	}
	for name, ip := range map[string]string{"localhost": "127.0.0.1", "metadata.google.internal": "169.254.169.254", "127.0.0.1.nip.io": "127.0.0.1"} {
		l.dns.set(name, []string{ip})
		targets = append(targets, "https://"+name+"/")
	}
	for _, target := range targets {
		got := send(t, l.Sender, target)
		if got.Outcome != OutcomeRefused {
			t.Errorf("%.60s: %+v; want it refused", target, got)
		}
		for _, ip := range hostile {
			if strings.Contains(got.Error, ip) && len(ip) > 3 {
				t.Errorf("%.60s: the merchant is told %q", target, got.Error)
			}
		}
	}
	if passed := l.dialed(); len(passed) != 0 {
		t.Errorf("dialled %v", passed)
	}
	t.Logf("%d targets", len(targets))
}

func TestPublicTargetsAreNotRefused(t *testing.T) {
	t.Parallel()
	for _, ip := range public {
		l := newLookout(t)
		l.dns.set("shop.example", []string{ip})
		for _, target := range []string{"https://" + bracket(ip) + "/", "https://shop.example/hook?x=1"} {
			if got := send(t, l.Sender, target); got.Outcome == OutcomeRefused {
				t.Errorf("%s (%s): refused: %s", target, ip, got.Error)
			}
		}
		if passed := l.dialed(); len(passed) != 2 || passed[1] != net.JoinHostPort(ip, "443") {
			t.Errorf("%s: dialled %v", ip, passed)
		}
	}
}

// The name leads to a public address when it is looked at, and to loopback later.
func TestRebindingIsRefused(t *testing.T) {
	t.Parallel()
	l := newLookout(t)
	l.dns.set("rebind.example", []string{"93.184.216.34"}, []string{"127.0.0.1"}, []string{"::ffff:169.254.169.254"})
	if got := send(t, l.Sender, "https://rebind.example/"); got.Outcome != OutcomeConnection || len(l.dialed()) != 1 {
		t.Fatalf("public: %+v, dialled %v", got, l.dialed())
	}
	for range 2 {
		if got := send(t, l.Sender, "https://rebind.example/"); got.Outcome != OutcomeRefused || len(l.dialed()) != 1 {
			t.Errorf("rebound: %+v, dialled %v", got, l.dialed())
		}
	}
}

// Not a byte, nor a connection: listeners at the very targets see nobody.
func TestRefusedTargetsSeeNoConnection(t *testing.T) {
	t.Parallel()
	var accepted atomic.Int32
	for _, address := range []string{"127.0.0.1:0", "127.0.0.2:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // a machine without IPv6
			continue
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted.Add(1)
				_ = c.Close()
			}
		}()
		// Every port is allowed here, so that it is the address that is refused.
		guard := ssrf.New(ssrf.WithAnyPort())
		s := newSender(true, guard, &net.Dialer{Control: guard.Safe}, time.Now)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		host := netip.MustParseAddrPort(l.Addr().String()).Addr().String()
		for _, target := range []string{"http://" + net.JoinHostPort(host, port), "http://localhost:" + port, "http://0.0.0.0:" + port, "http://[::]:" + port} {
			if got := send(t, s, target); got.Outcome != OutcomeRefused {
				t.Errorf("%s: %+v; want it refused", target, got)
			}
		}
	}
	if n := accepted.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	// And as it is wired for production, by a name that only dialling sees through.
	if got := send(t, New(false, time.Now), "https://localhost/"); got.Outcome != OutcomeRefused {
		t.Errorf("localhost: %+v; want it refused", got)
	}
}

func TestLocalRunsReachLoopbackAndNoFurther(t *testing.T) {
	t.Parallel()
	url := serve(t, status(200))
	if got := send(t, local(), url); got.Outcome != OutcomeDelivered {
		t.Errorf("loopback: %+v", got)
	}
	for _, ip := range hostile {
		if a := netip.MustParseAddr(ip); a.IsLoopback() {
			continue
		}
		if got := send(t, local(), "http://"+bracket(ip)+"/"); got.Outcome != OutcomeRefused {
			t.Errorf("%s: %+v; want it refused", ip, got)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	guard := newGuard(false)
	for _, seed := range []string{"https://example.com/hook", "https://127.0.0.1/", "https://[::1]:443/", "http://x", "https://a@b/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := checkURL(raw, guard, false)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || (u.Port() != "" && u.Port() != "443") {
			t.Errorf("%q passes", raw)
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && guard.SafeAddr(ip) != nil {
			t.Errorf("%q passes", raw)
		}
	})
}

// stubDNS is a name server on loopback that answers from a table.
type stubDNS struct {
	conn net.PacketConn

	mu      sync.Mutex
	answers map[string][][]string // by name: the addresses of each look-up in turn, the last for ever
	asked   map[string]int
}

func newStubDNS(t *testing.T) *stubDNS {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	d := &stubDNS{conn: conn, answers: map[string][][]string{}, asked: map[string]int{}}
	go d.serve()
	return d
}

func (d *stubDNS) set(name string, turns ...[]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[name] = turns
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
	found := false
	for _, text := range d.turn(name, q.Type) {
		found = true
		header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
		ip := netip.MustParseAddr(text)
		switch {
		case ip.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
		case !ip.Is4() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	if !found {
		m.RCode = dnsmessage.RCodeNameError
	}
	return m.Pack()
}

// turn is the answer of this look-up. A look-up asks for both families; the AAAA
// question counts it.
func (d *stubDNS) turn(name string, kind dnsmessage.Type) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	turns := d.answers[name]
	if len(turns) == 0 {
		return nil
	}
	key := name + kind.String()
	n := min(d.asked[key], len(turns)-1)
	d.asked[key]++
	return turns[n]
}
