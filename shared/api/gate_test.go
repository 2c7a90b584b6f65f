package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

// gatewayToken believes one token.
type gatewayToken string

func (g gatewayToken) Verify(_ context.Context, token string) (string, error) {
	switch token {
	case string(g):
		return "gateway@demo", nil
	case "issuer-away":
		return "", fault.New(fault.Unavailable, "later")
	}
	return "", fault.New(fault.Unauthenticated, "not the gateway")
}

func TestGate(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC) }
	merchants := &merchant.Store{DB: pgtest.Tx(t), Now: now, NewID: id.Source{Now: now}.New}
	m, err := merchants.Create(t.Context(), "Demo")
	if err != nil {
		t.Fatal(err)
	}
	keyID, secret, err := merchants.IssueKey(t.Context(), m.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	key := "Bearer " + secret.Reveal()
	wrong := key[:len(key)-9] + "A" + key[len(key)-8:]
	if wrong == key { // as one key in 64 has it
		wrong = key[:len(key)-9] + "B" + key[len(key)-8:]
	}
	open := &Gate{Merchants: merchants}
	behind := &Gate{Merchants: merchants, Gateway: gatewayToken("gw-token")}

	for name, c := range map[string]struct {
		gate                 *Gate
		authorization, moved []string
		want                 int
	}{
		"a key":                                 {open, []string{key}, nil, 200},
		"a key, gateway configured":             {behind, []string{key}, nil, 200},
		"the scheme in another case":            {open, []string{"bearer " + secret.Reveal()}, nil, 200},
		"by the gateway":                        {behind, []string{"Bearer gw-token"}, []string{key}, 200},
		"no key":                                {open, nil, nil, 401},
		"a wrong key":                           {open, []string{wrong}, nil, 401},
		"another scheme":                        {open, []string{"Basic " + secret.Reveal()}, nil, 401},
		"no scheme":                             {open, []string{secret.Reveal()}, nil, 401},
		"two keys":                              {open, []string{key, key}, nil, 401},
		"moved, without the gateway":            {behind, nil, []string{key}, 401},
		"moved, beside a wrong token":           {behind, []string{"Bearer other"}, []string{key}, 401},
		"moved, beside a wrong key":             {behind, []string{wrong}, []string{key}, 401},
		"moved, but no gateway is configured":   {open, []string{"Bearer gw-token"}, []string{key}, 401},
		"the gateway without a merchant":        {behind, []string{"Bearer gw-token"}, nil, 401},
		"the gateway and a wrong key":           {behind, []string{"Bearer gw-token"}, []string{"Bearer sk_no"}, 401},
		"the gateway and two keys":              {behind, []string{"Bearer gw-token"}, []string{key, key}, 401},
		"the gateway's token in both":           {behind, []string{"Bearer gw-token"}, []string{"Bearer gw-token"}, 401},
		"the gateway, while its issuer is away": {behind, []string{"Bearer issuer-away"}, []string{key}, 503},
	} {
		h := Handle(testEnv(io.Discard), "getpayment", "GET /", c.gate.Merchant(func(_ *http.Request, got merchant.Caller) (Response, error) {
			if got.MerchantID != m.ID || got.KeyID != keyID || len(got.Preference) > 0 {
				return Response{}, errors.New("another caller")
			}
			return JSON(http.StatusOK, 1)
		}))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header["Authorization"], r.Header["X-Forwarded-Authorization"] = c.authorization, c.moved
		if w := serve(h, r); w.Code != c.want {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}
