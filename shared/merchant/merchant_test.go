package merchant

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
	"github.com/tollgate/tollgate/shared/telemetry"
)

var now = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func newStore(t *testing.T) (*Store, pgx.Tx) {
	t.Helper()
	tx := pgtest.Tx(t)
	clock := func() time.Time { return now }
	return &Store{DB: tx, Now: clock, NewID: id.Source{Now: clock}.New}, tx
}

func issue(t *testing.T, s *Store) (Merchant, id.ID, string) {
	t.Helper()
	m, err := s.Create(t.Context(), " Demo shop ")
	if err != nil {
		t.Fatal(err)
	}
	key, text, err := s.IssueKey(t.Context(), m.ID, "server")
	if err != nil {
		t.Fatal(err)
	}
	return m, key, text.Reveal()
}

func TestAKeyNamesItsMerchant(t *testing.T) {
	t.Parallel()
	s, tx := newStore(t)
	m, key, text := issue(t, s)
	if m.Name != "Demo shop" || m.Status != Active {
		t.Errorf("created %+v", m)
	}
	if !regexp.MustCompile(`^sk_[0-9a-z]{26}_[A-Za-z0-9_-]{43}$`).MatchString(text) {
		t.Errorf("the key has another form: %q", text)
	}
	got, err := s.Authenticate(t.Context(), text)
	if err != nil || got.MerchantID != m.ID || got.KeyID != key || len(got.Preference) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.Prefer(t.Context(), m.ID, []string{"paypal", "stripe"}); err != nil {
		t.Fatal(err)
	}
	if got, err = s.Authenticate(t.Context(), text); err != nil || !slices.Equal(got.Preference, []string{"paypal", "stripe"}) {
		t.Errorf("with a preference: %+v, %v", got, err)
	}
	if err := s.Prefer(t.Context(), m.ID, []string{"paypal", "paypal"}); !fault.Is(err, fault.InvalidRequest) {
		t.Errorf("one provider twice: %v", err)
	}
	if err := s.Prefer(t.Context(), key, nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("of nobody: %v", err)
	}
	var stored []byte
	if err := tx.QueryRow(t.Context(), `SELECT secret_hash FROM api_keys WHERE id = $1`, key).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, hash(text)) || len(stored) != 32 {
		t.Errorf("the database holds %x", stored)
	}
	if masked := telemetry.Mask("the key " + text + " of the shop"); masked != "the key [masked] of the shop" {
		t.Errorf("masked as %q", masked)
	}
}

func TestEveryOtherKeyIsRefusedInTheSameWords(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	_, _, text := issue(t, s)
	_, revoked, gone := issue(t, s)
	if err := s.RevokeKey(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	_, _, other := issue(t, s)
	for name, key := range map[string]string{
		"none": "", "wrong secret": text[:len(text)-1] + flip(text[len(text)-1]), "revoked": gone,
		"another key's secret": text[:30] + other[30:], "longer": text + "x", "shorter": text[:len(text)-1],
		"upper case": strings.ToUpper(text), "unknown": KeyPrefix.External(s.NewID()) + text[29:],
		"another kind": "pk" + text[2:], "without a border": strings.Replace(text, text[28:30], text[28:29]+"x", 1),
	} {
		_, err := s.Authenticate(t.Context(), key)
		if !fault.Is(err, fault.Unauthenticated) || err.Error() != unauthenticated().Error() {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), text[30:40]) {
			t.Errorf("%s: the refusal repeats the secret", name)
		}
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "Q"
	}
	return "A"
}

func TestASuspendedMerchantIsToldSo(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	m, _, text := issue(t, s)
	if err := s.Suspend(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), text); !fault.Is(err, fault.MerchantSuspended) {
		t.Errorf("suspended: %v", err)
	}
	wrong := text[:len(text)-2] + flip(text[len(text)-2]) + text[len(text)-1:]
	if _, err := s.Authenticate(t.Context(), wrong); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a wrong key learns that the merchant is suspended: %v", err)
	}
	if err := s.Activate(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), text); err != nil {
		t.Errorf("active again: %v", err)
	}
}

func TestWhatDoesNotExistIsNotFound(t *testing.T) {
	t.Parallel()
	s, tx := newStore(t)
	_, key, _ := issue(t, s)
	if err := s.RevokeKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"suspend": s.Suspend(t.Context(), s.NewID()), "revoke": s.RevokeKey(t.Context(), s.NewID()),
		"revoke again": s.RevokeKey(t.Context(), key),
	} {
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	nested, err := tx.Begin(t.Context()) // the violation ends the transaction that it happens in
	if err != nil {
		t.Fatal(err)
	}
	s.DB = nested
	if _, _, err := s.IssueKey(t.Context(), s.NewID(), ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("a key of no merchant: %v", err)
	}
}

func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	for _, name := range []string{"", "  ", strings.Repeat("é", 201), "a\x00b"} {
		if _, err := s.Create(t.Context(), name); !fault.Is(err, fault.InvalidRequest) {
			t.Errorf("%.10q: %v", name, err)
		}
	}
	if _, err := s.Create(t.Context(), strings.Repeat("é", 200)); err != nil {
		t.Error(err)
	}
}

func TestAFailingRandomSourceMakesNoKey(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	m, _, _ := issue(t, s)
	s.Rand = func([]byte) (int, error) { return 0, errors.New("no entropy") }
	if _, text, err := s.IssueKey(t.Context(), m.ID, ""); err == nil || text != "" {
		t.Errorf("issued %q, %v", text.Reveal(), err)
	}
}

func TestStatementsArePrepared(t *testing.T) {
	t.Parallel()
	_, tx := newStore(t)
	for _, sql := range []string{insertMerchant, updateStatus, insertKey, revokeKey, selectKey} {
		if _, err := tx.Prepare(context.Background(), sql, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
