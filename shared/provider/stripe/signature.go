package stripe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// SignatureHeader carries the signatures of a webhook.
const SignatureHeader = "Stripe-Signature"

const (
	// signatureTolerance is how far a signature's time may be from ours, in either
	// direction. Stripe's libraries allow 300 s into the past, and any future.
	signatureTolerance = 300 * time.Second

	maxSignatureHeader = 4 << 10
)

// Verify checks the Stripe-Signature header of a webhook against its raw body, by
// https://docs.stripe.com/webhooks#verify-manually: one of its v1 signatures must be
// the HMAC-SHA256 of time and body under one of the secrets, and its time within
// 300 s of now. The error is a fault with the code signature_invalid.
//
// stripe-go's verifier reads the real clock, takes signatures from the future, and of
// two times the last.
func Verify(header string, body []byte, secrets []telemetry.Secret, now time.Time) error {
	signed, err := parseSignature(header)
	if err != nil {
		return err
	}
	if age := now.Sub(signed.at); age > signatureTolerance || age < -signatureTolerance {
		return badSignature("its time is more than %d seconds from now", int(signatureTolerance.Seconds()))
	}
	valid := false
	for _, secret := range secrets {
		key := strings.TrimSpace(secret.Reveal()) // a list in a variable may have spaces
		if key == "" {
			continue // anybody can sign with an empty key
		}
		mac := hmac.New(sha256.New, []byte(key)) // the whole secret, whsec_ included
		mac.Write([]byte(signed.time + "."))
		mac.Write(body)
		want := mac.Sum(nil)
		for _, got := range signed.signatures {
			valid = hmac.Equal(got, want) || valid
		}
	}
	if !valid {
		return badSignature("no signature in it fits the body and a current secret")
	}
	return nil
}

type signature struct {
	time       string // as signed
	at         time.Time
	signatures [][]byte
}

// parseSignature reads "t=1495999758,v1=…,v1=…". Unknown schemes are passed over, as
// Stripe asks; anything else unusual is refused.
func parseSignature(header string) (signature, error) {
	var s signature
	if header == "" {
		return s, badSignature("it is missing")
	}
	if len(header) > maxSignatureHeader {
		return s, badSignature("it is too long")
	}
	for pair := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" || strings.Contains(value, "=") {
			return s, badSignature("it is not a list of name=value")
		}
		switch name {
		case "t":
			seconds, err := strconv.ParseUint(value, 10, 63)
			if err != nil || s.time != "" {
				return s, badSignature("it needs exactly one t with a Unix time")
			}
			s.time, s.at = value, time.Unix(int64(seconds), 0)
		case "v1":
			sum, err := hex.DecodeString(value)
			if err != nil || len(sum) != sha256.Size {
				return s, badSignature("v1 must be %d hexadecimal digits", 2*sha256.Size)
			}
			s.signatures = append(s.signatures, sum)
		}
	}
	if s.time == "" || len(s.signatures) == 0 {
		return s, badSignature("it needs t and v1")
	}
	return s, nil
}

func badSignature(format string, args ...any) error {
	return fault.New(fault.SignatureInvalid, "The "+SignatureHeader+" header is refused: "+format+".", args...)
}
