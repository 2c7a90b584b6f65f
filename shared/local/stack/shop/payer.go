package shop

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Visit answers at a provider's page for the payer, by the link that leads to the outcome, and returns what a browser
// would get then: as a rule a 303 to where the payer is sent back. Each simulator has outcomes of its own.
func Visit(ctx context.Context, page, outcome string) (Answer, error) {
	u, err := url.Parse(page)
	if err != nil {
		return Answer{}, fmt.Errorf("shop: the payer's page: %w", err)
	}
	u.RawQuery = url.Values{"outcome": {outcome}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Answer{}, fmt.Errorf("shop: the payer's page: %w", err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // which does not follow
	if err != nil {
		return Answer{}, fmt.Errorf("shop: the payer's page: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("shop: the payer's page: %w", err)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}
