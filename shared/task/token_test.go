package task

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/local/oidc"
)

const (
	caller   = "tasks@demo.iam.gserviceaccount.com"
	audience = "https://resumepayment.example"
)

// testTime is a clock that a test moves.
type testTime struct{ at atomic.Pointer[time.Time] }

func newTime() *testTime {
	var c testTime
	c.set(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	return &c
}

func (c *testTime) now() time.Time          { return *c.at.Load() }
func (c *testTime) set(t time.Time)         { c.at.Store(&t) }
func (c *testTime) advance(d time.Duration) { c.set(c.now().Add(d)) }

// issuer is an issuer whose keys can change and whose server can be away.
type issuer struct {
	*oidc.Issuer
	config  Config
	away    atomic.Bool
	fetches atomic.Int64
	keys    atomic.Pointer[oidc.Issuer]
}

func newIssuer(t *testing.T, clock *testTime) *issuer {
	t.Helper()
	i := &issuer{Issuer: newKeys(t, clock)}
	i.keys.Store(i.Issuer)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.fetches.Add(1)
		if i.away.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		i.keys.Load().Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	i.config = Config{Issuer: i.URL(), JWKSURL: srv.URL + "/oauth2/v3/certs", Audience: audience, Callers: []string{"other@demo", caller}}
	return i
}

func newKeys(t *testing.T, clock *testTime) *oidc.Issuer {
	t.Helper()
	keys, err := oidc.New("https://accounts.google.com", clock.now)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newVerifier(t *testing.T, c Config, clock *testTime) *Verifier {
	t.Helper()
	v, err := NewVerifier(c, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerify(t *testing.T) {
	t.Parallel()
	clock := newTime()
	i := newIssuer(t, clock)
	v := newVerifier(t, i.config, clock)
	if email, err := v.Verify(t.Context(), i.Token(caller, audience)); err != nil || email != caller {
		t.Fatalf("got %q, %v", email, err)
	}
	for name, token := range map[string]string{
		"none":             "",
		"not a token":      "sk_live_123",
		"another account":  i.Token("payer@demo.iam.gserviceaccount.com", audience),
		"no account":       i.Token("", audience),
		"another function": i.Token(caller, "https://deliverwebhook.example"),
		"expired":          i.Forge(caller, audience, oidc.Expired),
		"email unverified": i.Forge(caller, audience, oidc.UnverifiedEmail),
		"another issuer":   i.Forge(caller, audience, oidc.OtherIssuer),
		"another key":      i.Forge(caller, audience, oidc.OtherKey),
		"unsigned":         i.Forge(caller, audience, oidc.Unsigned),
		"key as secret":    i.Forge(caller, audience, oidc.KeyAsSecret),
		"endless":          i.Token(caller, audience) + strings.Repeat("A", maxToken),
	} {
		if email, err := v.Verify(t.Context(), token); !fault.Is(err, fault.Unauthenticated) || email != "" {
			t.Errorf("%s: got %q, %v", name, email, err)
		}
	}
	clock.advance(2 * time.Hour)
	if _, err := v.Verify(t.Context(), i.Token(caller, audience)); err != nil {
		t.Errorf("a fresh token two hours later: %v", err)
	}
}

func TestAnIssuerThatIsAwayIsNotTheCallersFault(t *testing.T) {
	t.Parallel()
	clock := newTime()
	i := newIssuer(t, clock)
	v := newVerifier(t, i.config, clock)
	i.away.Store(true)
	_, err := v.Verify(t.Context(), i.Token(caller, audience))
	if !fault.Is(err, fault.Unavailable) || fault.As(err).Retry == 0 {
		t.Errorf("away: %v", err)
	}
	i.away.Store(false)
	if _, err := v.Verify(t.Context(), i.Token(caller, audience)); err != nil {
		t.Errorf("back at once: %v", err)
	}
	i.away.Store(true)
	if _, err := v.Verify(t.Context(), i.Token(caller, audience)); err != nil {
		t.Errorf("known keys need no issuer: %v", err)
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	clock := newTime()
	i := newIssuer(t, clock)
	v := newVerifier(t, i.config, clock)
	if _, err := v.Verify(t.Context(), i.Token(caller, audience)); err != nil {
		t.Fatal(err)
	}
	rotated := newKeys(t, clock)
	i.keys.Store(rotated)
	clock.advance(refetchAfter)
	if _, err := v.Verify(t.Context(), rotated.Token(caller, audience)); err != nil {
		t.Errorf("a token by the new key: %v", err)
	}
	if _, err := v.Verify(t.Context(), i.Token(caller, audience)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a token by the old key: %v", err)
	}
}

func TestMadeUpKeyIdsCostFewFetches(t *testing.T) {
	t.Parallel()
	clock := newTime()
	i := newIssuer(t, clock)
	v := newVerifier(t, i.config, clock)
	stranger := newKeys(t, clock)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := v.Verify(t.Context(), stranger.Token(caller, audience)); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("20 strangers cost %d fetches", n)
	}
}

func TestAVerifierNeedsCallers(t *testing.T) {
	t.Parallel()
	if _, err := NewVerifier(Config{Audience: audience}, time.Now); err == nil || !strings.Contains(err.Error(), "OIDC_CALLERS") {
		t.Errorf("got %v", err)
	}
}
