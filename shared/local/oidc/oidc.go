// Package oidc is a local issuer of OpenID Connect ID tokens in the shape of those that Google signs for Pub/Sub push,
// Cloud Tasks, Cloud Scheduler and API Gateway. The code that verifies Google's tokens verifies these: only the issuer
// and the place of its keys are configuration.
//
// It owns one RSA key, made when the issuer is, and kept nowhere. It can also mint the tokens that a verifier must
// refuse. It is for tests and the local stack and never linked into a deployed function: it signs for whoever asks.
package oidc

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	lifetime = time.Hour // as Google's
	reuse    = 5 * time.Minute
	keyBits  = 2048
)

// Issuer signs ID tokens. It is safe for concurrent use.
type Issuer struct {
	url   string
	now   func() time.Time
	key   *rsa.PrivateKey
	keyID string

	mu     sync.Mutex
	minted map[subject]minted
}

type subject struct{ email, audience string }

type minted struct {
	token string
	at    time.Time
}

// New makes an issuer with a fresh key. The url is the iss of its tokens; Google's is https://accounts.google.com.
func New(url string, now func() time.Time) (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("oidc: %w", err)
	}
	thumb, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("oidc: %w", err)
	}
	return &Issuer{
		url: url, now: now, key: key,
		keyID:  base64.RawURLEncoding.EncodeToString(thumb),
		minted: map[subject]minted{},
	}, nil
}

// URL is the iss of the tokens.
func (i *Issuer) URL() string { return i.url }

// Token returns an ID token of the service account for the audience, valid for an hour. The same token is given out
// for some minutes, as Google's services do: signing one takes longer than the request it goes with.
func (i *Issuer) Token(email, audience string) string {
	s, now := subject{email, audience}, i.now()

	i.mu.Lock()
	m, ok := i.minted[s]
	i.mu.Unlock()
	if age := now.Sub(m.at); ok && age >= 0 && age < reuse {
		return m.token
	}
	m = minted{i.Forge(email, audience), now}
	i.mu.Lock()
	i.minted[s] = m
	i.mu.Unlock()
	return m.token
}

// Claims are those of a Google ID token of a service account.
type Claims struct {
	Issuer        string `json:"iss"`
	Audience      string `json:"aud"`
	Subject       string `json:"sub"`
	Party         string `json:"azp"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	IssuedAt      int64  `json:"iat"`
	Expiry        int64  `json:"exp"`
}

func (i *Issuer) claims(email, audience string) Claims {
	now, id := i.now(), accountID(email)
	return Claims{
		Issuer: i.url, Audience: audience, Subject: id, Party: id, Email: email, EmailVerified: true,
		IssuedAt: now.Unix(), Expiry: now.Add(lifetime).Unix(),
	}
}

// accountID makes up the 21 digits that Google numbers an account with; one email always has the same.
func accountID(email string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(email))
	return fmt.Sprintf("1%020d", h.Sum64())
}

// Handler serves the discovery document and the public keys:
//
//	GET /.well-known/openid-configuration
//	GET /oauth2/v3/certs
//
// The document names the keys at the host that was asked, so that an issuer called https://accounts.google.com can be
// served from loopback.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{
			"issuer":                                i.url,
			"jwks_uri":                              "http://" + r.Host + "/oauth2/v3/certs",
			"response_types_supported":              []string{"id_token"},
			"subject_types_supported":               []string{"public"},
			"id_token_signing_alg_values_supported": []string{string(jose.RS256)},
		})
	})
	mux.HandleFunc("GET /oauth2/v3/certs", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
			Key: i.key.Public(), KeyID: i.keyID, Algorithm: string(jose.RS256), Use: "sig",
		}}})
	})
	return mux
}

func answer(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}
