package paypal

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
)

const ourWebhook = "1JE4291016473214C"

// issuer hands out certificates and signs webhooks with one.
type issuer struct {
	rootKey, key *rsa.PrivateKey
	root         *x509.Certificate
	server       *httptest.Server

	mu      sync.Mutex
	status  int
	chain   []byte
	fetched int
}

var testKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	keys := testKeys()
	i := &issuer{rootKey: keys[0], key: keys[1], status: http.StatusOK}
	i.root = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	i.issue(t, "messageverificationcerts.paypal.com", noon.AddDate(0, 1, 0))
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetched++
		w.WriteHeader(i.status)
		_, _ = w.Write(i.chain)
	}))
	t.Cleanup(i.server.Close)
	return i
}

func (i *issuer) pool(t testing.TB) *x509.CertPool {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, i.root, i.root, &i.rootKey.PublicKey, i.rootKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return pool
}

// issue replaces the certificate.
func (i *issuer) issue(t testing.TB, name string, until time.Time) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: noon.AddDate(0, -1, 0), NotAfter: until,
	}, i.root, &i.key.PublicKey, i.rootKey)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (i *issuer) serve(status int, chain string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.chain = status, []byte(chain)
}

// sign makes the headers of a webhook, as PayPal does.
func (i *issuer) sign(t testing.TB, body []byte, webhook string, at time.Time) http.Header {
	t.Helper()
	stamp := at.Format(time.RFC3339)
	signed := sha256.Sum256(fmt.Appendf(nil, "tx-1|%s|%s|%d", stamp, webhook, crc32.ChecksumIEEE(body)))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, signed[:])
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set("PAYPAL-TRANSMISSION-ID", "tx-1")
	h.Set("PAYPAL-TRANSMISSION-TIME", stamp)
	h.Set("PAYPAL-TRANSMISSION-SIG", base64.StdEncoding.EncodeToString(signature))
	h.Set("PAYPAL-CERT-URL", i.server.URL+"/v1/notifications/certs/CERT-1")
	h.Set("PAYPAL-AUTH-ALGO", "SHA256withRSA")
	return h
}

func (i *issuer) verifier(t testing.TB, roots *x509.CertPool) *Verifier {
	t.Helper()
	v, err := NewVerifier(WebhookConfig{WebhookID: ourWebhook, Verify: verifyOffline, CertBase: i.server.URL}, VerifierOptions{
		Now: func() time.Time { return noon }, Roots: roots, ConnectTimeout: time.Minute, ReadTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// bodies has one whose CRC-32 is above 2^31, which a signed number would spoil.
var bodies = func() []string {
	low, high := "", ""
	for n := 0; low == "" || high == ""; n++ {
		body := fmt.Sprintf(`{"id":"WH-%d", "event_type":"<&>"}`, n)
		if crc32.ChecksumIEEE([]byte(body)) >= 1<<31 {
			high = body
		} else {
			low = body
		}
	}
	return []string{low, high}
}()

// The signed text is checked against one that was worked out by hand.
func TestSignedText(t *testing.T) {
	t.Parallel()
	tx := transmission{id: "69cd13f0-d67a-11e5-baa3-778b53f4ae55", at: "2016-02-18T20:01:35Z"}
	// The CRC-32 of "123456789" is 0xCBF43926, by every catalogue of checksums.
	const want = "69cd13f0-d67a-11e5-baa3-778b53f4ae55|2016-02-18T20:01:35Z|1JE4291016473214C|3421780262"
	if got := signedText(tx, ourWebhook, []byte("123456789")); got != want {
		t.Errorf("signed text %s, want %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := i.verifier(t, i.pool(t))
	for _, body := range bodies {
		if err := v.Verify(t.Context(), i.sign(t, []byte(body), ourWebhook, noon), []byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	if i.fetched != 1 {
		t.Errorf("the certificate was fetched %d times", i.fetched)
	}
	body := []byte(bodies[0])
	for name, spoil := range map[string]func(http.Header){
		"no signature":      func(h http.Header) { h.Del("PAYPAL-TRANSMISSION-SIG") },
		"two signatures":    func(h http.Header) { h.Add("PAYPAL-TRANSMISSION-SIG", "x") },
		"no base64":         func(h http.Header) { h.Set("PAYPAL-TRANSMISSION-SIG", "%") },
		"another signature": func(h http.Header) { h.Set("PAYPAL-TRANSMISSION-SIG", "AAAA") },
		"another id":        func(h http.Header) { h.Set("PAYPAL-TRANSMISSION-ID", "tx-2") },
		"an id with a bar":  func(h http.Header) { h.Set("PAYPAL-TRANSMISSION-ID", "tx|1") },
		"another time":      func(h http.Header) { h.Set("PAYPAL-TRANSMISSION-TIME", noon.Add(time.Second).Format(time.RFC3339)) },
		"no time":           func(h http.Header) { h.Set("PAYPAL-TRANSMISSION-TIME", "now") },
		"no algorithm":      func(h http.Header) { h.Del("PAYPAL-AUTH-ALGO") },
		"another algorithm": func(h http.Header) { h.Set("PAYPAL-AUTH-ALGO", "none") },
		"another host": func(h http.Header) {
			h.Set("PAYPAL-CERT-URL", "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1")
		},
		"another of PayPal's": func(h http.Header) { h.Set("PAYPAL-CERT-URL", "https://api.paypal.com/v1/notifications/certs/CERT-1") },
		"a user": func(h http.Header) {
			h.Set("PAYPAL-CERT-URL", strings.Replace(i.server.URL, "//", "//a@", 1)+"/v1/notifications/certs/CERT-1")
		},
		"another path":          func(h http.Header) { h.Set("PAYPAL-CERT-URL", i.server.URL+"/v1/oauth2/token") },
		"a path that climbs":    func(h http.Header) { h.Set("PAYPAL-CERT-URL", i.server.URL+"/v1/notifications/certs/../../x") },
		"no certificate's name": func(h http.Header) { h.Set("PAYPAL-CERT-URL", "") },
	} {
		h := i.sign(t, body, ourWebhook, noon)
		spoil(h)
		if err := v.Verify(t.Context(), h, body); !fault.Is(err, fault.SignatureInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"another body":       v.Verify(t.Context(), i.sign(t, body, ourWebhook, noon), []byte(bodies[1])),
		"the event's id":     v.Verify(t.Context(), i.sign(t, body, "WH-1", noon), body),
		"five days old":      v.Verify(t.Context(), i.sign(t, body, ourWebhook, noon.AddDate(0, 0, -5)), body),
		"from the future":    v.Verify(t.Context(), i.sign(t, body, ourWebhook, noon.Add(6*time.Minute)), body),
		"trailing new line":  v.Verify(t.Context(), i.sign(t, body, ourWebhook, noon), append([]byte(bodies[0]), '\n')),
		"without any header": v.Verify(t.Context(), http.Header{}, body),
	} {
		if !fault.Is(err, fault.SignatureInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := v.Verify(t.Context(), i.sign(t, body, ourWebhook, noon.AddDate(0, 0, -3)), body); err != nil {
		t.Errorf("a retry of three days ago: %v", err)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	body := []byte(bodies[0])
	for name, c := range map[string]struct {
		prepare func(*issuer)
		strange bool // to the roots
		want    fault.Code
	}{
		"trusted":         {func(*issuer) {}, false, ""},
		"of another root": {func(*issuer) {}, true, fault.SignatureInvalid},
		"in another name": {func(i *issuer) { i.issue(t, "paypal.com.evil.example", noon.AddDate(0, 1, 0)) }, false, fault.SignatureInvalid},
		"in a like name":  {func(i *issuer) { i.issue(t, "evilpaypal.com", noon.AddDate(0, 1, 0)) }, false, fault.SignatureInvalid},
		"expired":         {func(i *issuer) { i.issue(t, "x.paypal.com", noon.Add(-time.Second)) }, false, fault.SignatureInvalid},
		"garbage":         {func(i *issuer) { i.serve(200, "<html>") }, false, fault.SignatureInvalid},
		"not there":       {func(i *issuer) { i.serve(404, "") }, false, fault.SignatureInvalid},
		"moved":           {func(i *issuer) { i.serve(302, "") }, false, fault.SignatureInvalid},
		"PayPal is away":  {func(i *issuer) { i.serve(503, "") }, false, fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			roots := i.pool(t)
			if c.strange {
				roots = x509.NewCertPool()
			}
			h := i.sign(t, body, ourWebhook, noon)
			c.prepare(i)
			err := i.verifier(t, roots).Verify(t.Context(), h, body)
			if c.want == "" && err != nil || c.want != "" && !fault.Is(err, c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	gone := newIssuer(t)
	h := gone.sign(t, body, ourWebhook, noon)
	v := gone.verifier(t, gone.pool(t))
	gone.server.Close()
	if err := v.Verify(t.Context(), h, body); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

// The event is put into the question to PayPal byte for byte.
func TestVerifyBodyKeepsTheEventsBytes(t *testing.T) {
	t.Parallel()
	event := "{ \"a\" : \"<&>\u2028\",\r\n\"b\":1e2 }"
	got, err := verifyBody(transmission{id: "i", at: "t", signature: "s", certURL: "u", algo: "a"}, ourWebhook, []byte(event))
	if err != nil || !strings.HasSuffix(string(got), `,"webhook_event":`+event+`}`) || !json.Valid(got) {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"", "null", "[]", `{"a":1},"webhook_id":"mine"`, `{"a":1}}`} {
		if _, err := verifyBody(transmission{}, ourWebhook, []byte(bad)); !fault.Is(err, fault.SignatureInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	v := i.verifier(f, i.pool(f))
	f.Add("tx-1", noon.Format(time.RFC3339), "AAAA", i.server.URL+"/v1/notifications/certs/CERT-1", []byte("{}"))
	f.Fuzz(func(t *testing.T, txID, at, signature, certURL string, body []byte) {
		h := http.Header{
			"Paypal-Transmission-Id": {txID}, "Paypal-Transmission-Time": {at}, "Paypal-Transmission-Sig": {signature},
			"Paypal-Cert-Url": {certURL}, "Paypal-Auth-Algo": {"SHA256withRSA"},
		}
		if v.Verify(t.Context(), h, body) == nil {
			t.Fatalf("a signature was made without the key: %v over %q", h, body)
		}
		if v.pinned(certURL) == nil && !strings.HasPrefix(certURL, i.server.URL+"/v1/notifications/certs/") {
			t.Errorf("%q passes for one of ours", certURL)
		}
	})
}
