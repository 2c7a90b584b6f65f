package providersim

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// note records what was really done. The caller holds the lock.
func (p *PayPal) note(by cause, kind EffectKind, b *paypalObject, units int64) {
	p.rig.note(Effect{
		Kind: kind, Payment: b.order.id, Object: b.id, AmountMinor: units, Currency: strings.ToLower(b.order.currency),
		Metadata: b.metadata(), IdempotencyKey: by.key, RequestID: by.requestID, At: p.now(),
	})
}

func (p *PayPal) emitPayment(b *paypalObject, name string) {
	p.emit(name, b.kind, b.order, p.renderPayment(b))
}

// emit sends an event. The caller holds the lock.
func (p *PayPal) emit(name, kind string, o *paypalOrder, resource any) {
	now := p.now()
	payload, err := json.Marshal(object{
		"id": p.ids.next("WH-"), "event_version": "1.0", "create_time": now.UTC().Format("2006-01-02T15:04:05.000Z"), "resource_type": kind,
		"resource_version": "2.0", "event_type": name, "summary": name, "resource": resource, "links": []any{},
	})
	if err != nil {
		panic("providersim: " + err.Error()) // only our own types come here
	}
	p.sender.send(hook{lane: o.id, event: name, payload: slices.Clone(payload), created: now}, o.metadata())
}

// verifySignature is POST /v1/notifications/verify-webhook-signature.
func (p *PayPal) verifySignature(c *paypalCall) (paypalResult, *paypalError) {
	var in struct {
		AuthAlgo         string          `json:"auth_algo"`
		CertURL          string          `json:"cert_url"`
		TransmissionID   string          `json:"transmission_id"`
		TransmissionSig  []byte          `json:"transmission_sig"`
		TransmissionTime string          `json:"transmission_time"`
		WebhookID        string          `json:"webhook_id"`
		WebhookEvent     json.RawMessage `json:"webhook_event"`
	}
	if problem := c.read(&in); problem != nil {
		return paypalResult{}, problem
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d", in.TransmissionID, in.TransmissionTime, in.WebhookID, crc32.ChecksumIEEE(in.WebhookEvent)))
	status := "FAILURE"
	if in.CertURL == p.base+paypalCertPath && in.WebhookID == p.cfg.WebhookID && in.AuthAlgo == "SHA256withRSA" &&
		rsa.VerifyPKCS1v15(&p.signer.key.PublicKey, crypto.SHA256, sum[:], in.TransmissionSig) == nil {
		status = "SUCCESS"
	}
	return paypalResult{200, func() any { return object{"verification_status": status} }}, nil
}
