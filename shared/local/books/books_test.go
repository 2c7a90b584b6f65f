package books

import (
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/audit/vault"
	"github.com/tollgate/tollgate/shared/id"
)

var seedFlag = flag.Uint64("books.seed", 0, "make the traffic of this seed; 0: of a fresh one")

func seed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:]) >> 12
}

// Three days of mixed traffic, and what the providers report of them: the ledger has every
// minor unit of it, all is settled, and nothing differs. When the reports are made wrong,
// that is found, each flaw for what it is, and nothing else. A seed makes the same traffic
// and the same flaws; in which order what runs side by side comes about is not its to say.
func TestThreeDays(t *testing.T) {
	t.Parallel()
	for name, flawed := range map[string]bool{"The reports are right": false, "The reports are wrong": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := seed()
			t.Logf("go test ./shared/local/books -run TestThreeDays -books.seed=%d", seed)
			w := newWorld(t, seed, flawed)
			w.run()
			w.wantTrouble()
			if flawed {
				w.orphans()
			}
			// Until the last payouts are made and settled; a bank's report says only after a week
			// what is not in it.
			rest := 4 * 24 * time.Hour
			if flawed {
				rest = 7 * 24 * time.Hour
			}
			w.advance(rest)
			w.wantPayments()
			w.wantSettlements()
			found, more := w.wantFlaws()
			w.wantDifferences(found)
			w.wantSums(more)
			w.wantAudit()
		})
	}
}

// wantSums holds the ledger to the reports, by provider, currency and kind, and the reports
// to have all kinds. What was heard of only when it had been undone (a refund that failed, a
// dispute that was won) is in the reports twice and in the ledger not at all: it is added up.
func (w *world) wantSums(more sums) {
	w.t.Helper()
	reported, has := w.reports(), w.ledger()
	kinds := map[string]int{}
	for a := range reported {
		kinds[a.provider+" "+a.kind]++
	}
	for _, provider := range providers {
		for _, kind := range []string{"charge", "refund", "refund_failed", "dispute", "dispute_won", "fee", "payout"} {
			if kinds[provider+" "+kind] == 0 {
				w.t.Errorf("%s has no %s", provider, kind)
			}
		}
	}
	w.t.Logf("%d sums of %v", len(has), kinds)
	for a, amount := range more {
		has.add(a.provider, a.currency, a.kind, amount)
	}
	if diff := cmp.Diff(has.undone().readable(), reported.undone().readable()); diff != "" {
		w.t.Errorf("the ledger and what was planted, and the providers' reports (-ledger +reports):\n%s", diff)
	}
}

// undone adds what was undone to what it undoes.
func (s sums) undone() sums {
	undoes := map[string]string{"refund_failed": "refund", "dispute_won": "dispute"}
	all := sums{}
	for a, amount := range s {
		kind := a.kind
		if of, is := undoes[kind]; is {
			kind = of
		}
		all.add(a.provider, a.currency, kind, amount)
	}
	return all
}

func (s sums) readable() map[string]int64 {
	all := map[string]int64{}
	for a, amount := range s {
		all[fmt.Sprintf("%s %s %s", a.provider, a.currency, a.kind)] = amount
	}
	return all
}

// wantAudit verifies the audit log, its seals, and the tables against it.
func (w *world) wantAudit() {
	w.t.Helper()
	s := &audit.Service{Pool: w.DB, Vault: vault.Folder(w.seals), Now: w.Clock.Now, NewID: id.Source{Now: w.Clock.Now}.New}
	totals, err := s.VerifyAll(w.t.Context(), func(f audit.Finding) { w.t.Error(f) })
	check(w.t, err)
	if totals.Payments != int64(len(w.orders)) || totals.Seals < 4 || totals.Rows < totals.Payments {
		w.t.Errorf("of %d payments was verified: %+v", len(w.orders), totals)
	}
}
