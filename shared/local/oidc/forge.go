package oidc

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A Flaw makes a forged token wrong in one way. A wrong audience or email needs none: ask for another.
type Flaw func(*forgery)

type forgery struct {
	issuer *Issuer
	claims Claims
	alg    string
	key    any
}

// Expired makes a token that ran out a minute ago.
func Expired(f *forgery) {
	f.claims.IssuedAt = f.issuer.now().Add(-lifetime - time.Minute).Unix()
	f.claims.Expiry = f.issuer.now().Add(-time.Minute).Unix()
}

// UnverifiedEmail makes a token whose email the issuer does not vouch for.
func UnverifiedEmail(f *forgery) { f.claims.EmailVerified = false }

// OtherIssuer makes a token that names another issuer, signed with our key.
func OtherIssuer(f *forgery) { f.claims.Issuer = "https://issuer.invalid" }

// OtherKey signs with a key that is not the issuer's, under the issuer's key id.
func OtherKey(f *forgery) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		panic(err)
	}
	f.key = key
}

// Unsigned makes a token with "alg": "none" and no signature.
func Unsigned(f *forgery) { f.alg = "none" }

// KeyAsSecret signs with HS256 and the public key as the secret: a verifier that lets the token choose how it is
// checked takes it for good.
func KeyAsSecret(f *forgery) {
	f.alg = string(jose.HS256)
	f.key = x509.MarshalPKCS1PublicKey(&f.issuer.key.PublicKey)
}

// Forge mints a fresh token with the given flaws, for tests of what verifies them.
func (i *Issuer) Forge(email, audience string, flaws ...Flaw) string {
	f := forgery{issuer: i, claims: i.claims(email, audience), alg: string(jose.RS256), key: i.key}
	for _, flaw := range flaws {
		flaw(&f)
	}
	return f.sign()
}

// sign panics when it cannot: the claims are strings and numbers and the keys our own, so that is a mistake here.
func (f *forgery) sign() string {
	payload, err := json.Marshal(f.claims)
	if err != nil {
		panic(err)
	}
	if f.alg == "none" {
		enc := base64.RawURLEncoding
		return enc.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + enc.EncodeToString(payload) + "."
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(f.alg), Key: f.key},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", f.issuer.keyID),
	)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}
