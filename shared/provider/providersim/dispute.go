package providersim

import (
	"net/http"
)

// Complaint is a payer's, at their bank or at the provider: it makes a dispute.
type Complaint struct {
	Payment     string `json:"payment"`      // the provider's payment object: a PaymentIntent, an order, a billing request
	AmountMinor int64  `json:"amount_minor"` // in the provider's units; 0 is all that was captured
	Reason      string `json:"reason"`       // in the provider's words; it has one if this is empty
	Inquiry     bool   `json:"inquiry"`      // only a question yet, which takes no money
}

// What can become of a dispute. A decision can be overturned by the other one.
const (
	DisputeWon       = "won"       // for the account; an inquiry is closed
	DisputeLost      = "lost"      // for the payer
	DisputeEscalated = "escalated" // an inquiry takes the money after all
)

// The movements of disputes. One that is lost moves nothing more.
const (
	EffectDispute    EffectKind = "dispute"     // the money was taken
	EffectDisputeWon EffectKind = "dispute_won" // and given back
)

// disputed is what every simulator does of disputes. Dispute returns the identifier by
// which Decide knows it.
type disputed interface {
	Dispute(Complaint) (id string, err error)
	Decide(id, outcome string) error
}

// disputePages are the two for other processes: POST /_sim/disputes makes one of a
// Complaint and answers {"id": …}; POST /_sim/disputes/{id}?outcome=… decides it.
func disputePages(mux *http.ServeMux, account disputed) {
	mux.HandleFunc("POST /_sim/disputes", func(w http.ResponseWriter, r *http.Request) {
		var c Complaint
		err := decodeStrict(r, &c)
		var id string
		if err == nil {
			id, err = account.Dispute(c)
		}
		if err != nil {
			adminError(w, http.StatusBadRequest, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"id": id})
	})
	mux.HandleFunc("POST /_sim/disputes/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := account.Decide(r.PathValue("id"), r.URL.Query().Get("outcome")); err != nil {
			adminError(w, http.StatusConflict, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
