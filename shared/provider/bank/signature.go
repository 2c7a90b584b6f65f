package bank

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// SignatureHeader carries the signature of a webhook.
const SignatureHeader = "Webhook-Signature"

// Verify checks the Webhook-Signature header of a webhook against its raw body: it
// must be the HMAC-SHA256 of the body under one of the secrets, in hexadecimal. The
// error is a fault with the code bank_signature_invalid, which is answered with 498, as
// GoCardless asks: https://developer.gocardless.com/api-reference/#webhooks-overview
//
// The signature covers no time, so that a webhook that was overheard can be sent
// again for ever. What makes that harmless is that an event is recorded once by its
// id, and that it only has the payment looked up.
func Verify(header string, body []byte, secrets []telemetry.Secret) error {
	if header == "" {
		return badSignature("it is missing")
	}
	got, err := hex.DecodeString(header)
	if err != nil || len(got) != sha256.Size {
		return badSignature("it must be %d hexadecimal digits", 2*sha256.Size)
	}
	valid := false
	for _, secret := range secrets {
		key := strings.TrimSpace(secret.Reveal()) // a list in a variable may have spaces
		if key == "" {
			continue // anybody can sign with an empty key
		}
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(body)
		valid = hmac.Equal(got, mac.Sum(nil)) || valid
	}
	if !valid {
		return badSignature("it does not fit the body and a current secret")
	}
	return nil
}

func badSignature(format string, args ...any) error {
	return fault.New(fault.BankSignatureInvalid, "The "+SignatureHeader+" header is refused: "+format+".", args...)
}
