package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The smoke test finds what does not answer as it should, and leaves no canary behind.
func TestSmokeFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	answer := func(status int, kind string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
		})
	}
	healthyBut := func(path string, h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/health/", answer(http.StatusOK, "application/json"))
		mux.Handle(path, h)
		return mux
	}
	for name, c := range map[string]struct {
		spoil func(r *rig)
		want  []string
	}{
		"a revision that does not start": {
			func(r *rig) { r.Deploy("getpayment", "getpayment-3", false) },
			[]string{"getpayment", "getpayment-3 is not ready", "startup probe"},
		},
		"a function that is not ready": {
			func(r *rig) {
				r.Serve("getpayment-2", healthyBut("/health/readiness", answer(http.StatusServiceUnavailable, "application/json")))
			},
			[]string{"getpayment-2: GET /health/readiness: 503, not 200"},
		},
		"strangers are let in": {
			func(r *rig) {
				r.Serve("createpayment-2", healthyBut("/v1/", answer(http.StatusCreated, "application/json")))
			},
			[]string{"createpayment-2: POST /v1/payments: 201, not 401"},
		},
		"a refusal that is not ours": {
			func(r *rig) {
				r.Serve("createpayment-2", healthyBut("/v1/", answer(http.StatusUnauthorized, "text/html")))
			},
			[]string{"createpayment-2: POST /v1/payments: 401"},
		},
		"no token": {
			func(r *rig) {
				r.Fail(func(call, _ string) error {
					if call == "GenerateIdToken" {
						return status.Error(codes.PermissionDenied, "iam.serviceAccounts.getOpenIdToken is denied")
					}
					return nil
				})
			},
			[]string{"a token of call-from-gateway@demo.iam.gserviceaccount.com", "variable deployers", "denied"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deploy(2)
			c.spoil(r)
			r.refused(append(c.want, "rolled back"), "smoke")
			r.is("N-1 100 stable")
		})
	}
}

// A new address that is not known everywhere yet is tried again, and so is a new grant.
func TestSmokeWaitsForWhatIsNew(t *testing.T) {
	t.Parallel()
	for _, early := range []int{http.StatusNotFound, http.StatusForbidden} {
		r := newRig(t)
		r.deploy(2)
		granted := r.clock.Now().Add(time.Minute)
		ready := granted.Add(2 * time.Minute)
		r.Fail(func(call, _ string) error {
			if call == "GenerateIdToken" && r.clock.Now().Before(granted) {
				return status.Error(codes.PermissionDenied, "iam.serviceAccounts.getOpenIdToken is denied")
			}
			return nil
		})
		r.Serve("getpayment-2", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			switch {
			case r.clock.Now().Before(ready):
				http.Error(w, "Google's own words", early)
			case strings.HasPrefix(q.URL.Path, "/health/"):
			default:
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		r.must("smoke")
		r.is("N-1 100 stable, N-2 0 canary")
	}
}

// A new function that fails is named as one that can't go back.
func TestANewFunctionThatFails(t *testing.T) {
	t.Parallel()
	r := emptyRig(t)
	r.deploy(1)
	r.Serve("getpayment-1", http.NotFoundHandler())
	r.refused([]string{"getpayment-1", "404"}, "smoke")
	if said := r.out.String(); !strings.Contains(said, "nothing to go back to") {
		t.Errorf("it said\n%s", said)
	}
}
