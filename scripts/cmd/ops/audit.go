package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/audit/vault"
	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/postgres"
)

// verification is what verifying the audit log found.
type verification struct {
	audit.Totals
	Found []audit.Finding `json:"found"`
}

func (v verification) text(w io.Writer) error {
	for _, f := range v.Found {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "Held %d rows of %d merchants' logs against %d seals, and %d payments against their log: %d findings.\n",
		v.Rows, v.Merchants, v.Seals, v.Payments, v.Findings)
	return err
}

func auditVerify(f *flag.FlagSet) action {
	of := f.String("merchant", "", "")
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		merchant, err := optionalID[ofMerchant](*of)
		if err != nil {
			return nil, err
		}
		service, err := s.auditor(ctx)
		if err != nil {
			return nil, err
		}
		v := verification{Found: []audit.Finding{}}
		found := func(f audit.Finding) { v.Found = append(v.Found, f) }
		if merchant != nil {
			v.Totals, err = service.VerifyMerchant(ctx, *merchant, found)
		} else {
			v.Totals, err = service.VerifyAll(ctx, found)
		}
		if err != nil || len(v.Found) == 0 {
			return v, err
		}
		return nil, errors.Join(s.say(v), errors.New("the audit log, its seals and the tables do not agree"))
	}
}

// say prints a result that the command then fails with.
func (s *session) say(r result) error {
	if !s.asJSON {
		return r.text(s.out)
	}
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// auditor verifies, and raises nothing: who asked sees what is found.
func (s *session) auditor(ctx context.Context) (*audit.Service, error) {
	c, err := config.Load[vault.Config](s.settings)
	if err != nil {
		return nil, err
	}
	seals, err := vault.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	pool, err := s.db(ctx)
	if err != nil {
		return nil, err
	}
	return &audit.Service{Pool: pool, Vault: seals, Now: s.now, NewID: s.newID, Log: slog.New(slog.DiscardHandler)}, nil
}

// rebuilt is what a rebuild made.
type rebuilt struct{ audit.Rebuilt }

func (r rebuilt) text(w io.Writer) error {
	for _, row := range r.Unequal {
		if _, err := fmt.Fprintln(w, "not equal:", row); err != nil {
			return err
		}
	}
	made := ""
	for _, table := range slices.Sorted(maps.Keys(r.Rows)) {
		made += fmt.Sprintf(", %d %s", r.Rows[table], table)
	}
	_, err := fmt.Fprintf(w, "From %d rows of the audit log of %d merchants%s.\n", r.LogRows, r.Merchants, made)
	if err == nil && r.Equal() {
		_, err = fmt.Fprintln(w, "Every row is equal.")
	}
	return err
}

func auditRebuild(f *flag.FlagSet) action {
	target := f.String("into", "", "")
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		if *target == "" {
			return nil, usageError("say where with --into URL: a database that is migrated (scripts/migrate) and empty")
		}
		c, err := config.Load[postgres.Config](s.settings)
		if err != nil {
			return nil, err
		}
		from, err := audit.OpenRebuild(ctx, c.URL.Reveal())
		if err != nil {
			return nil, err
		}
		defer from.Close()
		into, err := audit.OpenRebuild(ctx, *target)
		if err != nil {
			return nil, err
		}
		defer into.Close()
		const often = 100_000
		r, err := audit.Rebuild(ctx, from, into, func(payments int64) {
			if !s.asJSON && payments%often == 0 && payments > 0 {
				_, _ = fmt.Fprintln(s.out, payments, "payments")
			}
		})
		if err != nil || r.Equal() {
			return rebuilt{r}, err
		}
		return nil, errors.Join(s.say(rebuilt{r}), fmt.Errorf("the log does not give %d rows back", len(r.Unequal)))
	}
}
