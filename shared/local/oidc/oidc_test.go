package oidc

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"

	verify "github.com/coreos/go-oidc/v3/oidc"
)

const (
	email    = "tasks@demo.iam.gserviceaccount.com"
	audience = "https://deliverwebhook.example"
)

// testTime is a clock that a test moves.
type testTime struct {
	mu sync.Mutex
	at time.Time
}

func (c *testTime) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testTime) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newClock() *testTime { return &testTime{at: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)} }

// serve returns an issuer and a verifier that knows it only by its discovery document.
func serve(t *testing.T, clock *testTime, issuerURL string) (*Issuer, *verify.IDTokenVerifier) {
	t.Helper()
	var i *Issuer
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { i.Handler().ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	if issuerURL == "" {
		issuerURL = srv.URL
	}
	var err error
	if i, err = New(issuerURL, clock.now); err != nil {
		t.Fatal(err)
	}
	ctx := verify.InsecureIssuerURLContext(t.Context(), issuerURL)
	provider, err := verify.NewProvider(ctx, srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return i, provider.Verifier(&verify.Config{ClientID: audience, Now: clock.now})
}

func TestTokenVerifies(t *testing.T) {
	t.Parallel()
	for _, issuerURL := range []string{"", "https://accounts.google.com"} {
		clock := newClock()
		i, verifier := serve(t, clock, issuerURL)
		token, err := verifier.Verify(t.Context(), i.Token(email, audience))
		if err != nil {
			t.Fatal(err)
		}
		var c Claims
		if err := token.Claims(&c); err != nil {
			t.Fatal(err)
		}
		if c.Issuer != i.URL() || c.Email != email || !c.EmailVerified || c.Party != c.Subject {
			t.Errorf("claims %+v", c)
		}
		if !regexp.MustCompile(`^\d{21}$`).MatchString(c.Subject) {
			t.Errorf("sub %q", c.Subject)
		}
		if !token.IssuedAt.Equal(clock.now()) || !token.Expiry.Equal(clock.now().Add(time.Hour)) {
			t.Errorf("issued %s, expires %s", token.IssuedAt, token.Expiry)
		}
	}
}

func TestTokenIsReusedForMinutesOnly(t *testing.T) {
	t.Parallel()
	clock := newClock()
	i, verifier := serve(t, clock, "")
	first := i.Token(email, audience)
	clock.advance(4 * time.Minute)
	if i.Token(email, audience) != first {
		t.Error("a second token within minutes")
	}
	if i.Token(email, "https://other.example") == first || i.Token("other@demo", audience) == first {
		t.Error("one token for two audiences or accounts")
	}
	clock.advance(40 * time.Hour)
	again := i.Token(email, audience)
	if _, err := verifier.Verify(t.Context(), again); err != nil {
		t.Errorf("after 40 hours: %v", err)
	}
	if _, err := verifier.Verify(t.Context(), first); err == nil {
		t.Error("the old token still verifies")
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	i, verifier := serve(t, newClock(), "")
	if _, err := verifier.Verify(t.Context(), i.Forge(email, audience)); err != nil {
		t.Fatalf("without a flaw: %v", err)
	}
	for name, token := range map[string]string{
		"expired":       i.Forge(email, audience, Expired),
		"other issuer":  i.Forge(email, audience, OtherIssuer),
		"other key":     i.Forge(email, audience, OtherKey),
		"unsigned":      i.Forge(email, audience, Unsigned),
		"key as secret": i.Forge(email, audience, KeyAsSecret),
		"audience":      i.Forge(email, "https://other.example"),
	} {
		if _, err := verifier.Verify(t.Context(), token); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
	token, err := verifier.Verify(t.Context(), i.Forge(email, audience, UnverifiedEmail))
	if err != nil {
		t.Fatal(err) // only the caller looks at the email
	}
	var c Claims
	if err := token.Claims(&c); err != nil || c.EmailVerified {
		t.Errorf("claims %+v, %v", c, err)
	}
}

func TestConcurrentTokens(t *testing.T) {
	t.Parallel()
	clock := newClock()
	i, verifier := serve(t, clock, "")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				if i.Token(email, audience) == "" {
					t.Error("no token")
				}
			}
		})
	}
	wg.Go(func() { clock.advance(10 * time.Minute) })
	wg.Wait()
	if _, err := verifier.Verify(t.Context(), i.Token(email, audience)); err != nil {
		t.Error(err)
	}
}
