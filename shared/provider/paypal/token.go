package paypal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/shared/provider/wire"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// tokenMargin is how long before its end a token is not used any more.
const tokenMargin = time.Minute

// errCredentials says that PayPal refuses our client id or secret.
var errCredentials = errors.New("PayPal refused the gateway's credentials")

// tokens keeps one access token for all requests until it is about to expire:
// https://developer.paypal.com/api/rest/authentication/
type tokens struct {
	turn chan struct{} // held by the one that asks for a new token

	mu      sync.Mutex
	value   telemetry.Secret
	expires time.Time
}

func (t *tokens) current(now time.Time) (telemetry.Secret, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.value, t.value != "" && now.Before(t.expires.Add(-tokenMargin))
}

// forget drops a token that PayPal no longer takes, unless there is a newer one.
func (t *tokens) forget(value telemetry.Secret) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value == value {
		t.value = ""
	}
}

// token returns the current token or gets a new one. On failure the exchange is that
// of the token: nothing else was sent.
func (a *Adapter) token(ctx context.Context) (telemetry.Secret, *wire.Exchange, error) {
	if value, ok := a.tokens.current(a.now()); ok {
		return value, nil, nil
	}
	select {
	case a.tokens.turn <- struct{}{}:
	case <-ctx.Done():
		return "", &wire.Exchange{Err: ctx.Err(), TimedOut: errors.Is(ctx.Err(), context.DeadlineExceeded)}, ctx.Err()
	}
	defer func() { <-a.tokens.turn }()
	if value, ok := a.tokens.current(a.now()); ok {
		return value, nil, nil
	}
	x := a.exchange(ctx, func(ctx context.Context) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+"/v1/oauth2/token", strings.NewReader("grant_type=client_credentials"))
		if err == nil {
			req.SetBasicAuth(a.clientID, a.clientSecret.Reveal())
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	})
	return a.tokens.take(x, a.now())
}

func (t *tokens) take(x *wire.Exchange, now time.Time) (telemetry.Secret, *wire.Exchange, error) {
	var reply struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
	}
	problem := x.Failed()
	parsed := json.Unmarshal(x.Body, &reply)
	switch {
	case x.Answered() && x.Status == http.StatusUnauthorized && parsed == nil && reply.Error == "invalid_client":
		return "", x, errCredentials
	case problem != nil:
		return "", x, fmt.Errorf("no token: %w", problem)
	case parsed != nil || reply.AccessToken == "" || reply.ExpiresIn <= 0 || strings.ContainsAny(reply.AccessToken, " \r\n"):
		return "", x, errors.New("no token in the reply")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value = telemetry.Secret(reply.AccessToken)
	t.expires = now.Add(time.Duration(min(reply.ExpiresIn, 24*3600)) * time.Second)
	return t.value, x, nil
}
