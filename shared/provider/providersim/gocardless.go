package providersim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// GoCardlessVersion is the API version that the simulator speaks and asks for.
const GoCardlessVersion = "2015-07-06"

// Amounts, in minor units of either currency, that come to a bad end. GoCardless has
// scenario simulators for this in its sandbox; here the amount chooses.
const (
	GoCardlessFails         = 10001 // submitted, then failed
	GoCardlessFailsLate     = 10002 // confirmed, then failed after PayOutDelay
	GoCardlessChargedBack   = 10003 // confirmed, then charged back after PayOutDelay
	GoCardlessSlow          = 10004 // confirmed only after three more days
	GoCardlessRefundBounces = 10005 // its refunds are paid, then come back after RefundDelay
)

const goCardlessSlowness = 3 * 24 * time.Hour

// EffectCaptureReversed is a payment that failed after it had been confirmed.
const EffectCaptureReversed EffectKind = "capture_reversed"

// GoCardlessConfig is what a simulated GoCardless account needs. Now is required, and
// so is at least one access token for any request to be let in.
type GoCardlessConfig struct {
	Now           func() time.Time
	AccessTokens  []string     // accepted tokens of the one creditor
	WebhookSecret string       // of the one webhook endpoint
	WebhookURL    string       // where events are sent; empty sends none, see SetWebhook
	HTTP          *http.Client // sends the events; nil makes one
	Seed          uint64       // makes the identifiers, see StripeConfig

	SubmitDelay  time.Duration // from the payer's authorization until it is submitted; 0 is a minute
	ConfirmDelay time.Duration // from then until it is confirmed; 0 is 10 minutes
	PayOutDelay  time.Duration // from then until it is paid out; 0 is a day
	RefundDelay  time.Duration // until a refund is paid; 0 is 10 minutes

	// Fee is what GoCardless keeps of a payment, in tenths of a minor unit; nil is
	// GoCardlessFee.
	Fee func(amountMinor int64, currency string) (tenths int64)
}

// GoCardless is a simulated GoCardless account that takes Instant Bank Pay payments:
// an http.Handler that stands where https://api.gocardless.com does. It has billing
// requests (create, cancel, retrieve, list), billing request flows (create), payments,
// refunds, payouts and events (create where there is such a thing, retrieve, list), and
// the items of payouts, with cursors, strict parameters, and errors in GoCardless's shapes. It is safe for
// concurrent use.
//
// The payer is sent to authorisation_url, a page of the simulator, whose links end
// with ?outcome=authorise, fail and exit; CompleteFlow is the same in Go. An
// authorized billing request is fulfilled at once; its payment goes by the clock from
// pending_submission to submitted, confirmed and paid_out. The amounts above fail.
//
// These are true of GoCardless, and easily forgotten:
//
//   - A key makes one object and keeps no answer. The same key again is 409,
//     idempotent_creation_conflict, which names the object; a request that failed
//     leaves its key unused, so that after a 500 the key tells nothing.
//   - A refund says how much the payment will have been refunded in total,
//     total_amount_confirmation, and is refused when somebody else was faster.
//   - A webhook carries several events, which state no amounts and no status: the
//     object must be fetched. Its signature covers no time.
//   - A refund that was paid may come back.
//   - A payment is in no report until a payout has it, and its fee is an item of its own
//     there, of tenths of a penny. What does not fill a penny is rounded in the payout.
//
// Faults are asked for as with Stripe, except that no answer is kept under a key:
// 500_before leaves no trace, and late_500 holds the key like late_drop. The operation
// "confirm" is the making of a flow. A webhook rule's event, such as
// payments.confirmed, is held against the first event in a webhook.
//
// The simulator departs from GoCardless in that keys never expire, that any amount is
// taken, and that retries of webhooks are those of Stripe. What GoCardless does not
// document is its best guess: a key in use is a conflict that names no object, and an
// action on an object in the wrong state is a 409.
type GoCardless struct {
	*rig
	cfg    GoCardlessConfig
	admin  *http.ServeMux
	secret struct {
		sync.Mutex
		text string
	}

	mu       sync.Mutex // all below
	ordinal  int64
	keys     map[string]*gcKey
	objects  map[string]gcResource
	requests []*gcRequest
	payments []*gcPayment
	refunds  []*gcRefund
	payouts  []*gcPayout
	events   []*gcEvent
	book     book
}

// gcResource is an object that the API can return, and list.
type gcResource interface {
	render() any
	header() *head
}

// NewGoCardless makes an account without payments. It panics without a clock.
func NewGoCardless(cfg GoCardlessConfig) *GoCardless {
	cfg.SubmitDelay = orDefault(cfg.SubmitDelay, time.Minute)
	cfg.ConfirmDelay = orDefault(cfg.ConfirmDelay, 10*time.Minute)
	cfg.PayOutDelay = orDefault(cfg.PayOutDelay, 24*time.Hour)
	cfg.RefundDelay = orDefault(cfg.RefundDelay, 10*time.Minute)
	s := &GoCardless{cfg: cfg, keys: map[string]*gcKey{}, objects: map[string]gcResource{}}
	if s.cfg.Fee == nil {
		s.cfg.Fee = GoCardlessFee
	}
	s.book = book{scale: 10, prefix: "PO", name: s.nameLine}
	s.secret.text = cfg.WebhookSecret
	s.rig = newRig(rigConfig{now: cfg.Now, keys: cfg.AccessTokens, seed: cfg.Seed, url: cfg.WebhookURL, http: cfg.HTTP, sign: s.sign})
	s.admin = s.adminMux()
	plantPages(s.admin, s)
	disputePages(s.admin, s)
	s.admin.HandleFunc("GET /_sim/bank/{flow}", s.payerPage)
	s.admin.HandleFunc("POST /_sim/bank/{flow}", s.payerAdmin)
	return s
}

// SetWebhookSecret replaces the secret that webhooks are signed with.
func (s *GoCardless) SetWebhookSecret(secret string) {
	s.secret.Lock()
	s.secret.text = secret
	s.secret.Unlock()
}

// sign makes the headers of one delivery, after
// https://developer.gocardless.com/getting-started/api/staying-up-to-date-with-webhooks.
func (s *GoCardless) sign(payload []byte, _ time.Time) http.Header {
	s.secret.Lock()
	mac := hmac.New(sha256.New, []byte(s.secret.text))
	s.secret.Unlock()
	mac.Write(payload)
	return http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {"gocardless-webhook-service/1.2"},
		"Origin":            {"https://api-sandbox.gocardless.com"},
		"Webhook-Signature": {hex.EncodeToString(mac.Sum(nil))},
	}
}

// keep names a new object and remembers it. The caller holds the lock.
func (s *GoCardless) keep(prefix string, o gcResource) {
	s.ordinal++
	*o.header() = head{id: s.ids.next(prefix), ordinal: s.ordinal, created: s.now()}
	s.objects[o.header().id] = o
}

// effect records that money, or the claim on it, moved.
func (s *GoCardless) effect(by cause, kind EffectKind, br *gcRequest, id string, amount int64, own map[string]string) {
	s.note(Effect{
		Kind: kind, Payment: br.id, Object: id, AmountMinor: amount, Currency: lowerCurrency(br.currency),
		Metadata: merged(br.metadata, own), IdempotencyKey: by.key, RequestID: by.requestID, At: s.now(),
	})
}

// CompleteFlow answers a payer's page as the payer would: "authorise" pays, "fail" is
// a bank that refuses, and "exit" a payer who leaves, both of whom may come back. It
// fails when there is no such flow, or nothing is left to answer.
func (s *GoCardless) CompleteFlow(flow, outcome string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.objects[flow].(*gcFlow)
	if !ok {
		return fmt.Errorf("no such billing_request_flow: %q", flow)
	}
	if f.expired(s.now()) {
		return fmt.Errorf("flow %s has expired; billing request %s is %s", f.id, f.request.id, f.request.status)
	}
	switch outcome {
	case "authorise":
		s.fulfil(f)
	case "fail":
		s.tell(f.request, gcNews{"billing_requests", "bank_authorisation_failed", "billing_request_bank_authorisation_failed", object{"billing_request": f.request.id, "billing_request_flow": f.id}, f.request.metadata})
	case "exit":
		s.tell(f.request, gcNews{"billing_requests", "flow_exited", "billing_request_flow_exited", object{"billing_request": f.request.id, "billing_request_flow": f.id}, f.request.metadata})
	default:
		return fmt.Errorf("outcome must be authorise, fail or exit, not %q", outcome)
	}
	return nil
}
