package paypal

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

const (
	// PayPal tries a webhook again for three days; whether it signs a new time then is
	// not documented. Doubles are told by the event's id, not by their age.
	oldestTransmission = 4 * 24 * time.Hour
	clockSkew          = 5 * time.Minute

	maxHeader        = 4 << 10
	maxCertificates  = 8 // in memory; PayPal has one or two at a time
	certificateStays = 24 * time.Hour

	authAlgo = "SHA256withRSA"
)

// Verifier checks the signatures of webhooks, by
// https://developer.paypal.com/api/rest/webhooks/rest/#verify. It is safe for concurrent
// use.
type Verifier struct {
	cfg       WebhookConfig
	base      *url.URL
	roots     *x509.CertPool
	transport *wire.Transport
	client    *http.Client
	api       *Adapter
	now       func() time.Time

	mu    sync.Mutex
	certs map[string]certificate
}

type certificate struct {
	key   *rsa.PublicKey
	until time.Time
}

// VerifierOptions are what a verifier is wired with. Now is required, and API when
// PayPal is to be asked.
type VerifierOptions struct {
	Now   func() time.Time
	Roots *x509.CertPool // nil is the system's; others are for simulators
	API   *Adapter
	Dial  wire.Dialer // nil is TCP

	// Timeouts of fetching a certificate; 0 is no limit but the one of Verify's context.
	ConnectTimeout, ReadTimeout time.Duration
}

// NewVerifier makes a verifier. It opens no connection.
func NewVerifier(cfg WebhookConfig, opt VerifierOptions) (*Verifier, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if opt.Now == nil {
		return nil, errors.New("paypal: VerifierOptions.Now is not set")
	}
	if cfg.Verify == verifyByAPI && opt.API == nil {
		return nil, errors.New("paypal: VerifierOptions.API is not set, but PAYPAL_WEBHOOK_VERIFY is api")
	}
	base, err := origin(cfg.CertBase)
	if err != nil {
		return nil, err
	}
	transport := wire.New(opt.Dial, wire.Limits{Connect: opt.ConnectTimeout, Read: opt.ReadTimeout})
	return &Verifier{
		cfg: cfg, base: base, roots: opt.Roots, transport: transport, client: transport.Client(), api: opt.API, now: opt.Now,
		certs: map[string]certificate{},
	}, nil
}

// Close closes idle connections.
func (v *Verifier) Close() { v.transport.Close() }

// transmission is what the headers of a webhook say.
type transmission struct {
	id, at, signature, certURL, algo string
}

// Verify checks a webhook against its raw body. The error is a fault: signature_invalid
// for one that is not PayPal's, temporarily_unavailable when that could not be found
// out, so that PayPal tries again.
//
// The signature covers a CRC-32 of the body, which does not keep anybody who has seen
// one from making another body of the same: what an event says is to be confirmed.
func (v *Verifier) Verify(ctx context.Context, header http.Header, body []byte) error {
	t, err := readTransmission(header)
	if err != nil {
		return err
	}
	at := instant(t.at)
	if age := v.now().Sub(at); at.IsZero() || age > oldestTransmission || age < -clockSkew {
		return badSignature("PAYPAL-TRANSMISSION-TIME is not a time within the last four days")
	}
	if err := v.pinned(t.certURL); err != nil {
		return err
	}
	if v.cfg.Verify == verifyByAPI {
		return v.ask(ctx, t, body)
	}
	signature, err := base64.StdEncoding.DecodeString(t.signature)
	if err != nil {
		return badSignature("PAYPAL-TRANSMISSION-SIG is not base64")
	}
	key, err := v.key(ctx, t.certURL)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(signedText(t, v.cfg.WebhookID, body)))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) != nil {
		return badSignature("the signature does not fit the body and our webhook's id")
	}
	return nil
}

// signedText is what PayPal signs. The CRC is unsigned: as a signed number half of all
// bodies would fail.
func signedText(t transmission, webhookID string, body []byte) string {
	return t.id + "|" + t.at + "|" + webhookID + "|" + strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10)
}

func readTransmission(header http.Header) (transmission, error) {
	var t transmission
	for _, h := range []struct {
		name string
		into *string
	}{
		{"Paypal-Transmission-Id", &t.id},
		{"Paypal-Transmission-Time", &t.at},
		{"Paypal-Transmission-Sig", &t.signature},
		{"Paypal-Cert-Url", &t.certURL},
		{"Paypal-Auth-Algo", &t.algo},
	} {
		values := header.Values(h.name)
		if len(values) != 1 || values[0] == "" || len(values[0]) > maxHeader {
			return t, badSignature("%s must be there, once", strings.ToUpper(h.name))
		}
		*h.into = values[0]
	}
	if t.algo != authAlgo {
		return t, badSignature("PAYPAL-AUTH-ALGO must be %s", authAlgo)
	}
	if strings.Contains(t.id, "|") {
		return t, badSignature("PAYPAL-TRANSMISSION-ID is not an id")
	}
	return t, nil
}

// pinned refuses certificates from anywhere but the one origin: the header is
// unchecked input, and would let anybody bring a certificate of their own, or have us
// call any address.
func (v *Verifier) pinned(certURL string) error {
	u, err := url.Parse(certURL)
	if err != nil || u.Scheme != v.base.Scheme || u.Host != v.base.Host || u.User != nil || u.Fragment != "" || u.Opaque != "" ||
		!strings.HasPrefix(u.Path, "/v1/notifications/certs/") || strings.Contains(certURL, "..") {
		return badSignature("PAYPAL-CERT-URL is not one of %s", v.base.Host)
	}
	return nil
}

// key returns the public key of a certificate, fetched and checked at most once a day.
func (v *Verifier) key(ctx context.Context, certURL string) (*rsa.PublicKey, error) {
	now := v.now()
	v.mu.Lock()
	c, ok := v.certs[certURL]
	v.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.key, nil
	}
	x := &wire.Exchange{}
	req, err := http.NewRequestWithContext(wire.With(ctx, x), http.MethodGet, certURL, http.NoBody)
	if err != nil {
		return nil, badSignature("PAYPAL-CERT-URL is not an address")
	}
	if resp, err := v.client.Do(req); err == nil {
		_ = resp.Body.Close() // it is in memory
	}
	if !x.Answered() || x.Status >= 500 || x.Status == http.StatusTooManyRequests {
		return nil, unavailable("PayPal's signing certificate can't be fetched", x.Failed())
	}
	if x.Status != http.StatusOK {
		return nil, badSignature("there is no certificate at PAYPAL-CERT-URL")
	}
	if c, err = readCertificate(x.Body, v.roots, now); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.certs) >= maxCertificates {
		clear(v.certs)
	}
	v.certs[certURL] = c
	return c.key, nil
}

// readCertificate reads a PEM chain, leaf first, and checks it against the roots. The
// leaf must be in the name of a host of PayPal's.
func readCertificate(chain []byte, roots *x509.CertPool, now time.Time) (certificate, error) {
	var leaf *x509.Certificate
	intermediates := x509.NewCertPool()
	for rest := chain; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return certificate{}, badSignature("its certificate can't be read")
		}
		if leaf == nil {
			leaf = c
		} else {
			intermediates.AddCert(c)
		}
	}
	if leaf == nil {
		return certificate{}, badSignature("there is no certificate at PAYPAL-CERT-URL")
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return certificate{}, badSignature("its certificate is not trusted")
	}
	if !ofPayPal(leaf) {
		return certificate{}, badSignature("its certificate is not in PayPal's name")
	}
	key, ok := leaf.PublicKey.(*rsa.PublicKey)
	if !ok {
		return certificate{}, badSignature("its certificate has no RSA key")
	}
	until := now.Add(certificateStays)
	if leaf.NotAfter.Before(until) {
		until = leaf.NotAfter
	}
	return certificate{key: key, until: until}, nil
}

func ofPayPal(leaf *x509.Certificate) bool {
	for _, name := range append([]string{leaf.Subject.CommonName}, leaf.DNSNames...) {
		if name == "paypal.com" || strings.HasSuffix(name, ".paypal.com") {
			return true
		}
	}
	return false
}

// ask has PayPal check the signature.
func (v *Verifier) ask(ctx context.Context, t transmission, body []byte) error {
	payload, err := verifyBody(t, v.cfg.WebhookID, body)
	if err != nil {
		return err
	}
	r := &run{adapter: v.api, ctx: ctx}
	x := r.send(http.MethodPost, "/v1/notifications/verify-webhook-signature", "", payload)
	if err := x.Failed(); err != nil {
		return unavailable("PayPal can't be asked about the signature", err)
	}
	var reply struct {
		Status string `json:"verification_status"`
	}
	switch err := json.Unmarshal(x.Body, &reply); {
	case err == nil && reply.Status == "SUCCESS":
		return nil
	case err == nil && reply.Status == "FAILURE":
		return badSignature("PayPal says that it is not its own")
	}
	return unavailable("PayPal did not say whose the signature is", fmt.Errorf("status %.40q", reply.Status))
}

// verifyBody splices the event's raw bytes in: encoding/json would compact and escape
// them, and PayPal would find another checksum. They must be one JSON object, or they
// could bring members of their own.
func verifyBody(t transmission, webhookID string, body []byte) ([]byte, error) {
	if !json.Valid(body) || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return nil, badSignature("the body is not a JSON object")
	}
	head := encode(fields{
		"auth_algo": t.algo, "cert_url": t.certURL, "transmission_id": t.id, "transmission_sig": t.signature,
		"transmission_time": t.at, "webhook_id": webhookID,
	})
	spliced := append(head[:len(head)-1], `,"webhook_event":`...)
	return append(append(spliced, body...), '}'), nil
}

func badSignature(format string, args ...any) error {
	return fault.New(fault.SignatureInvalid, "The webhook's signature is refused: "+format+".", args...)
}

func unavailable(what string, err error) error {
	return &fault.Error{Code: fault.Unavailable, Detail: what + "; try again.", Err: err}
}
