package providersim

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// PayPalConfig is what a simulated PayPal account needs. Now is required, and so are
// the app's id and secret for any request to be let in.
type PayPalConfig struct {
	Now          func() time.Time
	ClientID     string
	ClientSecret string
	WebhookID    string // part of what is signed
	WebhookURL   string // where events are sent; empty sends none, see SetWebhook
	HTTP         *http.Client
	Seed         uint64 // of the identifiers; see StripeConfig

	// Base is where the simulator is reached, for the address of its certificate and the
	// links of objects. Empty is learned from the requests that come.
	Base string

	OrderValid         time.Duration // until an order that was not completed is forgotten; 0 is 3 hours
	AuthorizationValid time.Duration // until an authorization expires; 0 is 29 days
	TokenValid         time.Duration // 0 is 9 hours
	Delay              time.Duration // until what is pending settles; 0 is 10 minutes
	ReportDelay        time.Duration // until a movement is in the report; 0 is an hour
	MaxReport          int           // transactions that a query may find; 0 is 10,000

	// Fee is what PayPal keeps of a captured amount, in PayPal's own units; nil is PayPalFee.
	Fee func(units int64, currency string) int64
}

// PayPal is a simulated PayPal account: an http.Handler that stands where
// https://api-m.paypal.com does. It is safe for concurrent use.
//
// It speaks Orders v2 and Payments v2 for one purchase unit: create, retrieve,
// authorize and capture of orders; retrieve, capture, void and reauthorize of
// authorizations; retrieve and refund of captures; retrieve of refunds; retrieve and list
// of disputes, which Dispute and Decide make; access tokens;
// the checking of webhook signatures; and the transaction search, which is the report of
// the account's money. Its fault plan is that of every simulator: see
// the package comment. The operation of creating an order is Authorize, and that of
// completing an approved one (authorize or capture) is Confirm.
//
// These are true of PayPal, and easily forgotten:
//
//   - Creating an order moves nothing. The payer approves it on PayPal's page, and even
//     then nothing moves until the order is authorized or captured.
//   - An order that is not completed in time is forgotten: 404. There is no list.
//   - A repeated PayPal-Request-Id gives the present state of what the first request
//     made, with 200 instead of 201. Only successes are kept: after a 5xx the request
//     is executed. Orders' ids are kept for 6 hours, payments' for 45 days. While the
//     first runs: 422, PREVIOUS_REQUEST_IN_PROGRESS.
//   - An invoice_id can be paid once: DUPLICATE_INVOICE_ID. (Here one that another order
//     was completed with; one that is taken by an order not completed is free.)
//   - An authorization is honored for 3 days and expires after 29. From day 4 on it can
//     be made anew once; the new one has an id of its own, and the old one is void.
//   - A final capture of a part releases the rest.
//
// How a payment goes is for the payer to say: see Approve.
//
// Besides the pages of every simulator it has
//
//	GET  /_sim/approve/{order}  the payer's page
//	POST /_sim/approve/{order}  Approve, ?outcome=…
//	GET  /_sim/ca               the certificate that signs the webhooks' one, PEM
//
// Effects carry invoice_id and custom_id of the payment as metadata; a refund's own are
// custom_id and refund_invoice_id.
type PayPal struct {
	*rig
	cfg    PayPalConfig
	admin  *http.ServeMux
	keys   paypalKeys
	signer *paypalSigner

	mu      sync.Mutex // the account's objects, all below
	base    string
	tokens  map[string]time.Time // until when
	orders  map[string]*paypalOrder
	objects map[string]*paypalObject
	paid    map[string]string // invoice_id of completed orders -> order
	book    book

	disputes []*paypalDispute
}

// NewPayPal makes an account without payments. It panics without a clock.
func NewPayPal(cfg PayPalConfig) *PayPal {
	cfg.OrderValid = orDefault(cfg.OrderValid, 3*time.Hour)
	cfg.AuthorizationValid = orDefault(cfg.AuthorizationValid, 29*24*time.Hour)
	cfg.TokenValid = orDefault(cfg.TokenValid, 9*time.Hour)
	cfg.Delay = orDefault(cfg.Delay, 10*time.Minute)
	cfg.ReportDelay = orDefault(cfg.ReportDelay, time.Hour)
	cfg.MaxReport = cmp.Or(cfg.MaxReport, 10_000)
	if cfg.Fee == nil {
		cfg.Fee = PayPalFee
	}
	p := &PayPal{
		cfg: cfg, base: strings.TrimRight(cfg.Base, "/"), tokens: map[string]time.Time{}, orders: map[string]*paypalOrder{},
		objects: map[string]*paypalObject{}, paid: map[string]string{},
	}
	p.book = book{scale: 1, prefix: "SIMPAYOUT", name: namePayPalRow}
	p.keys.records = map[string]*paypalKey{}
	p.rig = newRig(rigConfig{now: cfg.Now, keys: []string{cfg.ClientSecret}, seed: cfg.Seed, url: cfg.WebhookURL, http: cfg.HTTP, sign: p.sign})
	p.signer = paypalSignerOf(cfg.Now().Year())
	p.admin = p.adminMux()
	plantPages(p.admin, p)
	disputePages(p.admin, p)
	p.admin.HandleFunc("GET /_sim/approve/{order}", p.approvePage)
	p.admin.HandleFunc("POST /_sim/approve/{order}", p.approveAdmin)
	p.admin.HandleFunc("GET /_sim/ca", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(p.CA())
	})
	return p
}

// CA is the certificate, in PEM, that vouches for the one that webhooks are signed with.
func (p *PayPal) CA() []byte { return p.signer.ca }

// ExpireTokens makes PayPal refuse every access token that it has given out.
func (p *PayPal) ExpireTokens() {
	p.mu.Lock()
	clear(p.tokens)
	p.mu.Unlock()
}

// paypalSigner signs webhooks, with a certificate of a chain of its own.
type paypalSigner struct {
	key       *rsa.PrivateKey
	ca, chain []byte // PEM
}

const paypalCertPath = "/v1/notifications/certs/CERT-360caa42-fca2a594-sim"

// paypalSigners keeps the chains of a process by the year: making one takes long.
var paypalSigners sync.Map

// paypalSignerOf makes a chain that is valid for twenty years around one, so that a test
// clock can go far. Making it needs real randomness; nothing depends on its value.
func paypalSignerOf(year int) *paypalSigner {
	if made, ok := paypalSigners.Load(year); ok {
		return made.(*paypalSigner)
	}
	now := time.Date(year, time.July, 1, 0, 0, 0, 0, time.UTC)
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
			NotBefore: now.AddDate(-10, 0, 0), NotAfter: now.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		}
	}
	root, leaf := template(1, "Simulated CA"), template(2, "messageverificationcerts.paypal.com")
	root.IsCA, root.KeyUsage = true, x509.KeyUsageCertSign
	leaf.DNSNames = []string{leaf.Subject.CommonName}
	rootKey, s := paypalCAKey(), &paypalSigner{key: paypalLeafKey()}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	if err != nil {
		panic("providersim: " + err.Error())
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &s.key.PublicKey, rootKey)
	if err != nil {
		panic("providersim: " + err.Error())
	}
	s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
	s.chain = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}), s.ca...)
	made, _ := paypalSigners.LoadOrStore(year, s)
	return made.(*paypalSigner)
}

// The keys are one for all simulators of a process: making them takes long.
var paypalCAKey, paypalLeafKey = sync.OnceValue(newRSA), sync.OnceValue(newRSA)

func newRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("providersim: " + err.Error()) // crypto/rand does not fail
	}
	return key
}

// sign makes the headers of one delivery, after
// https://developer.paypal.com/api/rest/webhooks/rest/#verify.
func (p *PayPal) sign(payload []byte, at time.Time) http.Header {
	id, stamp := p.ids.next("sim-"), at.UTC().Format(time.RFC3339)
	p.mu.Lock()
	certURL := p.base + paypalCertPath
	p.mu.Unlock()
	return http.Header{
		"Content-Type":             {"application/json"},
		"User-Agent":               {"PayPal/AUHD-214.0-58843327"},
		"Paypal-Transmission-Id":   {id},
		"Paypal-Transmission-Time": {stamp},
		"Paypal-Transmission-Sig":  {base64.StdEncoding.EncodeToString(p.signature(id, stamp, payload))},
		"Paypal-Cert-Url":          {certURL},
		"Paypal-Auth-Algo":         {"SHA256withRSA"},
	}
}

func (p *PayPal) signature(id, stamp string, payload []byte) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d", id, stamp, p.cfg.WebhookID, crc32.ChecksumIEEE(payload)))
	signature, err := rsa.SignPKCS1v15(nil, p.signer.key, crypto.SHA256, sum[:])
	if err != nil {
		panic("providersim: " + err.Error())
	}
	return signature
}

// The ways in which a payer answers, and what becomes of the payment then.
const (
	PayPalApproves      = "approve"        // it succeeds
	PayPalCancels       = "cancel"         // the payer goes back to the shop; the order waits on
	PayPalDeclined      = "declined"       // completing it is refused: INSTRUMENT_DECLINED
	PayPalDenied        = "denied"         // completing it makes a payment that is denied
	PayPalReview        = "review"         // the payment is pending, then succeeds
	PayPalReviewDenied  = "review_denied"  // the payment is pending, then is denied
	PayPalRefundPending = "refund_pending" // it succeeds; refunds are pending, then succeed
	PayPalRefundFails   = "refund_fail"    // it succeeds; refunds succeed, then fail
)

var paypalAnswers = map[string]bool{
	PayPalApproves: true, PayPalCancels: true, PayPalDeclined: true, PayPalDenied: true, PayPalReview: true,
	PayPalReviewDenied: true, PayPalRefundPending: true, PayPalRefundFails: true,
}

// Approve answers for the payer of an order. It fails when there is no such order or it
// is not waiting for its payer.
func (p *PayPal) Approve(orderID, answer string) error {
	p.RunDue(p.sender.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.orders[orderID]
	switch {
	case !paypalAnswers[answer]:
		return fmt.Errorf("outcome %q is none of PayPal's", answer)
	case o == nil:
		return fmt.Errorf("no such order: %q", orderID)
	case o.status != "PAYER_ACTION_REQUIRED":
		return fmt.Errorf("order %s waits for no payer: its status is %s", o.id, o.status)
	case answer == PayPalCancels:
		return nil
	}
	o.status, o.answer, o.updated = "APPROVED", answer, p.now()
	p.emit("CHECKOUT.ORDER.APPROVED", "checkout-order", o, p.renderOrder(o))
	return nil
}

const approveHTML = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Simulated PayPal</title></head>
<body><h1>Simulated PayPal</h1><p>Order %s</p>
<p><a href="?outcome=approve">Approve</a></p><p><a href="?outcome=declined">Approve, then be declined</a></p>
<p><a href="?outcome=cancel">Cancel and return to the shop</a></p>
</body></html>
`

// approvePage is where a payer is redirected to. With ?outcome= it answers and sends the
// payer back.
func (p *PayPal) approvePage(w http.ResponseWriter, r *http.Request) {
	id, outcome := r.PathValue("order"), r.URL.Query().Get("outcome")
	p.mu.Lock()
	o := p.orders[id]
	p.mu.Unlock()
	if o == nil {
		adminError(w, http.StatusNotFound, fmt.Errorf("no such order"))
		return
	}
	if outcome == "" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, approveHTML, o.id)
		return
	}
	if err := p.Approve(id, outcome); err != nil {
		adminError(w, http.StatusConflict, err)
		return
	}
	back := o.returnURL
	if outcome == PayPalCancels {
		back = o.cancelURL
	}
	u, err := url.Parse(back)
	if err != nil || back == "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	q := u.Query()
	q.Set("token", o.id)
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}

func (p *PayPal) approveAdmin(w http.ResponseWriter, r *http.Request) {
	if err := p.Approve(r.PathValue("order"), r.URL.Query().Get("outcome")); err != nil {
		adminError(w, http.StatusConflict, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
