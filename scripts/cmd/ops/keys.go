package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// issued is an API key on the one occasion that it is shown.
type issued struct {
	Key  external[ofKey] `json:"api_key_id" col:"api key id"`
	Text string          `json:"api_key" col:"api key"`
}

func (i issued) text(w io.Writer) error {
	if err := fields(w, i); err != nil {
		return err
	}
	_, err := io.WriteString(w, "Keep the API key now: it is not shown again.\n")
	return err
}

func keysCreate(f *flag.FlagSet) action {
	label, sealed := f.String("label", "", ""), sealFlag(f)
	return func(ctx context.Context, s *session, args []string) (result, error) {
		m, err := parseID[ofMerchant](args[0])
		if err != nil {
			return nil, err
		}
		disclose, err := sealed(s)
		if err != nil {
			return nil, err
		}
		store, err := s.merchants(ctx)
		if err != nil {
			return nil, err
		}
		key, text, err := store.IssueKey(ctx, m.ID, *label)
		if err != nil {
			return nil, err
		}
		shown, err := disclose(text.Reveal())
		return issued{external[ofKey]{key}, shown}, err
	}
}

type keyRow struct {
	ID        external[ofKey] `db:"id" json:"id" col:"api key id"`
	Label     string          `db:"label" json:"label" col:"label"`
	CreatedAt time.Time       `db:"created_at" json:"created_at" col:"created"`
	RevokedAt *time.Time      `db:"revoked_at" json:"revoked_at" col:"revoked"`
}

const selectKeys = `SELECT id, label, created_at, revoked_at FROM api_keys WHERE merchant_id = $1 ORDER BY created_at, id`

func keysList(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		m, err := parseID[ofMerchant](args[0])
		if err != nil {
			return nil, err
		}
		rows, err := query[keyRow](ctx, s, selectKeys, m.ID)
		return list[keyRow]{rows, "The merchant has no API keys, or there is no such merchant."}, err
	}
}

// keyIDLength is how much of an API key's text names the key; the rest is its secret.
const keyIDLength = len("sk_") + 26

func keysRevoke(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		text := args[0]
		// Of a key that leaked, the whole text may be all that is known.
		if strings.HasPrefix(text, "sk_") && len(text) > keyIDLength {
			text = text[:keyIDLength]
		}
		key, err := parseID[ofKey](text)
		if err != nil {
			return nil, err
		}
		store, err := s.merchants(ctx)
		if err != nil {
			return nil, err
		}
		return done{fmt.Sprintf("The API key %s is refused from now on.", key)}, store.RevokeKey(ctx, key.ID)
	}
}
