package sender

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"code.dny.dev/ssrf"
	"golang.org/x/net/http/httpguts"
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
	"199.36.153.4", "199.36.153.11", "168.63.129.16", "2600:2d00:2:1000::1", "2600:2d00:2:2000::1", // insides of clouds
	"100.100.100.200", "fd20:ce::254", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", // metadata servers, unique and link-local
	"2001:db8::1", "3fff::1", "5f00::1", "100::1", "ff02::1", // documentation, segment routing, discard, multicast
}

var public = []string{somewhere, "199.36.153.3", "199.36.153.12", "168.63.129.17", "2600:2d00:2:3000::1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:2800:220:1::1"}

func bracket(ip string) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]"
	}
	return ip
}

// target is somewhere that we must not send to. Kinds that are seen in the URL are
// refused before a name is looked up, the others when they are dialled.
type target struct {
	kind, url string
	resolves  []string // addresses of its host; the URL is refused without them when nil
	later     []string // of its host, once it was sent to
	redirect  string   // where its host, which is public, sends us on to
}

const somewhere = "93.184.216.34" // public

func hostileTargets() []target {
	var targets []target
	add := func(kind string, urls ...string) {
		for _, url := range urls {
			targets = append(targets, target{kind: kind, url: url})
		}
	}
	add("scheme", "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)",
		"//example.com", "example.com", "ws://example.com/", "unix:///run/docker.sock", "https+unix://example.com/")
	add("no host", "https://", "https:///x", "https:example.com", `https:\\example.com`, "https://:443/", "https://?example.com")
	add("userinfo", "https://user@example.com/", "https://user:pass@example.com/", "https://@example.com/", "https://example.com@127.0.0.1/",
		"https://127.0.0.1@example.com/", "https://example.com:443@127.0.0.1/", "https://127.0.0.1%23@example.com/", `https://example.com\@127.0.0.1/`)
	add("port", "https://example.com:22/", "https://example.com:80/", "https://example.com:8443/", "https://example.com:0/", "https://example.com:00443/",
		"https://example.com:65979/", "https://example.com:443:22/", "https://example.com:-443/", "https://example.com:４４３/")
	add("zone", "https://[fe80::1%25eth0]/", "https://[fe80::1%25lo]:443/", "https://[::1%251]/", "https://[2606:2800:220:1::1%25eth0]/", "https://[::1]%25eth0/")
	add("malformed", "https://[::1", "https://::1/", "https://exa mple.com/", "https://example.com\n/", "https://example.com%00.evil.example/", "https://[example.com]/",
		"https://[127.0.0.1]/", "https://example..com/", "https://-example.com/", "https://example.com;evil.example/", "https://example.com/#x",
		"https://"+strings.Repeat("a", 64)+".example.com/", "https://"+strings.Repeat("a.", 130)+"com/", "https://example.com/"+strings.Repeat("x", maxURLBytes))
	add("final dot", "https://example.com./", "https://localhost./", "https://127.0.0.1./", "https://metadata.google.internal./", "https://example.com.:443/")
	// Spellings of 127.0.0.1 and 169.254.169.254 that some resolver takes for a number.
	add("encoded address", "https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://127.1/", "https://127.0.1/", "https://0177.0.0.1/", "https://0x7f.1/",
		"https://0x7f.0x0.0x0.0x1/", "https://127.0.0.0x1/", "https://2852039166/", "https://0xA9FEA9FE/", "https://0251.0376.0251.0376/", "https://169.16689662/",
		"https://0/", "https://0x/", "https://127.0.0.01/", "https://127.000.000.001/", "https://1.2.3.4.5/", "https://256.256.256.256/", "https://4294967297/", "https://127.0.0.1.0x/")
	add("international digits", "https://１２７.０.０.１/", "https://127。0。0。1/", "https://127．0．0．1/", "https://127｡0｡0｡1/", "https://①②⑦.⓪.⓪.①/", "https://２１３０７０６４３３/",
		"https://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/", "https://%31%32%37.0.0.1/", "https://ⓔxample.com/", "https://exаmple.com/", "https://ｌｏｃａｌｈｏｓｔ/", "https://127.0.0.1\u200b/",
		"https://metadata。google。internal/")
	add("private name", "https://localhost/", "https://LOCALHOST/", "https://shop.localhost/", "https://localhost.localdomain/", "https://metadata.google.internal/computeMetadata/v1/",
		"https://METADATA.google.Internal/", "https://metadata/", "https://instance-data.ec2.internal/latest/meta-data/", "https://printer.local/",
		"https://kubernetes.default.svc.cluster.local/", "https://postgres/", "https://db.corp/", "https://wiki.intranet/", "https://router.lan/", "https://nas.home.arpa/", "https://x.onion/")
	for _, ip := range hostile {
		add("address", "https://"+bracket(ip)+"/", "https://"+bracket(ip)+":443/hook")
	}
	add("address", "https://[0:0:0:0:0:ffff:7f00:1]/", "https://[::FFFF:169.254.169.254]/", "https://[0000:0000:0000:0000:0000:0000:0000:0001]/")

	// Names that are as public as any, until one asks where they lead.
	for i, ip := range hostile {
		host := func(kind string) string { return "https://" + kind + strconv.Itoa(i) + ".example.com/" }
		targets = append(targets, target{kind: "name", url: host("name"), resolves: []string{ip}})
		if i%4 != 0 { // the others need a connection each, and tell nothing new
			continue
		}
		targets = append(targets,
			target{kind: "rebinding", url: host("rebind"), resolves: []string{somewhere}, later: []string{ip}},
			target{kind: "redirect", url: host("moved"), resolves: []string{somewhere}, redirect: "https://" + bracket(ip) + "/"})
	}
	targets = append(targets,
		target{kind: "name", url: "https://127.0.0.1.nip.io/", resolves: []string{"127.0.0.1"}},
		target{kind: "name", url: "https://LOCALTEST.me/", resolves: []string{"127.0.0.1", "::1"}},
		target{kind: "name", url: "https://metadata.tencentyun.com/", resolves: []string{"169.254.0.23"}},
		target{kind: "name", url: "https://both.example.com/", resolves: []string{"10.0.0.1", "fd00::1"}},
		target{kind: "rebinding", url: "https://both-later.example.com/", resolves: []string{somewhere}, later: []string{"10.0.0.1", "::ffff:169.254.169.254"}},
		target{kind: "redirect", url: "https://moved-name.example.com/", resolves: []string{somewhere}, redirect: "https://metadata.google.internal/"},
		target{kind: "redirect", url: "https://moved-http.example.com/", resolves: []string{somewhere}, redirect: "http://169.254.169.254/computeMetadata/v1/"},
		target{kind: "redirect", url: "https://moved-file.example.com/", resolves: []string{somewhere}, redirect: "file:///etc/passwd"},
		target{kind: "redirect", url: "https://moved-public.example.com/", resolves: []string{somewhere}, redirect: "https://example.com/"},
	)
	return targets
}

// No hostile target gets a byte. What a redirect or a rebinding name is, shows only
// when the public server that it begins with was sent to; that is all that is sent.
func TestHostileTargetsAreRefused(t *testing.T) {
	t.Parallel()
	l := newLookout(t)
	count, public := map[string]int{}, 0
	seen := map[string]bool{}
	for _, target := range hostileTargets() {
		if seen[target.url] {
			t.Fatalf("%q is there twice", target.url)
		}
		seen[target.url] = true
		count[target.kind]++
		if target.resolves == nil {
			if CheckURL(target.url, false) == nil {
				t.Errorf("%s: %.60s: it is taken for an endpoint", target.kind, target.url)
			}
			if got := send(t, l.Sender, target.url); got.Outcome != OutcomeRefused {
				t.Errorf("%s: %.60s: %+v; want it refused", target.kind, target.url, got)
			}
			continue
		}
		if err := CheckURL(target.url, false); err != nil {
			t.Fatalf("%s: %s: the test is of what the URL does not show, but it %v", target.kind, target.url, err)
		}
		u, err := url.Parse(target.url)
		if err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		l.moved[u.Host] = target.redirect
		l.mu.Unlock()
		l.dns.set(strings.ToLower(u.Host), target.resolves)
		want := OutcomeRefused
		switch {
		case target.redirect != "":
			want, public = OutcomeStatus3xx, public+1
		case target.later != nil:
			public++
			if got := send(t, l.Sender, target.url); got.Outcome != OutcomeDelivered {
				t.Errorf("%s: %s: while it is public: %+v", target.kind, target.url, got)
			}
			l.dns.set(strings.ToLower(u.Host), target.later)
			l.client.CloseIdleConnections()
		}
		got := send(t, l.Sender, target.url)
		if got.Outcome != want {
			t.Errorf("%s: %s: %+v; want %s", target.kind, target.url, got, want)
		}
		for _, ip := range append(target.resolves, target.later...) {
			if strings.Contains(got.Error, ip) {
				t.Errorf("%s: %s: the merchant is told %q", target.kind, target.url, got.Error)
			}
		}
	}

	// The only connections and requests are those to the public servers.
	if dialed := l.dialed(); len(dialed) != public || slices.ContainsFunc(dialed, func(a string) bool { return a != somewhere+":443" }) {
		t.Errorf("%d connections, to %v; want %d to %s", len(dialed), dialed, public, somewhere)
	}
	if served := l.served(); len(served) != public {
		t.Errorf("%d requests, of %v; want %d", len(served), served, public)
	}
	for host := range l.dns.lookedUp() {
		if !strings.Contains(host, ".") || strings.HasSuffix(host, ".internal") || strings.HasSuffix(host, ".local") {
			t.Errorf("%s was looked up", host)
		}
	}
	const atLeast = 40
	total := 0
	for kind, n := range count {
		total += n
		t.Logf("%4d  %s", n, kind)
	}
	t.Logf("%4d  in all", total)
	if total < atLeast || count["redirect"] == 0 || count["rebinding"] == 0 || count["name"] == 0 {
		t.Errorf("%d targets: %v; want at least %d, of every kind", total, count, atLeast)
	}
}

func TestRefusalsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"http://example.com/":               "must begin with https://",
		"https:///hook":                     "has no host",
		"https://a:b@example.com/":          "must not hold a user name or password",
		"https://example.com/#x":            "must not have a fragment",
		"https://example.com:8443/":         "must use port 443",
		"https://[fe80::1%25eth0]/":         "must not name a network zone",
		"https://10.0.0.1/":                 "does not lead to a public address",
		"https://例え.jp/":                    "must spell its host in ASCII, an international name as xn--…",
		"https://2130706433/":               "has a number for a host",
		"https://example.com./":             "must not have a dot at the end of its host",
		"https://metadata.google.internal/": "names a host of a private network",
		"https://merchant/":                 "must name its host in full, such as hooks.example.com",
		"https://[::1":                      "is malformed",
		"https://example.com/" + strings.Repeat("x", maxURLBytes): "has more than 2048 characters",
	} {
		if err := CheckURL(target, false); err == nil || err.Error() != want {
			t.Errorf("the URL %.60s %v; want it to say that it %s", target, err, want)
		}
	}
}

func TestPublicTargetsAreNotRefused(t *testing.T) {
	t.Parallel()
	for _, ip := range public {
		l := newLookout(t)
		l.dns.set("shop.example.com", []string{ip})
		for _, target := range []string{
			"https://shop.example.com/hook?x=1", "https://SHOP.example.com:443", "https://shop.example.com:/", "https://" + bracket(ip) + "/",
		} {
			if got := send(t, l.Sender, target); got.Outcome == OutcomeRefused {
				t.Errorf("%s (%s): refused: %s", target, ip, got.Error)
			}
		}
		if passed := l.dialed(); len(passed) < 2 || slices.ContainsFunc(passed, func(a string) bool { return a != net.JoinHostPort(ip, "443") }) {
			t.Errorf("%s: dialled %v", ip, passed)
		}
		if len(l.served()) != 3 {
			t.Errorf("%s: requests to %v; want three", ip, l.served())
		}
	}
	for _, url := range []string{
		"https://xn--exmple-cua.com/", "https://a.b.c.d.e.example.co.jp/", "https://hooks_1.example.com/", "https://1and1.com/", "https://0x7f.example.com/",
		"https://localhost.example.com/", "https://internal.example.com/", "https://example.com/?to=http://169.254.169.254/", "https://127-0-0-1.example.com/",
	} {
		if err := CheckURL(url, false); err != nil {
			t.Errorf("%s %v", url, err)
		}
	}
}

// One of a name's addresses is hostile, another is not: only that one is sent to.
func TestOnlyThePublicAddressOfANameIsDialled(t *testing.T) {
	t.Parallel()
	l := newLookout(t)
	l.dns.set("mixed.example.com", []string{"127.0.0.1", somewhere, "10.0.0.1", "::1"})
	if got := send(t, l.Sender, "https://mixed.example.com/"); got.Outcome != OutcomeDelivered {
		t.Errorf("%+v", got)
	}
	if passed := l.dialed(); !slices.Equal(passed, []string{somewhere + ":443"}) {
		t.Errorf("dialled %v", passed)
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
		s := newSender(true, guard, (&net.Dialer{Control: guard.Safe}).DialContext, time.Now)
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
}

// What the other tests put together by hand is so as it is wired for production.
func TestProductionDialsThroughTheGuard(t *testing.T) {
	t.Parallel()
	dial := New(false, time.Now).client.Transport.(*http.Transport).DialContext
	for _, ip := range hostile {
		if _, err := dial(t.Context(), "tcp", net.JoinHostPort(ip, "443")); !errors.Is(err, ssrf.ErrProhibitedIP) {
			t.Errorf("%s: %v; want it prohibited", ip, err)
		}
	}
	for _, port := range []string{"0", "22", "80", "8080", "8443"} {
		if _, err := dial(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", port)); !errors.Is(err, ssrf.ErrProhibitedPort) {
			t.Errorf("port %s: %v; want it prohibited", port, err)
		}
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
	for _, seed := range []string{"https://example.com/hook", "https://127.0.0.1/", "https://[::1]:443/", "http://x", "https://a@b/", "https://１２７.０.０.１/", "https://127.1", "https://a.internal."} {
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
		host := u.Hostname()
		if ip, err := netip.ParseAddr(host); err == nil {
			if guard.SafeAddr(ip) != nil {
				t.Errorf("%q passes", raw)
			}
		} else if name, err := httpguts.PunycodeHostPort(host); err != nil || name != host || !strings.Contains(host, ".") || strings.HasSuffix(host, ".") || numeric.MatchString(host) {
			t.Errorf("%q passes, with the host %q, which is sent as %q", raw, host, name)
		}
	})
}
