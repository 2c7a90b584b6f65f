package chaos

import (
	"strings"

	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// object is a provider's payment object, by what was really done to it. Amounts are the
// provider's units, which for the currencies used here are minor units.
type object struct {
	provider, id string
	authorized   int64 // ever
	authorizes   int
	released     int64 // of it: voided or expired
	captured     int64 // ever
	captures     int
	reversed     int64            // of it: taken back by the payer's bank
	refunded     map[string]int64 // by refund or obligation, less what came back
	refunds      map[string]int   // how often, by refund or obligation
}

// live reports whether the object holds an authorization that could still be captured. A
// payer's word to a bank is none: it ends as a transfer that was captured, or not at all.
func (o *object) live() bool {
	return o.provider != bank.Name && o.authorized > 0 && o.captures == 0 && o.released < o.authorized
}

// held is how much of the payer's money is with the merchant by it.
func (o *object) held() int64 {
	held := o.captured - o.reversed
	for _, r := range o.refunded {
		held -= r
	}
	return held
}

// truth is all objects of the payments, by payment as providers know it.
func (w *world) truth() map[string][]*object {
	found := map[string][]*object{}
	for _, h := range w.hosts {
		objects := map[string]*object{}
		for _, e := range h.Effects() {
			payment, refund := names(h.name, e.Metadata)
			o := objects[e.Payment]
			if o == nil {
				o = &object{provider: h.name, id: e.Payment, refunded: map[string]int64{}, refunds: map[string]int{}}
				objects[e.Payment] = o
				found[payment] = append(found[payment], o)
			}
			o.add(e, refund)
		}
	}
	return found
}

// names are the identifiers of ours that an effect bears: of the payment, and of the
// refund or the obligation.
func names(provider string, metadata map[string]string) (payment, refund string) {
	if provider == paypal.Name {
		return metadata["invoice_id"], metadata["refund_invoice_id"]
	}
	return metadata["tollgate_payment"], metadata["tollgate_refund"] + metadata["tollgate_obligation"]
}

func (o *object) add(e providersim.Effect, refund string) {
	switch e.Kind {
	case providersim.EffectAuthorize:
		o.authorized += e.AmountMinor
		o.authorizes++
	case providersim.EffectVoid, providersim.EffectExpire:
		o.released += e.AmountMinor
	case providersim.EffectCapture:
		o.captured += e.AmountMinor
		o.captures++
	case providersim.EffectCaptureReversed, providersim.EffectDispute:
		o.reversed += e.AmountMinor
	case providersim.EffectDisputeWon:
		o.reversed -= e.AmountMinor
	case providersim.EffectRefund:
		o.refunded[refund] += e.AmountMinor
		o.refunds[refund]++
	case providersim.EffectRefundReversed:
		o.refunded[refund] -= e.AmountMinor
		o.refunds[refund]--
	}
}

// ofMerchant is how much of an object's refunds the merchant asked for.
func (o *object) ofMerchant() (sum int64) {
	for name, amount := range o.refunded {
		if strings.HasPrefix(name, "re_") {
			sum += amount
		}
	}
	return sum
}
