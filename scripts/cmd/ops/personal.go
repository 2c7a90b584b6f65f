package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/tollgate/tollgate/shared/payment"
)

// erased is what an erasure took away.
type erased struct{ payment.Erasure }

func (e erased) text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "Erased: %d records, and copies in %d requests to providers, %d stored answers, %d events and %d raw messages of providers.\n",
		e.Records, e.Requests, e.Answers, e.Events, e.Evidence)
	if err == nil && e.Remaining > 0 {
		_, err = fmt.Fprintf(w, "Kept as evidence: %d raw messages of providers, which may repeat it; --evidence empties them.\n", e.Remaining)
	}
	if err == nil {
		_, err = fmt.Fprintln(w, "Not reached: backups, for as long as they are kept; messages in Pub/Sub, 7 days at most; the merchant, its webhook receivers, and the provider.")
	}
	return err
}

func personalErase(f *flag.FlagSet) action {
	of, why, evidence := f.String("payment", "", ""), f.String("why", "", ""), f.Bool("evidence", false, "")
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		if *of == "" {
			return nil, usageError("say whose with --payment PAYMENT")
		}
		if strings.TrimSpace(*why) == "" {
			return nil, usageError("say why with --why TEXT, such as the request's number: it stays in the audit log, so name nobody")
		}
		p, err := parseID[ofPayment](*of)
		if err != nil {
			return nil, err
		}
		pool, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		service := &payment.Service{Pool: pool, Now: s.now, NewID: s.newID, Name: "ops", Log: slog.New(slog.DiscardHandler)}
		e, err := service.ErasePersonal(ctx, p.ID, payment.Actor{Name: "operator:" + cmp.Or(s.user, "unknown")}, *why, *evidence)
		return erased{e}, err
	}
}
