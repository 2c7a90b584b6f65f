package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/iam/credentials/apiv1/credentialspb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A trial is one request to a new revision, and what it must answer.
type trial struct {
	method, path string
	status       int
}

// health is tried of every function that can be reached.
var health = []trial{
	{http.MethodGet, "/health/startup", http.StatusOK},
	{http.MethodGet, "/health/readiness", http.StatusOK},
	{http.MethodGet, "/health/liveness", http.StatusOK},
}

// strangers are the requests of nobody, one for each function that API Gateway calls: a
// key that is well formed and was never issued, so that the refusal comes out of the
// database, read as the function's own role. None of them does anything.
var strangers = map[string]trial{
	"createpayment":   {http.MethodPost, "/v1/payments", http.StatusUnauthorized},
	"getpayment":      {http.MethodGet, "/v1/payments/pay_00000000000000000000000000", http.StatusUnauthorized},
	"listpayments":    {http.MethodGet, "/v1/payments", http.StatusUnauthorized},
	"capturepayment":  {http.MethodPost, "/v1/payments/pay_00000000000000000000000000/capture", http.StatusUnauthorized},
	"cancelpayment":   {http.MethodPost, "/v1/payments/pay_00000000000000000000000000/cancel", http.StatusUnauthorized},
	"refundpayment":   {http.MethodPost, "/v1/payments/pay_00000000000000000000000000/refund", http.StatusUnauthorized},
	"listdisputes":    {http.MethodGet, "/v1/disputes", http.StatusUnauthorized},
	"listsettlements": {http.MethodGet, "/v1/settlements", http.StatusUnauthorized},
	"webhookadmin":    {http.MethodGet, "/v1/webhook-endpoints", http.StatusUnauthorized},
	"ingestwebhook":   {http.MethodPost, "/v1/provider-webhooks/nobody", http.StatusNotFound},
}

// unissued has the form of an API key.
const unissued = "sk_00000000000000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// smoke tags the new revisions and tries each at its own address, before it gets any
// request of a merchant's. What only Google's own services may call can't be reached
// from here: of those, that Cloud Run started an instance and its startup probe
// answered is all that is known until they are canaries.
func (s *session) smoke(ctx context.Context) error {
	canaries, fresh, err := s.stage(ctx)
	if err != nil {
		return s.takeBack(ctx, err)
	}
	err = errors.Join(
		s.tryAll(ctx, canaries, func(f function) string { return f.address(canaryTag) }),
		s.tryAll(ctx, fresh, func(f function) string { return f.service.GetUri() }),
	)
	if err != nil {
		if len(fresh) > 0 {
			s.say("these are new and have nothing to go back to: %s", strings.Join(names(fresh), ", "))
		}
		return s.takeBack(ctx, err)
	}
	s.say("%d new revisions and %d new functions answer as they should", len(canaries), len(fresh))
	return nil
}

// address is the tagged revision's own.
func (f function) address(tag string) string {
	for _, t := range f.service.GetTrafficStatuses() {
		if t.GetTag() == tag {
			return t.GetUri()
		}
	}
	return ""
}

// reachable reports whether a service answers callers from outside the network.
func (f function) reachable() bool {
	return f.service.GetIngress() == runpb.IngressTraffic_INGRESS_TRAFFIC_ALL
}

// audience is whom a caller's token must be made out to: what the function itself
// looks for, or Cloud Run's address of the service. It is that of the service also for
// a tagged revision.
func (f function) audience() string {
	for _, c := range f.service.GetTemplate().GetContainers() {
		for _, v := range c.GetEnv() {
			if v.GetName() == "OIDC_AUDIENCE" {
				return v.GetValue()
			}
		}
	}
	return f.service.GetUri()
}

func (s *session) tryAll(ctx context.Context, all []function, address func(function) string) error {
	known := map[string]function{}
	for _, f := range all {
		known[f.name] = f
	}
	return each(ctx, names(all), func(ctx context.Context, name string) error {
		f := known[name]
		if !f.reachable() {
			s.say("  %-16s %s: started (%s cannot be called from here)", name, f.newest, name)
			return nil
		}
		if err := s.try(ctx, f, address(f)); err != nil {
			return fmt.Errorf("%s: revision %s: %w", name, f.newest, err)
		}
		s.say("  %-16s %s: answers", name, f.newest)
		return nil
	})
}

func (s *session) try(ctx context.Context, f function, address string) error {
	if address == "" {
		return errors.New("no address is shown for it")
	}
	token, err := s.token(ctx, f.audience())
	if err != nil {
		return err
	}
	trials := health
	if t, ok := strangers[f.name]; ok {
		trials = append(trials[:len(trials):len(trials)], t)
	}
	for _, t := range trials {
		if err := s.persist(ctx, func(ctx context.Context) error { return s.ask(ctx, address, token, t) }); err != nil {
			return err
		}
	}
	return nil
}

// token is an identity token of the API gateway's account, the only caller that these
// functions admit.
func (s *session) token(ctx context.Context, audience string) (string, error) {
	account := "call-from-gateway@" + s.project + ".iam.gserviceaccount.com"
	var token string
	err := s.persist(ctx, func(ctx context.Context) error {
		answer, err := s.tokens.GenerateIdToken(ctx, &credentialspb.GenerateIdTokenRequest{
			Name: "projects/-/serviceAccounts/" + account, Audience: audience, IncludeEmail: true,
		})
		token = answer.GetToken()
		if status.Code(err) == codes.PermissionDenied { // or not granted yet
			return passingError{err}
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("a token of %s (who may have one is terraform's variable deployers): %w", account, err)
	}
	return token, nil
}

// trialTime bounds one request, a cold start included.
const trialTime = 30 * time.Second

// ask makes one request. A new tag's address takes a while to be known everywhere, and a
// new grant some minutes to be in force: until then the answer is Google's own 404 or
// 403, which is no problem document. That may pass, as may a 5xx.
func (s *session) ask(ctx context.Context, address, token string, t trial) error {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	where, err := url.JoinPath(address, t.path)
	if err != nil {
		return err
	}
	body := io.Reader(http.NoBody)
	if t.method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	r, err := http.NewRequestWithContext(ctx, t.method, where, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("X-Forwarded-Authorization", "Bearer "+unissued)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "scripts-rollout-smoke")
	answer, err := s.http.Do(r)
	if err != nil {
		return passingError{err}
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 300)) // for the message alone
	ours := answer.StatusCode < 400 || strings.HasPrefix(answer.Header.Get("Content-Type"), "application/problem+json")
	if answer.StatusCode == t.status && ours {
		return nil
	}
	err = fmt.Errorf("%s %s: %d, not %d: %s", t.method, t.path, answer.StatusCode, t.status, strings.TrimSpace(string(text)))
	early := answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusForbidden
	if answer.StatusCode >= 500 || early && !ours {
		return passingError{err}
	}
	return err
}
