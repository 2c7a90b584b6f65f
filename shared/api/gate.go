package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/merchant"
)

// GatewayConfig says which service accounts are the API gateway's. Without any, the
// function takes merchants' keys from Authorization alone.
type GatewayConfig struct {
	Callers []string `env:"GATEWAY_CALLERS" who:"terraform"`
}

// Gate lets merchants in by their API key.
type Gate struct {
	Merchants *merchant.Store
	// Gateway verifies the token of the API gateway and returns its service account;
	// nil when there is no gateway in front. It is a *task.Verifier.
	Gateway interface {
		Verify(ctx context.Context, token string) (email string, err error)
	}
}

// forwardedAuthorization is where API Gateway moves a merchant's Authorization to
// make room for its own. It removes a caller's own header of that name only if the
// caller also sent Authorization, so the header means nothing unless the gateway's
// token is beside it.
const forwardedAuthorization = "X-Forwarded-Authorization"

// MerchantFunc does one request of a merchant.
type MerchantFunc func(*http.Request, merchant.Caller) (Response, error)

// Merchant wraps a handler that serves merchants.
func (g *Gate) Merchant(h MerchantFunc) HandlerFunc {
	return func(r *http.Request) (Response, error) {
		key, err := g.key(r)
		if err != nil {
			return Response{}, err
		}
		caller, err := g.Merchants.Authenticate(r.Context(), key)
		if err != nil {
			return Response{}, err
		}
		Annotate(r.Context(), slog.String("merchant_id", caller.MerchantID.String()))
		return h(r, caller)
	}
}

// key finds the API key that the merchant sent.
func (g *Gate) key(r *http.Request) (string, error) {
	token, err := bearer(r.Header, "Authorization")
	if err != nil || strings.HasPrefix(token, string(merchant.KeyPrefix)+"_") {
		return token, err
	}
	if g.Gateway == nil {
		return "", noKey(nil)
	}
	if _, err := g.Gateway.Verify(r.Context(), token); err != nil {
		if fault.Is(err, fault.Unauthenticated) {
			err = noKey(err) // the caller may be a merchant with a wrong key: say what a merchant can mend
		}
		return "", err
	}
	return bearer(r.Header, forwardedAuthorization)
}

func bearer(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", noKey(nil)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", noKey(nil)
	}
	return token, nil
}

func noKey(cause error) error {
	return &fault.Error{
		Code: fault.Unauthenticated, Err: cause,
		Detail: "The API key is missing. Send Authorization: Bearer sk_… with a key of yours, once.",
	}
}
