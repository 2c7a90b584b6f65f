package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// request is one thing that the merchant asks for, under its key, once or more often.
type request struct {
	what    string
	key     idempotency.Request
	create  payment.CreateParams
	payment id.ID // that it is about, or made, as far as the merchant knows
	amount  *int64
	final   *idempotency.Answer
}

// cards are Stripe's test tokens, the usual ones more often.
var cards = []string{
	"pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_visa",
	"pm_card_authenticationRequired", "pm_card_authenticationRequired", "pm_card_threeDSecureRequiredChargeDeclined",
	"pm_card_visa_chargeDeclined", "pm_card_visa_chargeDeclinedInsufficientFunds",
	"pm_card_chargeDeclinedProcessingError", "pm_card_chargeDeclinedProcessingError",
	"pm_card_pendingRefund", "pm_card_refundFail", "pm_card_refundFail", "pm_sim_processing", "pm_sim_processingChargeDeclined",
}

// fates are amounts of bank transfers that come to a bad end, or take long.
var fates = []int64{
	providersim.GoCardlessFails, providersim.GoCardlessFailsLate, providersim.GoCardlessChargedBack, providersim.GoCardlessSlow,
	providersim.GoCardlessRefundBounces,
}

// ask makes a new payment.
func (w *world) ask() {
	methods := map[string]string{stripe.Name: pick(w, cards), paypal.Name: paypal.PaymentMethod, bank.Name: bank.PaymentMethod}
	names := []string{stripe.Name, paypal.Name, bank.Name}
	w.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:pick(w, []int{1, 1, 1, 1, 2, 2, 3})]
	in := payment.CreateParams{
		Amount: 100 + w.rand.Int64N(20_000), Currency: pick(w, []string{"EUR", "EUR", "GBP", "JPY", "USD"}), CaptureMethod: pick(w, []string{"manual", "manual", "manual", "automatic"}),
		PaymentMethod: methods[names[0]], ReturnURL: "https://shop.example/back", Description: "chaos",
	}
	if slices.Contains(names, bank.Name) {
		in.Currency, in.CaptureMethod = pick(w, []string{"EUR", "GBP"}), "automatic"
		if w.chance(0.4) {
			in.Amount = pick(w, fates)
		}
	}
	for _, name := range names[1:] {
		in.Alternatives = append(in.Alternatives, payment.Alternative{PaymentMethod: methods[name]})
	}
	if w.chance(0.3) {
		in.Provider = names[0]
	}
	if w.chance(0.3) {
		seconds := 60 + w.rand.Int64N(86_340)
		in.ExpiresIn = &seconds
	}
	if w.chance(0.3) {
		in.MerchantReference = fmt.Sprintf("order-%d", w.rand.IntN(4))
	}
	w.caller.Preference = nil
	if w.chance(0.2) {
		w.caller.Preference = []string{pick(w, names)}
	}
	w.send(w.remember(&request{what: "create", create: in}))
}

// remember gives a request its key.
func (w *world) remember(r *request) *request {
	body, err := json.Marshal(struct {
		Create payment.CreateParams
		Amount *int64
	}{r.create, r.amount})
	if err != nil {
		panic(err)
	}
	path := "/v1/payments"
	if r.what != "create" {
		path += "/" + id.Payment.External(r.payment) + "/" + r.what
	}
	r.key = idempotency.Request{
		MerchantID: w.caller.MerchantID, Key: fmt.Sprintf("chaos-%020d", len(w.requests)), Method: http.MethodPost, Path: path, Body: body,
	}
	w.requests = append(w.requests, r)
	return r
}

// operate asks for something about a payment, as a rule something that may be asked for.
func (w *world) operate() {
	all := w.payments()
	if len(all) == 0 {
		w.ask()
		return
	}
	p := pick(w, all)
	if p.Status == payment.Pending && w.chance(0.75) {
		w.payer() // a merchant waits for the payer first
		return
	}
	w.operateOn(p)
}

func (w *world) operateOn(p paid) {
	what := pick(w, map[payment.Status][]string{
		payment.Pending:    {"cancel", "cancel", "capture", "refund"},
		payment.Authorized: {"capture", "capture", "capture", "capture", "capture", "cancel", "cancel", "refund"},
		payment.Captured:   {"refund", "refund", "refund", "refund", "refund", "capture", "cancel"},
		payment.Refunded:   {"refund", "cancel"},
		payment.Failed:     {"cancel", "capture"},
		payment.Canceled:   {"cancel", "refund"},
	}[p.Status])
	r := &request{what: what, payment: p.ID}
	if what != "cancel" && w.chance(0.6) {
		part := max(1, p.Amount*int64(10+w.rand.IntN(95))/100)
		r.amount = &part
	}
	w.send(w.remember(r))
}

// repeat sends an earlier request again.
func (w *world) repeat() {
	if len(w.requests) > 0 {
		w.send(pick(w, w.requests))
	}
}

// send has the service answer a request.
func (w *world) send(r *request) {
	about := ""
	switch {
	case r.what == "create":
		about = fmt.Sprintf("%d %s %s %s, %v", r.create.Amount, r.create.Currency, r.create.PaymentMethod, r.create.CaptureMethod, r.create.Alternatives)
	case r.amount != nil:
		about = fmt.Sprintf("%d of %s", *r.amount, id.Payment.External(r.payment))
	default:
		about = id.Payment.External(r.payment)
	}
	w.did("%s %s: %s", r.what, r.key.Key[20:], about)
	slept := w.slept
	died, err := w.work(func() error {
		a, err := w.answer(r)
		if err != nil {
			return err
		}
		w.did("  answered %d", a.Status)
		if r.final == nil || final(a) || w.slept == slept { // else it is what was true before the worker slept
			w.read(r, a)
		}
		if a.After != nil {
			a.After(w.ctx)
		}
		return nil
	})
	if died || err == nil {
		return
	}
	f := fault.As(err)
	w.did("  refused: %s", f.Code)
	if status := fault.Lookup(f.Code).Status; status >= http.StatusInternalServerError && f.Code != fault.ProviderBusy || f.Code == "" {
		w.breaks("%s was answered by trouble of our own: %v", r.what, err)
	}
}

func (w *world) answer(r *request) (idempotency.Answer, error) {
	switch r.what {
	case "create":
		return w.as("createpayment").Create(w.ctx, w.caller, r.key, r.create)
	case "capture":
		return w.as("capturepayment").Capture(w.ctx, w.caller, r.key, r.payment, payment.CaptureParams{Amount: r.amount})
	case "cancel":
		return w.as("cancelpayment").Cancel(w.ctx, w.caller, r.key, r.payment)
	}
	return w.as("refundpayment").Refund(w.ctx, w.caller, r.key, r.payment, payment.RefundParams{Amount: r.amount})
}

func final(a idempotency.Answer) bool {
	return a.Status != http.StatusAccepted && a.Status != http.StatusServiceUnavailable
}

// read has the merchant learn from an answer: a key stands for one payment, and a final
// answer stays as it is.
func (w *world) read(r *request, a idempotency.Answer) {
	if r.final != nil && (r.final.Status != a.Status || !bytes.Equal(r.final.Body, a.Body)) {
		w.breaks("%s was answered %d %s, and now %d %s", r.key.Key, r.final.Status, r.final.Body, a.Status, a.Body)
	}
	if final(a) {
		r.final = &a
	}
	if r.what != "create" {
		return
	}
	var named struct {
		ID      string `json:"id"`
		Payment string `json:"payment_id"`
	}
	if err := json.Unmarshal(a.Body, &named); err != nil {
		w.breaks("an answer that is no JSON: %s", a.Body)
		return
	}
	if named.Payment == "" {
		named.Payment = named.ID
	}
	made, err := id.Payment.Parse(named.Payment)
	if err != nil || !r.payment.IsZero() && r.payment != made {
		w.breaks("%s made %s, and now %s", r.key.Key, id.Payment.External(r.payment), named.Payment)
	}
	r.payment = made
}

// paid is a payment as the driver sees it.
type paid struct {
	ID       id.ID          `db:"id"`
	Status   payment.Status `db:"status"`
	Amount   int64          `db:"amount_minor"`
	Provider string         `db:"provider"`
	Page     *string        `db:"page"`
}

// payments are those of the world's merchant, oldest first.
func (w *world) payments() []paid {
	const list = `SELECT id, status, amount_minor, provider, next_action ->> 'redirect_url' AS page FROM transactions
		WHERE merchant_id = $1 ORDER BY created_at, id`
	all := query[paid](w, list, w.caller.MerchantID)
	for _, p := range all {
		if p.Page != nil && !slices.Contains(w.pages, *p.Page) {
			w.pages = append(w.pages, *p.Page)
		}
	}
	return all
}
