package providersim

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
)

var bankPage = template.Must(template.New("bank").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Simulated bank</title></head>
<body><h1>Simulated bank</h1>
<p>Do you want to pay {{.Amount}} minor units of {{.Currency}}?</p>
<p><a href="?outcome=authorise">Authorize the payment</a></p>
<p><a href="?outcome=fail">Have the bank refuse it</a></p>
<p><a href="?outcome=exit">Leave without paying</a></p>
</body></html>
`))

// payerPage is where a payer is redirected to. With ?outcome= it answers for the payer
// and sends them back.
func (s *GoCardless) payerPage(w http.ResponseWriter, r *http.Request) {
	id, outcome := r.PathValue("flow"), r.URL.Query().Get("outcome")
	if outcome == "" {
		s.showPage(w, id)
		return
	}
	back := s.returnURL(id, outcome) // before the answer, by which the flow expires
	if !s.answerFlow(w, id, outcome) {
		return
	}
	if back == "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (s *GoCardless) payerAdmin(w http.ResponseWriter, r *http.Request) {
	if s.answerFlow(w, r.PathValue("flow"), r.URL.Query().Get("outcome")) {
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *GoCardless) answerFlow(w http.ResponseWriter, id, outcome string) bool {
	if err := s.CompleteFlow(id, outcome); err != nil {
		adminError(w, http.StatusConflict, err)
		return false
	}
	return true
}

func (s *GoCardless) showPage(w http.ResponseWriter, id string) {
	s.mu.Lock()
	f, ok := s.objects[id].(*gcFlow)
	gone := ok && f.expired(s.now())
	s.mu.Unlock()
	switch {
	case !ok:
		adminError(w, http.StatusNotFound, fmt.Errorf("no such billing_request_flow: %q", id))
	case gone:
		adminError(w, http.StatusGone, fmt.Errorf("flow %s has expired", id))
	default: // amount and currency never change
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = bankPage.Execute(w, map[string]any{"Amount": f.request.amount, "Currency": f.request.currency})
	}
}

// returnURL is where the payer goes afterwards, with what GoCardless adds to it.
func (s *GoCardless) returnURL(id, outcome string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.objects[id].(*gcFlow)
	if !ok {
		return ""
	}
	target, result := f.redirectURI, "success"
	if outcome != "authorise" {
		result = "failure"
		if f.exitURI != "" {
			target = f.exitURI
		}
	}
	u, err := url.Parse(target)
	if err != nil || target == "" {
		return ""
	}
	q := u.Query()
	q.Set("id", f.id)
	q.Set("outcome", result)
	u.RawQuery = q.Encode()
	return u.String()
}
