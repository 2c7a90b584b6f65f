package idempotency

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

var noon = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

var newID = id.Source{Now: func() time.Time { return noon }}.New

func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for i, sql := range []string{insertKey, answerKey, selectKey, selectBySaga, expireBodies} {
		if _, err := tx.Prepare(t.Context(), fmt.Sprint("s", i), sql); err != nil {
			t.Errorf("%v in:%s", err, sql)
		}
	}
}

func TestFingerprintTellsRequestsApart(t *testing.T) {
	t.Parallel()
	base := Request{Method: "POST", Path: "/v1/payments", Body: []byte(`{"amount":1}`)}
	seen := map[[32]byte]string{base.Fingerprint(): "base"}
	for name, r := range map[string]Request{
		"method":       {Method: "PUT", Path: base.Path, Body: base.Body},
		"path":         {Method: "POST", Path: "/v1/payments/x", Body: base.Body},
		"body":         {Method: "POST", Path: base.Path, Body: []byte(`{"amount":1.0}`)},
		"boundary":     {Method: "POST", Path: base.Path + "{", Body: base.Body[1:]},
		"an empty one": {},
	} {
		fp := r.Fingerprint()
		if other, ok := seen[fp]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[fp] = name
	}
	same := base
	same.Key, same.MerchantID = "another", newID()
	if same.Fingerprint() != base.Fingerprint() {
		t.Error("the key or the merchant is part of the fingerprint")
	}
}

func claim(t *testing.T, db postgres.DB, r Request) (saga id.ID, err error) {
	t.Helper()
	saga = newID()
	b := &pgx.Batch{}
	b.Queue(`SET session_replication_role = replica`) // merchant and payment don't matter here
	QueueClaim(b, r, saga, newID(), id.ID{}, noon)
	return saga, postgres.Pipeline(t.Context(), db, b)
}

func TestAKeyIsClaimedAnsweredAndExpired(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	r := Request{MerchantID: newID(), Key: "0123456789abcdef", Method: "POST", Path: "/v1/payments", Body: []byte("{}")}
	if rec, err := Find(t.Context(), pool, r); rec != nil || err != nil {
		t.Fatalf("before: %+v %v", rec, err)
	}
	saga, err := claim(t, pool, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(t, pool, r); !Taken(err) {
		t.Errorf("the second claim: %v, want taken", err)
	}
	rec, err := Find(t.Context(), pool, r)
	if err != nil || rec.SagaID != saga || rec.ResponseStatus != nil {
		t.Errorf("while it runs: %+v %v", rec, err)
	}
	for i, body := range []string{"first", "second"} {
		b := &pgx.Batch{}
		QueueAnswer(b, saga, 201+i, []byte(body), noon)
		if err := postgres.Pipeline(t.Context(), pool, b); err != nil {
			t.Fatal(err)
		}
	}
	rec, err = Find(t.Context(), pool, r)
	if err != nil || *rec.ResponseStatus != 201 || string(rec.ResponseBody) != "first" {
		t.Errorf("answered twice: %+v %v, want the first answer kept", rec, err)
	}
	other := r
	other.Body = []byte("{ }")
	if _, err := Find(t.Context(), pool, other); !fault.Is(err, fault.IdempotencyKeyReused) {
		t.Errorf("another body: %v", err)
	}
	for _, c := range []struct {
		after time.Duration
		want  int64
	}{{Retention, 0}, {Retention + time.Second, 1}, {Retention + time.Second, 0}} {
		if n, err := ExpireBodies(t.Context(), pool, noon.Add(c.after), 10); n != c.want || err != nil {
			t.Errorf("after %v: %d bodies expired, %v, want %d", c.after, n, err, c.want)
		}
	}
	rec, err = Find(t.Context(), pool, r)
	if err != nil || rec.ResponseBody != nil || *rec.ResponseStatus != 201 || rec.SagaID != saga {
		t.Errorf("after its bytes expired: %+v %v, want key and status kept", rec, err)
	}
	if _, err := claim(t, pool, r); !Taken(err) {
		t.Errorf("an old key was claimed anew: %v", err)
	}
}
