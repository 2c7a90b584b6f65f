package payment

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/event/eventtest"
)

func TestObjectsAreAsTheCatalogueHasThem(t *testing.T) {
	t.Parallel()
	eventtest.MatchType(t, "Payment", View{}, "refunds", "disputes", "events", "attempts")
	eventtest.MatchType(t, "Refund", RefundView{})
	eventtest.MatchType(t, "Dispute", DisputeView{})
}

// The catalogue has what is sent, and nothing that will be one day.
func TestEveryTypeOfThePaymentIsSent(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]bool{}
	constant := regexp.MustCompile(`\bevent\.((?:Payment|Refund|Dispute)[A-Z]\w*)`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range constant.FindAllStringSubmatch(string(source), -1) {
			sent[strings.ToLower(found[1])] = true
		}
	}
	for _, typ := range event.Types() {
		if typ.Object != "payment" && typ.Object != "refund" && typ.Object != "dispute" {
			continue
		}
		name := strings.NewReplacer(".", "", "_", "").Replace(typ.Name)
		if !sent[name] {
			t.Errorf("nothing announces %s", typ.Name)
		}
	}
}

// checkEvents holds every event in the database to the catalogue, at the end of each test
// that has a rig.
func (r *rig) checkEvents(pool *pgxpool.Pool) {
	r.t.Helper()
	const all = `
		SELECT e.type, e.sequence, e.payload, t.id IS NOT NULL AND t.event_sequence >= e.sequence AS counted
		FROM events e LEFT JOIN transactions t ON t.id = e.transaction_id`
	type row struct {
		Type     string `db:"type"`
		Sequence int64  `db:"sequence"`
		Payload  []byte `db:"payload"`
		Counted  bool   `db:"counted"`
	}
	rows, _ := pool.Query(context.Background(), all) // CollectRows returns the error; the test's context is over
	events, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		r.t.Error(err)
	}
	for _, e := range events {
		eventtest.Check(r.t, e.Payload)
		thin, err := event.Render(e.Payload, event.Version, event.Thin)
		if err != nil {
			r.t.Error(err)
			continue
		}
		eventtest.CheckThin(r.t, thin)
		var head struct {
			Type     string
			Sequence int64
		}
		if err := json.Unmarshal(e.Payload, &head); err != nil || head.Type != e.Type || head.Sequence != e.Sequence || !e.Counted {
			r.t.Errorf("the row says %s %d, and its payment counts it: %t (%v)\n%s", e.Type, e.Sequence, e.Counted, err, e.Payload)
		}
	}
}

// What is sent of an event was fixed when the change was committed: it tells of the
// payment as it was then, whatever became of it since.
func TestAnEventTellsOfThePaymentAsItWas(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.pay(r.params(Manual))
	payload := func() string {
		return r.strings(`SELECT convert_from(payload, 'UTF8') FROM events WHERE transaction_id = $1 AND sequence = 1`, paymentID(t, p))[0]
	}
	before := payload()
	r.must(r.capture(p, nil))
	r.must(r.refundOf(p, nil))
	if diff := cmp.Diff(before, payload()); diff != "" {
		t.Errorf("the event has changed since: %s", diff)
	}
	for _, part := range []string{`"type":"payment.authorized","api_version":"2026-11-01"`, `"status":"AUTHORIZED"`, `"sequence":1,"data"`} {
		if !strings.Contains(before, part) {
			t.Errorf("the event lacks %s: %s", part, before)
		}
	}
}
