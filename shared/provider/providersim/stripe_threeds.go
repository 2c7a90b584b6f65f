package providersim

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
)

// CompleteAuthentication answers the 3-D Secure challenge of a PaymentIntent, as
// the payer would: with success the payment goes on, and may still be declined;
// without it the intent wants another payment method. It fails when the intent
// does not exist or is not waiting for an answer.
func (s *Stripe) CompleteAuthentication(paymentIntent string, success bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.objects[paymentIntent].(*intent)
	if !ok {
		return fmt.Errorf("no such payment_intent: %q", paymentIntent)
	}
	if in.status != requiresAction {
		return fmt.Errorf("payment_intent %s waits for no authentication: its status is %s", in.id, in.status)
	}
	in.cause.requestID = "" // what follows comes from the payer, not from a request
	if success {
		// A decline shows in the intent; the payer is told by the page they return to.
		_ = s.charge(in)
		return nil
	}
	in.lastError = &stripeError{
		Type: "invalid_request_error", Code: "payment_intent_authentication_failure", method: in.method,
		Message: "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod " +
			"to attempt to fulfill this PaymentIntent again.",
	}
	in.status, in.method, in.nextAction = requiresMethod, nil, nil
	s.emit(in.cause, in, "payment_intent.payment_failed", in.render())
	return nil
}

var challenge = template.Must(template.New("challenge").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Simulated 3-D Secure</title></head>
<body><h1>Simulated 3-D Secure</h1>
<p>Your bank asks whether it is you who pays. PaymentIntent {{.}}</p>
<p><a href="?outcome=success">Complete authentication</a></p>
<p><a href="?outcome=fail">Fail authentication</a></p>
</body></html>
`))

// threeDSPage is where a payer is redirected to. With ?outcome=success or fail it
// answers the challenge and sends the payer back to the return_url.
func (s *Stripe) threeDSPage(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("intent")
	outcome := r.URL.Query().Get("outcome")
	if outcome == "" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = challenge.Execute(w, id)
		return
	}
	if !s.answerChallenge(w, id, outcome) {
		return
	}
	if back := s.returnURL(id); back != "" {
		http.Redirect(w, r, back, http.StatusSeeOther)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Stripe) threeDSAdmin(w http.ResponseWriter, r *http.Request) {
	if s.answerChallenge(w, r.PathValue("intent"), r.URL.Query().Get("outcome")) {
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Stripe) answerChallenge(w http.ResponseWriter, id, outcome string) bool {
	if outcome != "success" && outcome != "fail" {
		adminError(w, http.StatusBadRequest, fmt.Errorf("outcome must be success or fail, not %q", outcome))
		return false
	}
	if err := s.CompleteAuthentication(id, outcome == "success"); err != nil {
		adminError(w, http.StatusConflict, err)
		return false
	}
	return true
}

// returnURL is where the payer goes afterwards, with what Stripe adds to it.
func (s *Stripe) returnURL(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.objects[id].(*intent)
	u, err := url.Parse(in.returnURL)
	if err != nil || in.returnURL == "" {
		return ""
	}
	q := u.Query()
	q.Set("payment_intent", in.id)
	q.Set("payment_intent_client_secret", in.secret)
	q.Set("redirect_status", "succeeded")
	if in.status == requiresMethod {
		q.Set("redirect_status", "failed")
	}
	u.RawQuery = q.Encode()
	return u.String()
}
