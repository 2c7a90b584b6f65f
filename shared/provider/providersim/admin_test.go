package providersim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// sim calls the simulator's own pages as another process would.
func (b *bench) sim(method, path, body string, out any) int {
	b.t.Helper()
	req, err := http.NewRequest(method, b.server.URL+"/_sim/"+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			b.t.Fatalf("%s %s: %s: %v", method, path, text, err)
		}
	}
	return resp.StatusCode
}

func TestOtherProcessesUseTheSimulator(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	wantEqual(t, "plan set", b.sim("PUT", "plan", `{"seed":7,"rules":[{"operation":"refund","probability":0.5,"fault":"drop_after; silent"}]}`, nil), 204)
	wantEqual(t, "rule injected", b.sim("POST", "plan/inject", `{"operation":"capture","fault":"500_after"}`, nil), 204)
	wantEqual(t, "unknown fault", b.sim("PUT", "plan", `{"rules":[{"fault":"explode"}]}`, nil), 400)
	wantEqual(t, "unknown field", b.sim("PUT", "plan", `{"rule":[]}`, nil), 400)
	wantEqual(t, "broken rule", b.sim("POST", "plan/inject", `{"fault":"webhook_lose","operation":"refund"}`, nil), 400)
	var plan providersim.Plan
	b.sim("GET", "plan", "", &plan)
	wantEqual(t, "rules", len(plan.Rules), 2)
	wantEqual(t, "seed", plan.Seed, 7)
	wantEqual(t, "fault", plan.Rules[1].Fault, providersim.Fault{Kind: providersim.DropAfter, Silent: true})

	pi := b.create(payment(5000, "pm_card_authenticationRequired", manual))
	wantEqual(t, "bad outcome", b.sim("POST", "3ds/"+pi.ID+"?outcome=perhaps", "", nil), 400)
	wantEqual(t, "authenticated", b.sim("POST", "3ds/"+pi.ID+"?outcome=success", "", nil), 204)
	wantEqual(t, "authenticated twice", b.sim("POST", "3ds/"+pi.ID+"?outcome=success", "", nil), 409)
	_, err := b.intents.Capture(pi.ID, nil)
	status(500)(t, err)

	var effects []providersim.Effect
	b.sim("GET", "effects?key=order&value=17", "", &effects)
	wantEqual(t, "effects", len(effects), 2)
	wantEqual(t, "effect", effects[1].Kind, providersim.EffectCapture)
	b.sim("GET", "effects?key=order&value=none", "", &effects)
	wantEqual(t, "effects of nothing", len(effects), 0)
	b.sim("GET", "effects", "", &effects)
	wantEqual(t, "all effects", len(effects), 2)
	var counters map[string]int64
	b.sim("GET", "counters", "", &counters)
	wantEqual(t, "captures", counters["capture.requests"], 1)
	wantEqual(t, "faults", counters["fault.500_after"], 1)

	b.create(payment(5000, "pm_card_visa", manual))
	var due struct {
		Now     time.Time
		NextDue *time.Time `json:"next_due"`
	}
	b.sim("GET", "due", "", &due)
	if due.NextDue == nil {
		t.Fatal("nothing is due")
	}
	wantEqual(t, "due in", due.NextDue.Sub(due.Now), 7*24*time.Hour)
	wantEqual(t, "webhook moved", b.sim("PUT", "webhook", `{"url":""}`, nil), 204)
	b.clock.Set(*due.NextDue)
	var ran map[string]int
	b.sim("POST", "due/run", "", &ran)
	wantEqual(t, "ran", ran["ran"], 1)
	wantEqual(t, "quiet", b.sim("POST", "quiesce", "", nil), 204)
	b.sim("GET", "effects", "", &effects)
	wantEqual(t, "expiry", effects[len(effects)-1].Kind, providersim.EffectExpire)
	due.NextDue = nil
	b.sim("GET", "due", "", &due)
	if due.NextDue != nil {
		t.Errorf("still due: %v", due.NextDue)
	}

	var payout struct {
		Payout      string
		AmountMinor int64 `json:"amount_minor"`
	}
	wantEqual(t, "paid out", b.sim("POST", "payouts", `{"currency":"jpy"}`, &payout), 200)
	wantEqual(t, "left by the midnights before", payout.AmountMinor, 0)
	b.create(payment(5000, "pm_card_visa"))
	b.clock.Set(b.clock.Now().Add(48 * time.Hour))
	b.sim("POST", "payouts", `{"currency":"jpy"}`, &payout)
	wantEqual(t, "amount", payout.AmountMinor, 4820)
	it := b.transactions.List(&stripe.BalanceTransactionListParams{Payout: stripe.String(payout.Payout)})
	n := 0
	for it.Next() {
		n++
	}
	wantEqual(t, "transactions paid out", n, 2)
}

func TestCloseEndsWhatHangs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	done := make(chan error, 1)
	go func() {
		_, err := b.intents.New(payment(10, "pm_card_visa", faulty("hang_before")))
		done <- err
	}()
	until(t, "the request hangs", func() bool { return b.Counters()["fault.hang_before"] == 1 })
	b.Close()
	notStripe(t, <-done)
}
