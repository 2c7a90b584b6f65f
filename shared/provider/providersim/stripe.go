package providersim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// StripeVersion is the API version that the simulator speaks, and the one that
// stripe-go v76 is pinned to.
const StripeVersion = "2023-10-16"

// StripeConfig is what a simulated Stripe account needs. Now is required, and so
// is at least one secret key for any request to be let in.
type StripeConfig struct {
	Now            func() time.Time
	SecretKeys     []string     // accepted API keys of the one account
	WebhookSecrets []string     // each event is signed with all of them, as while a secret is rolled
	WebhookURL     string       // where events are sent; empty sends none, see SetWebhook
	HTTP           *http.Client // sends the events; nil makes one

	// Seed makes the identifiers. Two simulators with one seed give out the
	// same ones, so a simulator that restarts beside a database that
	// remembers the last one wants another seed.
	Seed uint64

	AuthorizationValid time.Duration // until an uncaptured payment expires; 0 is 7 days
	RefundDelay        time.Duration // until a pending refund settles or a made one fails; 0 is 10 minutes
	ProcessingDelay    time.Duration // until a payment in processing is decided; 0 is 10 minutes

	// Fee is what Stripe keeps of a captured amount, in the same minor units;
	// nil is StripeFee.
	Fee func(amountMinor int64, currency string) int64

	DisputeDelay time.Duration               // until a cardholder who will complain does; 0 is a day
	DisputeFee   func(currency string) int64 // minor units; nil is StripeDisputeFee
}

// Stripe is a simulated Stripe account: an http.Handler that stands where
// https://api.stripe.com does. It is safe for concurrent use.
type Stripe struct {
	*rig
	cfg     StripeConfig
	admin   *http.ServeMux
	keys    keyStore
	secrets struct {
		sync.Mutex
		active []string
	}

	mu           sync.Mutex // the account's objects, all below
	ordinal      int64
	objects      map[string]resource
	intents      []*intent
	charges      []*charge
	refunds      []*refund
	disputes     []*dispute
	transactions []*transaction
	book         book
	events       []*event
}

// resource is an object that the API can return.
type resource interface {
	render() any
}

// head is what every object has.
type head struct {
	id      string
	ordinal int64 // order of creation within the account; created is too coarse
	created time.Time
}

func (h *head) header() *head { return h }

// NewStripe makes an account without payments. It panics without a clock.
func NewStripe(cfg StripeConfig) *Stripe {
	cfg.AuthorizationValid = orDefault(cfg.AuthorizationValid, 7*24*time.Hour)
	cfg.RefundDelay = orDefault(cfg.RefundDelay, 10*time.Minute)
	cfg.ProcessingDelay = orDefault(cfg.ProcessingDelay, 10*time.Minute)
	if cfg.Fee == nil {
		cfg.Fee = StripeFee
	}
	cfg.DisputeDelay = orDefault(cfg.DisputeDelay, 24*time.Hour)
	if cfg.DisputeFee == nil {
		cfg.DisputeFee = StripeDisputeFee
	}
	s := &Stripe{cfg: cfg, objects: map[string]resource{}}
	s.keys.records = map[string]*keyRecord{}
	s.secrets.active = slices.Clone(cfg.WebhookSecrets)
	s.rig = newRig(rigConfig{
		now: cfg.Now, keys: cfg.SecretKeys, seed: cfg.Seed, url: cfg.WebhookURL, http: cfg.HTTP, sign: s.sign,
	})
	s.admin = s.adminMux()
	s.admin.HandleFunc("GET /_sim/3ds/{intent}", s.threeDSPage)
	s.admin.HandleFunc("POST /_sim/3ds/{intent}", s.threeDSAdmin)
	s.admin.HandleFunc("POST /_sim/payouts", s.payoutAdmin)
	plantPages(s.admin, s)
	disputePages(s.admin, s)
	s.book = book{scale: 1, prefix: "po_1", name: s.nameTransaction}
	return s
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// SetWebhookSecrets replaces the secrets that events are signed with.
func (s *Stripe) SetWebhookSecrets(secrets ...string) {
	s.secrets.Lock()
	s.secrets.active = slices.Clone(secrets)
	s.secrets.Unlock()
}

// sign makes the headers of one delivery, after
// https://docs.stripe.com/webhooks#verify-manually.
func (s *Stripe) sign(payload []byte, at time.Time) http.Header {
	t := strconv.FormatInt(at.Unix(), 10)
	signature := "t=" + t
	s.secrets.Lock()
	defer s.secrets.Unlock()
	for _, secret := range s.secrets.active {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(t + "."))
		mac.Write(payload)
		signature += ",v1=" + hex.EncodeToString(mac.Sum(nil))
	}
	return http.Header{
		"Content-Type":     {"application/json; charset=utf-8"},
		"User-Agent":       {"Stripe/1.0 (+https://stripe.com/docs/webhooks)"},
		"Stripe-Signature": {signature},
	}
}

// newHead names a new object. The caller holds the lock.
func (s *Stripe) newHead(prefix string) head {
	return head{id: s.ids.next(prefix), ordinal: s.nextOrdinal(), created: s.now()}
}

func (s *Stripe) nextOrdinal() int64 {
	s.ordinal++
	return s.ordinal
}
