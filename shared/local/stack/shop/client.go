package shop

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Client calls the API as a merchant.
type Client struct {
	BaseURL string // of the gateway
	APIKey  string
}

// Answer is what a call came back with.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Into reads the body as JSON.
func (a Answer) Into(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("the answer %d %.200s: %w", a.Status, a.Body, err)
	}
	return nil
}

// NewKey makes an Idempotency-Key.
func NewKey() string { return "shop-" + rand.Text() }

// Get fetches a path, query included.
func (c Client) Get(ctx context.Context, path string) (Answer, error) {
	return c.do(ctx, http.MethodGet, path, nil, "")
}

// Delete deletes what a path names.
func (c Client) Delete(ctx context.Context, path string) (Answer, error) {
	return c.do(ctx, http.MethodDelete, path, nil, "")
}

// Patch changes what a path names. The body is marshalled to JSON.
func (c Client) Patch(ctx context.Context, path string, body any) (Answer, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return Answer{}, fmt.Errorf("shop: %w", err)
	}
	return c.do(ctx, http.MethodPatch, path, raw, "")
}

// Post sends a body, marshalled to JSON unless it is bytes already, under an Idempotency-Key.
func (c Client) Post(ctx context.Context, path, key string, body any) (Answer, error) {
	raw, ok := body.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return Answer{}, fmt.Errorf("shop: %w", err)
		}
	}
	return c.do(ctx, http.MethodPost, path, raw, key)
}

func (c Client) do(ctx context.Context, method, path string, body []byte, key string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("shop: %w", err)
	}
	if c.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+c.APIKey)
	}
	if method == http.MethodPost || method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("shop: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("shop: %s %s: %w", method, path, err)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: got}, nil
}
