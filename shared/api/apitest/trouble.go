package apitest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/inbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/provider/providersim"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// Lost is a payment that Stripe performed and whose reply was lost.
func (w *World) Lost(captureMethod string) Payment {
	w.t.Helper()
	w.Inject(providersim.Authorize, providersim.DropAfter)
	return w.Payment(captureMethod)
}

// Declined is a payment that Stripe declined, whose object is still to be cancelled
// there.
func (w *World) Declined() Payment {
	w.t.Helper()
	return w.Create(payment.CreateParams{Amount: 5000, Currency: "JPY", PaymentMethod: "pm_card_visa_chargeDeclined"})
}

// Webhook is what Stripe sends.
type Webhook struct {
	Body, Signature string
}

// Webhook fetches Stripe's event of the type about the payment, signed now.
func (w *World) Webhook(p Payment, eventType string) Webhook {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.Config["STRIPE_API_BASE"]+"/v1/events?type="+eventType, nil)
	check(w.t, err)
	req.SetBasicAuth(w.Config["STRIPE_SECRET_KEY"], "")
	resp, err := http.DefaultClient.Do(req)
	check(w.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(w.t, err)
	var list struct{ Data []json.RawMessage }
	check(w.t, json.Unmarshal(body, &list))
	want := w.Text(`SELECT id::text FROM transactions WHERE merchant_reference = $1`, p.Reference)
	intent := w.Text(`SELECT coalesce(provider_transaction_id, '') FROM transactions WHERE merchant_reference = $1`, p.Reference)
	for _, event := range list.Data {
		e, err := stripe.ParseEvent(event)
		if err == nil && (e.PaymentID.String() == want || e.PaymentID.IsZero() && intent != "" && e.Reference == intent) {
			return w.Sign(string(event))
		}
	}
	w.t.Fatalf("apitest: Stripe has no event %s of %s: %s", eventType, want, body)
	return Webhook{}
}

// Sign signs a body as Stripe does.
func (w *World) Sign(body string) Webhook {
	at := w.Clock.Now().Unix()
	mac := hmac.New(sha256.New, []byte(WebhookSecret))
	fmt.Fprintf(mac, "%d.%s", at, body)
	return Webhook{Body: body, Signature: fmt.Sprintf("t=%d,v1=%s", at, hex.EncodeToString(mac.Sum(nil)))}
}

// Store takes a webhook in, without publishing it, and returns the stored event.
func (w *World) Store(hook Webhook) id.ID {
	w.t.Helper()
	in := inbox.Inbox{
		Pool: w.Pool, Topic: w.PubSub.Topics.ProviderEvents, Now: w.Clock.Now, NewID: w.Env.NewID, Log: w.Env.Log,
		Sources: map[string]inbox.Source{stripe.Name: {
			Verify: func(context.Context, http.Header, []byte, time.Time) error { return nil },
			Parse:  stripe.ParseEvent,
		}},
	}
	_, err := in.Ingest(context.Background(), stripe.Name, nil, []byte(hook.Body))
	check(w.t, err)
	event, err := id.Parse(w.Text(`SELECT id::text FROM webhook_events ORDER BY id DESC LIMIT 1`))
	check(w.t, err)
	return event
}

// Text reads one text from the database.
func (w *World) Text(sql string, args ...any) string {
	w.t.Helper()
	var s string
	check(w.t, w.Pool.QueryRow(context.Background(), sql, args...).Scan(&s))
	return s
}

// Exec changes the database behind the functions' backs.
func (w *World) Exec(sql string, args ...any) {
	w.t.Helper()
	_, err := w.Pool.Exec(context.Background(), sql, args...)
	check(w.t, err)
}
