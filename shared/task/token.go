package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/tollgate/tollgate/shared/fault"
)

// Config says whose tokens are believed. The defaults are Google's; the local stack
// has an issuer of its own, and the same code verifies both.
type Config struct {
	Issuer   string   `env:"OIDC_ISSUER" envDefault:"https://accounts.google.com" who:"terraform"`
	JWKSURL  string   `env:"OIDC_JWKS_URL" envDefault:"https://www.googleapis.com/oauth2/v3/certs" who:"terraform"`
	Audience string   `env:"OIDC_AUDIENCE,required,notEmpty" who:"terraform"`
	Callers  []string `env:"OIDC_CALLERS" who:"terraform"` // emails of service accounts
}

// Verifier tells whether a token was made by the issuer, for this function, and for
// a service account that may call it. Cloud Run checks the caller's right before us;
// this holds where that is misconfigured, and says which account it was.
type Verifier struct {
	tokens  *oidc.IDTokenVerifier
	callers []string
}

// NewVerifier makes a verifier. It fetches the issuer's keys on first use.
func NewVerifier(c Config, now func() time.Time) (*Verifier, error) {
	if len(c.Callers) == 0 {
		return nil, errors.New("OIDC_CALLERS is empty: name the service accounts that may call this function")
	}
	keys := &keySet{url: c.JWKSURL, now: now, client: &http.Client{Timeout: fetchTimeout}}
	return &Verifier{
		tokens: oidc.NewVerifier(c.Issuer, keys, &oidc.Config{
			ClientID: c.Audience, Now: now, SupportedSigningAlgs: []string{oidc.RS256},
		}),
		callers: c.Callers,
	}, nil
}

// maxToken bounds a token's size in bytes; Google's have about 1,200.
const maxToken = 8 << 10

// Verify returns the service account's email. A token that proves nothing is the
// fault unauthenticated; keys that can't be had now are temporarily_unavailable, so
// that a caller whose token is good tries again.
func (v *Verifier) Verify(ctx context.Context, token string) (email string, err error) {
	if len(token) > maxToken {
		return "", refused(errors.New("the token is too long"))
	}
	var fetch fetchError
	verified, err := v.tokens.Verify(context.WithValue(ctx, fetchErrorKey{}, &fetch), token)
	if fetch.err != nil {
		return "", &fault.Error{Code: fault.Unavailable, Detail: "The caller can't be verified now.", Err: fetch.err, Retry: time.Second}
	}
	if err != nil {
		return "", refused(err)
	}
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := verified.Claims(&claims); err != nil {
		return "", refused(err)
	}
	if !claims.Verified || !slices.Contains(v.callers, claims.Email) {
		return "", refused(fmt.Errorf("%q (verified: %t) is not one of OIDC_CALLERS", claims.Email, claims.Verified))
	}
	return claims.Email, nil
}

func refused(err error) error {
	return &fault.Error{Code: fault.Unauthenticated, Detail: "The caller's token is missing or not for this function.", Err: err}
}

const (
	fetchTimeout = 5 * time.Second
	maxKeys      = 1 << 20 // bytes of a key document
	// refetchAfter bounds how often an unknown key id, which anyone can make up,
	// costs a request to the issuer.
	refetchAfter = 10 * time.Second
)

// keySet is the issuer's public keys, fetched when a token names one that is not
// known. go-oidc's own fetches for every such token, and loses whether it was the
// token or the fetch that failed.
type keySet struct {
	url    string
	now    func() time.Time
	client *http.Client

	mu      sync.Mutex
	keys    jose.JSONWebKeySet
	fetched time.Time
}

// fetchError carries a failed fetch past go-oidc, which flattens errors to text.
type fetchError struct{ err error }

type fetchErrorKey struct{}

// VerifySignature implements oidc.KeySet.
func (s *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, err
	}
	keyID := signed.Signatures[0].Header.KeyID
	keys, err := s.named(ctx, keyID)
	if err != nil {
		if f, ok := ctx.Value(fetchErrorKey{}).(*fetchError); ok {
			f.err = err
		}
		return nil, err
	}
	for _, key := range keys {
		if payload, err := signed.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, fmt.Errorf("no key %q of the issuer made the signature", keyID)
}

// named returns the keys of the id. The lock is held over the fetch: whoever comes
// meanwhile wants the same keys.
func (s *keySet) named(ctx context.Context, keyID string) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keys := s.keys.Key(keyID); len(keys) > 0 || s.now().Sub(s.fetched).Abs() < refetchAfter {
		return keys, nil
	}
	fresh, err := s.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetch the issuer's keys: %w", err)
	}
	s.keys, s.fetched = fresh, s.now()
	return s.keys.Key(keyID), nil
}

func (s *keySet) fetch(ctx context.Context) (jose.JSONWebKeySet, error) {
	var keys jose.JSONWebKeySet
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return keys, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return keys, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return keys, fmt.Errorf("%s answers %s", s.url, resp.Status)
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxKeys)).Decode(&keys)
	return keys, err
}
