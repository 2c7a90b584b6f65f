package listsettlements

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/api/apitest"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/settlement"
	"github.com/tollgate/tollgate/shared/settlement/settlementtest"
)

// world has the function, and settles at night what was sold by day.
type world struct {
	*apitest.World
	t           *testing.T
	handler     http.Handler
	settlements *settlement.Service
	sales       int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: apitest.New(t), t: t}
	w.handler = w.Build(Build)
	worker := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var task settlement.Task
		err := json.NewDecoder(r.Body).Decode(&task)
		if err == nil {
			err = w.settlements.Do(r.Context(), task)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(worker.Close)
	w.Clock.Register(w.Tasks)
	tasks, err := outbox.OpenTasks(t.Context(), outbox.TasksConfig{
		Location: w.Config["TASKS_LOCATION"], ServiceAccount: apitest.Caller, SettleURL: worker.URL,
	}, w.Tasks.ClientOptions()...)
	check(t, err)
	t.Cleanup(func() { _ = tasks.Close() })
	w.settlements = &settlement.Service{
		Pool: w.Pool, Now: w.Clock.Now, NewID: w.Env.NewID, Tasks: tasks, Log: w.Env.Log,
		Payments: &payment.Service{Pool: w.Pool, Now: w.Clock.Now, NewID: w.Env.NewID, Name: "test", Log: w.Env.Log},
	}
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sell captures so many payments, of 5,000 the first and each one more, and charges 150 for each.
func (w *world) sell(merchant id.ID, currency string, payments int) {
	w.t.Helper()
	w.sales++
	check(w.t, settlementtest.Plant(w.t.Context(), w.Pool, settlementtest.Seed{
		Name: fmt.Sprint("sale ", w.sales), Merchant: merchant, Payments: payments, Currency: currency, Amount: 5000, Fee: 150, At: w.Clock.Now(),
	}))
}

// night lets the business day end and settles it. It returns what that made for the shop, the newest first.
func (w *world) night() []id.ID {
	w.t.Helper()
	day := w.Clock.Now().Add(9 * time.Hour).Truncate(24 * time.Hour) // as the date is in Tokyo
	w.Advance(day.AddDate(0, 0, 1).Add(2*time.Hour - 9*time.Hour).Sub(w.Clock.Now()))
	began := w.Clock.Now()
	check(w.t, w.settlements.Do(w.t.Context(), settlement.Task{}))
	w.Advance(10 * time.Minute)
	rows, err := w.Pool.Query(w.t.Context(),
		`SELECT id FROM settlements WHERE merchant_id = $1 AND status = 'COMPLETED' AND created_at >= $2 ORDER BY id DESC`, w.Shop, began)
	check(w.t, err)
	made, err := pgx.CollectRows(rows, pgx.RowTo[id.ID])
	check(w.t, err)
	if len(made) == 0 {
		w.t.Fatalf("nothing was settled\n%s", w.Log)
	}
	return made
}

// reopen makes a settlement what it was before it was completed, which nobody else can do.
func (w *world) reopen(settled id.ID) {
	w.t.Helper()
	w.Exec(`SET session_replication_role = replica;
		UPDATE settlements SET status = 'PROCESSING', completed_at = NULL, manifest_sha256 = NULL WHERE id = '` + settled.String() + `';
		SET session_replication_role = origin`)
}

// get asks for a path, which must be answered with the status.
func (w *world) get(want int, target string, header ...string) apitest.Answer {
	w.t.Helper()
	a := w.Do(w.handler, w.Request("GET", target, "", header...))
	if a.Status != want {
		w.t.Fatalf("GET %s: got %d %s; want %d", target, a.Status, a.Body, want)
	}
	return a
}

func path(settled id.ID) string { return "/v1/settlements/" + id.Settlement.External(settled) }

// each reads the members of the name of a page's objects.
func each(a apitest.Answer, name string) string {
	var found []string
	data, _ := a.Member("data").([]any)
	for _, item := range data {
		object, _ := item.(map[string]any)
		found = append(found, fmt.Sprint(object[name]))
	}
	return strings.Join(found, " ")
}

func TestASettlementIsShownAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sell(w.Shop, "JPY", 3)
	settled := w.night()[0]
	var manifest bytes.Buffer
	check(t, settlement.WriteManifest(t.Context(), w.Pool, settled, &manifest))
	sum := sha256.Sum256(manifest.Bytes())
	a := w.get(http.StatusOK, path(settled))
	for name, want := range map[string]any{
		"id": id.Settlement.External(settled), "object": "settlement", "business_date": "2027-03-01", "currency": "JPY",
		"status": "COMPLETED", "cutoff_at": "2027-03-01T15:00:00Z", "timezone": "Asia/Tokyo", "captured_amount": 15003.0,
		"refunded_amount": 0.0, "fee_amount": 450.0, "disputed_amount": 0.0, "adjusted_amount": 0.0, "net_amount": 14553.0,
		"payment_count": 3.0, "line_count": 6.0, "manifest_sha256": hex.EncodeToString(sum[:]), "created_at": "2027-03-01T17:00:00Z",
	} {
		if diff := cmp.Diff(want, a.Member(name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	w.reopen(settled)
	if a := w.get(http.StatusOK, path(settled)); a.Text("status") != "PROCESSING" || a.Member("manifest_sha256") != nil || a.Member("completed_at") != nil {
		t.Errorf("before its end: %s", a.Body)
	}
}

func TestPagesOfSettlements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, _ := w.Merchant("Other")
	var made []string // newest first
	for night := range 3 {
		w.sell(w.Shop, "JPY", 1)
		w.sell(other, "JPY", 1)
		if night < 2 {
			w.sell(w.Shop, "USD", 1)
		}
		var tonight []string
		for _, settled := range w.night() {
			tonight = append(tonight, id.Settlement.External(settled))
		}
		made = append(tonight, made...)
	}
	var seen []string
	target := "/v1/settlements?limit=2"
	for page := range 3 {
		a := w.get(http.StatusOK, target)
		if (a.Member("has_more") == true) != (page < 2) || (a.Member("next_cursor") != nil) != (page < 2) {
			t.Fatalf("page %d: %s", page, a.Body)
		}
		seen = append(seen, each(a, "id"))
		target = "/v1/settlements?limit=2&cursor=" + url.QueryEscape(a.Text("next_cursor"))
		w.sell(w.Shop, "EUR", 1)
		w.night() // shifts nothing
	}
	if diff := cmp.Diff(strings.Join(made, " "), strings.Join(seen, " ")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for query, want := range map[string]int{
		"business_date=2027-03-01": 2, "business_date=2027-03-01&currency=JPY": 1, "business_date=2020-02-29": 0, "currency=USD": 2, "currency=GBP": 0,
	} {
		if got := strings.Fields(each(w.get(http.StatusOK, "/v1/settlements?"+query), "currency")); len(got) != want {
			t.Errorf("%s: %v, want %d", query, got, want)
		}
	}
}

func TestPagesOfLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sell(w.Shop, "JPY", 3)
	settled := w.night()[0]
	var numbers, kinds, amounts []string
	for target := path(settled) + "/lines?limit=4"; target != ""; {
		a := w.get(http.StatusOK, target)
		numbers, kinds, amounts = append(numbers, each(a, "number")), append(kinds, each(a, "kind")), append(amounts, each(a, "amount"))
		if target = ""; a.Member("has_more") == true {
			target = path(settled) + "/lines?limit=4&cursor=" + a.Text("next_cursor")
		}
	}
	if got := strings.Join(numbers, "|"); got != "1 2 3 4|5 6" {
		t.Errorf("numbers %s", got)
	}
	if got := strings.Join(kinds, " "); strings.Count(got, "capture") != 3 || strings.Count(got, "fee") != 3 {
		t.Errorf("kinds %s", got)
	}
	if got := strings.Join(amounts, " "); strings.Count(got, "-150") != 3 || !strings.Contains(got, "5000") || !strings.Contains(got, "5002") {
		t.Errorf("amounts %s", got)
	}
	w.reopen(settled)
	if a := w.get(http.StatusConflict, path(settled)+"/lines"); a.Text("code") != string(fault.InvalidState) {
		t.Errorf("lines that may change: %s", a.Body)
	}
}

func TestTheFileIsTheManifest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sell(w.Shop, "JPY", 700)
	settled := w.night()[0]
	a := w.get(http.StatusOK, path(settled)+"/csv")
	sum := sha256.Sum256(a.Body)
	if got, want := a.Header.Get("Repr-Digest"), "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":"; got != want {
		t.Errorf("Repr-Digest is %s, want %s", got, want)
	}
	if shown := w.get(http.StatusOK, path(settled)).Text("manifest_sha256"); shown != hex.EncodeToString(sum[:]) {
		t.Errorf("the settlement has the digest %s", shown)
	}
	if h := a.Header; h.Get("Content-Type") != "text/csv; charset=utf-8" || h.Get("Content-Disposition") != `attachment; filename="settlement-2027-03-01-JPY.csv"` {
		t.Errorf("headers %v", h)
	}
	rows, err := csv.NewReader(bytes.NewReader(a.Body)).ReadAll()
	if err != nil || len(rows) != 1401 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if again := w.get(http.StatusOK, path(settled)+"/csv"); !bytes.Equal(again.Body, a.Body) {
		t.Error("asked for again, it is another file")
	}
	w.reopen(settled)
	w.get(http.StatusConflict, path(settled)+"/csv")
}

func TestNobodyReadsAnothersSettlements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sell(w.Shop, "JPY", 1)
	settled := w.night()[0]
	_, key := w.Merchant("Stranger")
	for _, target := range []string{path(settled), path(settled) + "/lines", path(settled) + "/csv", "/v1/settlements/stl_1", path(w.Env.NewID()) + "/csv"} {
		a := w.get(http.StatusNotFound, target, "Authorization", "Bearer "+key.Reveal())
		if code, _ := a.Problem(); code != fault.NotFound {
			t.Errorf("%s: %s", target, a.Body)
		}
		w.get(http.StatusUnauthorized, target, "Authorization", "")
	}
	if got := each(w.get(http.StatusOK, "/v1/settlements", "Authorization", "Bearer "+key.Reveal()), "id"); got != "" {
		t.Errorf("the stranger sees %s", got)
	}
}

func TestWrongParametersAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sell(w.Shop, "JPY", 1)
	settled := w.night()[0]
	for target, field := range map[string]string{
		"/v1/settlements?limit=0": "limit", "/v1/settlements?limit=101": "limit", "/v1/settlements?cursor=1": "cursor",
		"/v1/settlements?cursor=pay_01kh8zv6h4e9drhd2v6q0m3k7t": "cursor", "/v1/settlements?currency=yen": "currency",
		"/v1/settlements?business_date=today": "business_date", "/v1/settlements?business_date=2027-02-30": "business_date",
		"/v1/settlements?date=2027-02-28": "date", path(settled) + "?expand=lines": "expand",
		path(settled) + "/lines?limit=1001": "limit", path(settled) + "/lines?cursor=0": "cursor", path(settled) + "/lines?cursor=x1": "cursor",
		path(settled) + "/lines?cursor=99999999999": "cursor", path(settled) + "/csv?format=xlsx": "format",
	} {
		a := w.get(http.StatusBadRequest, target)
		if code, fields := a.Problem(); code != fault.InvalidRequest || len(fields) != 1 || fields[0].Name != field {
			t.Errorf("%s: %s", target, a.Body)
		}
	}
}

// sink takes an answer in, and watches how much memory that takes.
type sink struct {
	header http.Header
	bytes  int
	next   int
	most   uint64
}

func (s *sink) Header() http.Header { return s.header }

func (*sink) WriteHeader(int) {}

func (s *sink) Write(b []byte) (int, error) {
	if s.bytes += len(b); s.bytes >= s.next {
		s.next = s.bytes + 1<<20
		s.most = max(s.most, heap())
	}
	return len(b), nil
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A large file is never in memory as a whole. Not beside other tests, whose memory would count.
func TestAFileTakesNoMoreMemoryThanAPage(t *testing.T) {
	w := newWorld(t)
	w.sell(w.Shop, "JPY", 1)
	settled := w.night()[0]
	w.Exec(`SET session_replication_role = replica;
		INSERT INTO settlement_lines (settlement_id, number, posting_id, line, transaction_id, provider, kind, amount_minor, posted_at)
		SELECT settlement_id, number + n, gen_random_uuid(), 1, transaction_id, provider, kind, amount_minor, posted_at
		FROM settlement_lines, generate_series(1, 100000) n WHERE settlement_id = '` + settled.String() + `' AND number = 2;
		SET session_replication_role = origin`)
	s := &sink{header: http.Header{}}
	before := heap()
	w.handler.ServeHTTP(s, w.Request("GET", path(settled)+"/csv", ""))
	if grown := int64(s.most) - int64(before); s.bytes < 8<<20 || grown > 2<<20 {
		t.Errorf("a file of %d bytes took %d bytes of memory", s.bytes, grown)
	}
}
