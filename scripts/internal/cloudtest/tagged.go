package cloudtest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"cloud.google.com/go/iam/credentials/apiv1/credentialspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// token is one of a service account, for an audience.
type token struct{ account, audience string }

type tokens struct {
	credentialspb.UnimplementedIAMCredentialsServer
	cloud *Cloud
}

func (t tokens) GenerateIdToken(_ context.Context, r *credentialspb.GenerateIdTokenRequest) (*credentialspb.GenerateIdTokenResponse, error) {
	account, ok := strings.CutPrefix(r.GetName(), "projects/-/serviceAccounts/")
	if !ok || r.GetAudience() == "" || !r.GetIncludeEmail() {
		return nil, status.Errorf(codes.InvalidArgument, "a token of %q for %q", r.GetName(), r.GetAudience())
	}
	t.cloud.mu.Lock()
	defer t.cloud.mu.Unlock()
	text := "token-" + strconv.Itoa(len(t.cloud.tokens)+1)
	t.cloud.tokens[text] = token{account, r.GetAudience()}
	return &credentialspb.GenerateIdTokenResponse{Token: text}, nil
}

// Serve answers the requests to a revision; without a handler it is a function in good
// health, which knows no merchant.
func (c *Cloud) Serve(revision string, h http.Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers[revision] = h
}

// serveTagged answers at the addresses of services and of tags, /TAG---SERVICE/…, and
// lets in who bears a token of the gateway's account for the service.
func (c *Cloud) serveTagged(w http.ResponseWriter, r *http.Request) {
	place, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	tag, name, _ := strings.Cut(place, "---")
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	c.mu.Lock()
	revision := ""
	if s := c.services[name]; s != nil {
		for _, t := range s.GetTraffic() {
			if t.GetTag() == tag || tag == "service" && t.GetPercent() > 0 {
				revision = s.target(t)
			}
		}
	}
	who, h := c.tokens[bearer], c.handlers[revision]
	c.mu.Unlock()
	switch {
	case revision == "":
		http.Error(w, "Error: Page not found", http.StatusNotFound)
	case who != token{"call-from-gateway@" + Project + ".iam.gserviceaccount.com", audience(name)}:
		http.Error(w, "Error: Forbidden", http.StatusForbidden)
	case h != nil:
		r.URL.Path = "/" + rest
		h.ServeHTTP(w, r)
	default:
		r.URL.Path = "/" + rest
		healthy(name, w, r)
	}
}

func healthy(name string, w http.ResponseWriter, r *http.Request) {
	code := http.StatusUnauthorized
	switch {
	case strings.HasPrefix(r.URL.Path, "/health/"):
		w.WriteHeader(http.StatusOK)
		return
	case name == "ingestwebhook":
		code = http.StatusNotFound
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, `{"status":%d}`, code)
}
