package chaos

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

var (
	seedFlag = flag.Uint64("chaos.seed", 0, "run the schedule of this seed, or with -chaos.n as many from it on; 0: the fixed ones and fresh ones")
	manyFlag = flag.Int("chaos.n", 0, "how many schedules to run; 0: 200, or the one of -chaos.seed")
)

// fixed is how many schedules have the same seeds in every run; as many have fresh ones.
const fixed = 100

// The schedules are worth what they find. So safeguards of the core were removed by hand,
// one at a time, and the seeds from 1 on were run until one failed:
//
//	safeguard removed                                                     first seed to fail
//	provider.Replay: no replay outside the key window                     36
//	resolver.byAbsence: absence is believed when the window has closed    1
//	failOver: never while an outcome is unknown                           1
//	dossier.oblige: what lost its purpose is released                     110
//	resolver.byReplay: the attempt goes again under its own key           3
//	release: only a first call that was not sent is unsent                1
//	resolver.byRetry: a new key only after a look-up, for guarded steps   11
//	idempotency.QueueClaim: a key is claimed once                         1
//	operate.Refund: a refund is reserved first                            1
//
// (A seed stands for what the core did then: as the core changes, others fail first.)
//
// Others were not missed in the 40 to 320 seeds that were run, as far as is known since
// something else does their work:
// the fence of saga.QueueFence (the holder of the lease is compared under the row's lock,
// too), the look at the lease before a call is made, the ranks in dossier.recall, and that
// an unknown outcome does not close a capture.
//
// TestSchedules is the whole of it. What fails is reproduced by
//
//	go test ./shared/local/chaos -run TestSchedules -chaos.seed=N
func TestSchedules(t *testing.T) {
	seeds := seedsToRun(t)
	var mu sync.Mutex
	seen := map[string]int{}
	failed, done := 0, 0
	for batch := range slices.Chunk(seeds, 50) { // the audit log is folded as a whole, and small tables are quick
		pools := connect(t)
		merchants := map[id.ID]uint64{}
		var g errgroup.Group
		g.SetLimit(2 * runtime.GOMAXPROCS(0)) // half of them wait for the database
		for _, seed := range batch {
			g.Go(func() error {
				o, err := Run(t.Context(), pools, seed)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				merchants[o.Merchant] = seed
				for what, n := range o.Seen {
					seen[what] += n
				}
				if len(o.Broken) > 0 {
					failed++
					report(t, o)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		foldAudit(t, pools.Superuser, merchants)
		pools.close()
		if done += len(batch); len(seeds) > 1000 && done%500 == 0 {
			t.Logf("%d done, %d failed", done, failed)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%6d %s", seen[what], what)
	}
	if failed > 0 {
		t.Errorf("%d of %d schedules failed", failed, len(seeds))
	}
}

// connect opens a database of its own.
func connect(t *testing.T) Pools {
	t.Helper()
	url := pgtest.New(t)
	open := func(url string) *pgxpool.Pool {
		pool, err := pgxpool.New(context.Background(), url)
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}
	pools := Pools{Superuser: open(url), Functions: map[string]*pgxpool.Pool{}}
	for _, name := range Functions {
		pools.Functions[name] = open(pgtest.Login(t, url, "tollgate_"+name))
	}
	t.Cleanup(pools.close)
	return pools
}

func (p Pools) close() {
	p.Superuser.Close()
	for _, pool := range p.Functions {
		pool.Close()
	}
}

func seedsToRun(t *testing.T) (seeds []uint64) {
	switch n := max(*manyFlag, 1); {
	case *seedFlag != 0 || *manyFlag != 0:
		first := *seedFlag
		if first == 0 {
			first = fresh()
		}
		for i := range n {
			seeds = append(seeds, first+uint64(i))
		}
		t.Logf("seeds %d to %d", seeds[0], seeds[len(seeds)-1])
	default:
		first := fresh()
		for i := range uint64(fixed) {
			seeds = append(seeds, i+1, first+i)
		}
		t.Logf("seeds 1 to %d, and fresh ones from %d on", fixed, first)
	}
	return seeds
}

func fresh() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:]) >> 12
}

// report prints one failure with everything that led to it.
func report(t *testing.T, o *Outcome) {
	t.Errorf("seed %d (go test ./shared/local/chaos -run TestSchedules -chaos.seed=%d):\n%s\n\nbroken:\n%s",
		o.Seed, o.Seed, strings.Join(o.Steps, "\n"), strings.Join(o.Broken, "\n"))
}

// foldAudit checks that the audit log gives every payment and refund back.
func foldAudit(t *testing.T, pool *pgxpool.Pool, merchants map[id.ID]uint64) {
	wrong, err := payment.AuditMismatches(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range wrong {
		table, key, _ := strings.Cut(row, " ")
		var merchant id.ID
		if err := pool.QueryRow(t.Context(), fmt.Sprintf(`SELECT merchant_id FROM %s WHERE id = $1`, table), key).Scan(&merchant); err != nil {
			t.Error(err)
		}
		t.Errorf("seed %d: the audit log does not give %s back", merchants[merchant], row)
	}
}

// The same seed makes the same schedule, or the seed of a failure would say nothing.
func TestASeedMakesOneSchedule(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{7, fresh()} {
		var steps [2][]string
		for i := range steps {
			o, err := Run(context.Background(), connect(t), seed)
			if err != nil {
				t.Fatal(err)
			}
			steps[i] = o.Steps
		}
		if !slices.Equal(steps[0], steps[1]) {
			for i := range min(len(steps[0]), len(steps[1])) {
				if steps[0][i] != steps[1][i] {
					t.Fatalf("seed %d: step %d is\n%s\nand the second time\n%s", seed, i, steps[0][i], steps[1][i])
				}
			}
			t.Fatalf("seed %d: %d steps, and the second time %d", seed, len(steps[0]), len(steps[1]))
		}
	}
}
