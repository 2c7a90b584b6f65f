package webhook

import (
	"context"
	"net/http"
	"testing"
)

func TestOurOwnTroubleIsAnErrorAndNoAttempt(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]string{
		"a malformed secret":           `UPDATE webhook_endpoint_secrets SET sealed = '\x0102'`,
		"a changed secret":             `UPDATE webhook_endpoint_secrets SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1)`,
		"another endpoint's":           `UPDATE webhook_endpoint_secrets SET sealed = (SELECT sealed FROM webhook_endpoint_secrets s WHERE s.endpoint_id <> webhook_endpoint_secrets.endpoint_id)`,
		"no secret":                    `DELETE FROM webhook_endpoint_secrets`,
		"a secret that expired by now": `UPDATE webhook_endpoint_secrets SET expires_at = created_at`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.subscribe(r.endpoint.URL, "refund.failed") // whose secret is not the other's
			delivery := r.delivery()
			r.exec(`CREATE TABLE kept AS SELECT * FROM webhook_endpoint_secrets`)
			r.exec(harm)
			if err := r.Deliver(t.Context(), delivery, 1); err == nil {
				t.Fatal("no error")
			}
			if d, n := r.get(delivery), len(r.endpoint.got()); d.Status != Pending || d.Attempts != 0 || n != 0 {
				t.Fatalf("delivery %+v, %d posts", d, n)
			}
			r.exec(`DELETE FROM webhook_endpoint_secrets`)
			r.exec(`INSERT INTO webhook_endpoint_secrets SELECT * FROM kept`)
			r.deliver(delivery, 1) // at once: the lease was given back
			if d := r.get(delivery); d.Status != Delivered {
				t.Errorf("after mending: %+v", d)
			}
		})
	}
}

func TestDatabaseAwayIsAnError(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	delivery := r.delivery()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Deliver(ctx, delivery, 1); err == nil {
		t.Error("Deliver hides that the database is away")
	}
	if err := r.Notify(ctx, delivery); err == nil {
		t.Error("Notify hides that the database is away")
	}
}

// The task's own time is up in mid-request: no failure of the merchant's.
func TestAttemptCutShortByUsIsNotTheMerchants(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.endpoint.answers(func(_ http.ResponseWriter, req *http.Request) {
		cancel()
		<-req.Context().Done()
	})
	delivery := r.delivery()
	if err := r.Deliver(ctx, delivery, 1); err == nil {
		t.Fatal("no error")
	}
	r.endpoint.answers(status(http.StatusOK))
	r.deliver(delivery, 1)
	if d := r.get(delivery); d.Status != Delivered || d.Attempts != 1 {
		t.Errorf("delivery %+v", d)
	}
}
