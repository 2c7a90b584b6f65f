// Package controlplane lets the processes of the local stack share one control plane, as the instances of a deployment
// share Firestore: a control.Store behind HTTP, and a client that is a control.Store.
//
// It owns nothing but the form of the requests. It asks nobody who they are, so it belongs on a loopback address. It
// is never linked into a deployed function.
package controlplane

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/control"
)

const (
	documents = "/documents/"
	maxBytes  = 1 << 20 // as Firestore's limit for a document
	absent    = `"absent"`
)

// Handler serves a store:
//
//	GET    /documents/circuits/stripe   the document as JSON with an ETag, or 404 with the ETag of none
//	PUT    /documents/circuits/stripe   replaces it if it still has the ETag in If-Match, else 412
//	DELETE /documents/circuits/stripe   removes it, likewise
//
// A document that is equal again has an equal ETag.
func Handler(store control.Store) http.Handler {
	h := handler{store}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+documents+"{path...}", h.get)
	mux.HandleFunc("PUT "+documents+"{path...}", h.put)
	mux.HandleFunc("DELETE "+documents+"{path...}", h.put)
	return mux
}

type handler struct{ store control.Store }

func (h handler) get(w http.ResponseWriter, r *http.Request) {
	d, err := h.store.Get(r.Context(), r.PathValue("path"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text, tag, err := spell(d)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("ETag", tag)
	if d == nil {
		http.Error(w, "no such document", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

var errMoved = errors.New("the document is not what If-Match says")

func (h handler) put(w http.ResponseWriter, r *http.Request) {
	var after control.Document
	if r.Method == http.MethodPut {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
		if err == nil {
			after, err = control.Parse(text)
		}
		if err == nil && after == nil {
			err = errors.New("a document is a JSON object")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	err := h.store.Change(r.Context(), r.PathValue("path"), func(before control.Document) (control.Document, error) {
		_, tag, err := spell(before)
		if err == nil && tag != r.Header.Get("If-Match") {
			err = errMoved
		}
		return after, err
	})
	switch {
	case errors.Is(err, errMoved):
		http.Error(w, err.Error(), http.StatusPreconditionFailed)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// spell writes a document down, with the tag that names its content.
func spell(d control.Document) (text []byte, tag string, err error) {
	if d == nil {
		return nil, absent, nil
	}
	text, err = json.Marshal(d) // sorts the keys
	sum := sha256.Sum256(text)
	return text, `"` + hex.EncodeToString(sum[:16]) + `"`, err
}

// Client is a store that another process serves.
type Client struct {
	base string
	http *http.Client
}

// NewClient reaches the store that is served at a URL such as http://127.0.0.1:4321.
func NewClient(base string) *Client {
	return &Client{strings.TrimSuffix(base, "/"), &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
	}}
}

// Get returns the document, nil when there is none.
func (c *Client) Get(ctx context.Context, path string) (control.Document, error) {
	d, _, err := c.get(ctx, path)
	return d, err
}

func (c *Client) get(ctx context.Context, path string) (d control.Document, tag string, err error) {
	resp, err := c.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes))
	tag = resp.Header.Get("ETag")
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("control plane: read %s: %w", path, err)
	case resp.StatusCode == http.StatusNotFound && tag == absent:
		return nil, tag, nil
	case resp.StatusCode != http.StatusOK:
		return nil, "", answered(resp, text)
	}
	d, err = control.Parse(text)
	return d, tag, err
}

// Change changes the document; see control.Store.
func (c *Client) Change(ctx context.Context, path string, change func(control.Document) (control.Document, error)) error {
	for {
		before, tag, err := c.get(ctx, path)
		if err != nil {
			return err
		}
		after, err := change(before)
		if err != nil {
			return err
		}
		if moved, err := c.set(ctx, path, tag, after); err != nil || !moved {
			return err
		}
	}
}

// set replaces what has the tag, and tells whether something else was found there.
func (c *Client) set(ctx context.Context, path, tag string, d control.Document) (moved bool, err error) {
	method, body := http.MethodDelete, []byte(nil)
	if d != nil {
		method = http.MethodPut
		if body, err = json.Marshal(d); err != nil {
			return false, err
		}
	}
	resp, err := c.do(ctx, method, path, tag, body)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // an error cuts the words of one short
	switch resp.StatusCode {
	case http.StatusNoContent:
		return false, nil
	case http.StatusPreconditionFailed:
		return true, nil
	default:
		return false, answered(resp, text)
	}
}

func (c *Client) do(ctx context.Context, method, path, match string, body []byte) (*http.Response, error) {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+documents+strings.Join(parts, "/"), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	if match != "" {
		r.Header.Set("If-Match", match)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	return resp, nil
}

func answered(resp *http.Response, text []byte) error {
	return fmt.Errorf("control plane: %s: %s", resp.Status, strings.TrimSpace(string(text)))
}
