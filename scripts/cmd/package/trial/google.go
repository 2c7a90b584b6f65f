package trial

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// google is what stands where a program expects Google's services. A deployed program is
// told none of their addresses, so nothing but the network can lead it elsewhere: this is
// an HTTPS proxy that ends TLS by a certificate of its own, which the program is made to
// trust, and hands on what it hears to a stand-in. Other hosts it refuses and remembers.
type google struct {
	server  *http.Server
	address string
	tls     *tls.Config
	hosts   map[string]string // a service's host, to the address of its stand-in
	folder  string            // with the certificate, and credentials that name nobody

	mu      sync.Mutex
	refused []string
	open    map[net.Conn]struct{}
	closed  bool
}

// The hosts. A program asks the last for the access tokens that it shows to the others.
const (
	cloudTasksHost = "cloudtasks.googleapis.com"
	pubSubHost     = "pubsub.googleapis.com"
	tokenHost      = "oauth2.googleapis.com"
)

// startGoogle serves until close. The folder stays the caller's.
func startGoogle(folder string, hosts map[string]string) (*google, error) {
	certificate, err := selfSigned(slices.Sorted(maps.Keys(hosts)))
	if err != nil {
		return nil, err
	}
	g := &google{
		hosts: hosts, folder: folder, open: map[net.Conn]struct{}{},
		tls: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12},
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	if err := os.WriteFile(g.certificateFile(), text, 0o600); err != nil {
		return nil, err
	}
	const user = `{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}`
	if err := os.WriteFile(g.credentialsFile(), []byte(user), 0o600); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g.address = l.Addr().String()
	g.server = &http.Server{Handler: http.HandlerFunc(g.connect), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = g.server.Serve(l) }() // it ends with close, and its error is that it did
	return g, nil
}

func (g *google) certificateFile() string { return filepath.Join(g.folder, "google.pem") }
func (g *google) credentialsFile() string { return filepath.Join(g.folder, "credentials.json") }

// environment leads a program here.
func (g *google) environment() map[string]string {
	return map[string]string{
		"GOOGLE_APPLICATION_CREDENTIALS": g.credentialsFile(),
		"HTTPS_PROXY":                    "http://" + g.address,
		"SSL_CERT_FILE":                  g.certificateFile(),
		"SSL_CERT_DIR":                   g.folder, // or the machine's certificates would be trusted too
	}
}

// close breaks off all connections.
func (g *google) close() {
	_ = g.server.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for c := range g.open {
		_ = c.Close()
	}
}

// strangers lists the hosts that were asked for and have no stand-in.
func (g *google) strangers() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.refused)
}

// connect serves CONNECT host:port.
func (g *google) connect(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.Host)
	standIn, ok := g.hosts[host]
	if r.Method != http.MethodConnect || !ok {
		g.mu.Lock()
		g.refused = append(g.refused, r.Method+" "+r.Host)
		g.mu.Unlock()
		http.Error(w, "nobody stands in for "+r.Host, http.StatusForbidden)
		return
	}
	caller, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer g.keep(caller)()
	if _, err := io.WriteString(caller, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	inside := tls.Server(unread{caller, buffered.Reader}, g.tls)
	if err := inside.HandshakeContext(context.WithoutCancel(r.Context())); err != nil {
		return
	}
	service, err := net.Dial("tcp", standIn)
	if err != nil {
		return
	}
	defer g.keep(service)()
	join(inside, service)
}

// keep has close break off the connection. What it returns closes it.
func (g *google) keep(c net.Conn) (done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		_ = c.Close()
	}
	g.open[c] = struct{}{}
	return func() {
		_ = c.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.open, c)
	}
}

// join hands on what each says to the other, until one has closed.
func join(a, b net.Conn) {
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			ended <- struct{}{}
		}()
	}
	<-ended
}

// unread is a connection of which some was read ahead.
type unread struct {
	net.Conn
	r *bufio.Reader
}

func (u unread) Read(p []byte) (int, error) { return u.r.Read(p) }

// tokens answers as Google's token endpoint does. No stand-in looks at the token.
func tokens(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"access_token":"nobody's","expires_in":3600,"token_type":"Bearer"}`)
}

func selfSigned(hosts []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in for Google"}, DNSNames: hosts,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
