package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/payment"
	"github.com/tollgate/tollgate/shared/reconcile"
)

// differenceRow is where our facts, a provider's report and our ledger do not agree.
type differenceRow struct {
	ID         id.ID                `json:"id" col:"difference"`
	Kind       string               `json:"kind" col:"kind"`
	State      string               `json:"state" col:"state"`
	Provider   string               `json:"provider" col:"provider"`
	Object     string               `json:"object_id" col:"object"`
	Expected   string               `json:"-" col:"expected"`
	Actual     string               `json:"-" col:"actual"`
	Payment    external[ofPayment]  `json:"payment_id,omitzero" col:"payment"`
	Owner      string               `json:"owner" col:"owner"`
	OpenedAt   time.Time            `json:"opened_at" col:"since"`
	Merchant   external[ofMerchant] `json:"merchant_id,omitzero"`
	Entry      string               `json:"entry_id,omitempty"`
	Minor      int64                `json:"expected_minor"`
	Currency   string               `json:"currency"`
	HasMinor   int64                `json:"actual_minor"`
	HasCode    string               `json:"actual_currency"`
	Fee        int64                `json:"fee_minor"`
	Booked     bool                 `json:"booked"`
	Resolution string               `json:"resolution,omitempty"`
	ResolvedBy string               `json:"resolved_by,omitempty"`
	Note       string               `json:"note,omitempty"`
	ResolvedAt *time.Time           `json:"resolved_at,omitempty"`
}

func differenceRowOf(d reconcile.Difference) differenceRow {
	return differenceRow{
		ID: d.ID, Kind: string(d.Kind), State: string(d.State), Provider: d.Provider, Object: d.ObjectID,
		Expected: amount(d.Expected, d.Currency), Actual: amount(d.Actual, d.ActualCurrency),
		Payment: external[ofPayment]{d.PaymentID}, Merchant: external[ofMerchant]{d.MerchantID}, Owner: d.Owner, OpenedAt: d.OpenedAt,
		Entry: d.EntryID, Minor: d.Expected, Currency: d.Currency.Code(), HasMinor: d.Actual, HasCode: d.ActualCurrency.Code(),
		Fee: d.Fee, Booked: d.Booked, Resolution: string(d.Resolution), ResolvedBy: d.ResolvedBy, Note: d.Note, ResolvedAt: d.ResolvedAt,
	}
}

func amount(minor int64, c money.Currency) string { return fmt.Sprintf("%d %s", minor, c.Code()) }

func differencesList(f *flag.FlagSet) action {
	kind, at, owner := f.String("kind", "", ""), f.String("provider", "", ""), f.String("owner", "", "")
	merchant, all, limit := f.String("merchant", "", ""), f.Bool("all", false, ""), limitFlag(f)
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		filter := reconcile.Filter{State: reconcile.Open, Kind: reconcile.Kind(*kind), Provider: *at, Owner: *owner}
		if *all {
			filter.State = ""
		}
		var err error
		if filter.Limit, err = limit(); err != nil {
			return nil, err
		}
		if *merchant != "" {
			m, err := parseID[ofMerchant](*merchant)
			if err != nil {
				return nil, err
			}
			filter.MerchantID = m.ID
		}
		db, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		found, err := reconcile.List(ctx, db, filter)
		shown := list[differenceRow]{none: "Nothing differs."}
		for _, d := range found {
			shown.rows = append(shown.rows, differenceRowOf(d))
		}
		return shown, err
	}
}

// differenceShown is a difference with its evidence and what was done about it.
type differenceShown struct {
	differenceRow
	Obligation id.ID           `json:"obligation_id,omitzero"`
	Evidence   json.RawMessage `json:"evidence"`
	Log        []differenceLog `json:"log"`
}

type differenceLog struct {
	At     time.Time       `json:"at" col:"at"`
	Action string          `json:"action" col:"action"`
	Actor  string          `json:"actor" col:"by"`
	Detail json.RawMessage `json:"detail"`
	Text   string          `json:"-" col:"detail"`
}

// differenceDetail is what a table of one line has no room for.
type differenceDetail struct {
	Entry      string     `col:"entry"`
	Fee        string     `col:"fee, not booked"`
	Merchant   string     `col:"merchant"`
	Obligation string     `col:"obligation"`
	Booked     bool       `col:"booked"`
	Resolution string     `col:"resolution"`
	ResolvedBy string     `col:"resolved by"`
	ResolvedAt *time.Time `col:"resolved"`
	Note       string     `col:"note"`
}

func (d differenceShown) text(w io.Writer) error {
	detail := differenceDetail{
		Entry: d.Entry, Merchant: d.Merchant.String(), Booked: d.Booked, Resolution: d.Resolution, ResolvedBy: d.ResolvedBy,
		ResolvedAt: d.ResolvedAt, Note: d.Note,
	}
	if d.Fee != 0 {
		detail.Fee = fmt.Sprintf("%d %s", d.Fee, d.HasCode)
	}
	if !d.Obligation.IsZero() {
		detail.Obligation = d.Obligation.String()
	}
	if err := fields(w, d.differenceRow, detail); err != nil {
		return err
	}
	evidence, err := json.MarshalIndent(d.Evidence, "", "  ")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s\n\n", evidence); err != nil {
		return err
	}
	return table(w, d.Log)
}

func differencesShow(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) (result, error) {
		which, err := parseDifference(args[0])
		if err != nil {
			return nil, err
		}
		db, err := s.db(ctx)
		if err != nil {
			return nil, err
		}
		d, err := reconcile.Get(ctx, db, which)
		if err != nil {
			return nil, err
		}
		shown := differenceShown{differenceRow: differenceRowOf(d), Obligation: d.ObligationID, Evidence: d.Evidence}
		for _, e := range d.Log {
			shown.Log = append(shown.Log, differenceLog{e.At, e.Action, e.Actor, e.Detail, string(e.Detail)})
		}
		return shown, nil
	}
}

func parseDifference(text string) (id.ID, error) {
	which, err := id.Parse(text)
	if err != nil {
		return which, usageError(fmt.Sprintf("%q is not a difference's id, which is a UUID", text))
	}
	return which, nil
}

// reconciler is the service that decisions are made by. It calls no provider.
func (s *session) reconciler(ctx context.Context) (*reconcile.Service, error) {
	db, err := s.db(ctx)
	if err != nil {
		return nil, err
	}
	return &reconcile.Service{
		Pool: db, Now: s.now, NewID: s.newID, Settings: reconcile.Default(),
		Payments: &payment.Service{Pool: db, Now: s.now, NewID: s.newID, Name: "ops"},
	}, nil
}

// decide has a human's decision about a difference made; who is the human, or "" for the
// one who runs the command.
func (s *session) decide(ctx context.Context, text, who string, do func(service *reconcile.Service, which id.ID, by string) error) error {
	which, err := parseDifference(text)
	if err != nil {
		return err
	}
	if who == "" {
		who = s.user
	}
	if who == "" {
		return usageError("say who you are: --who NAME")
	}
	service, err := s.reconciler(ctx)
	if err != nil {
		return err
	}
	return do(service, which, who)
}

// reasoned makes an action of a decision that needs a reason.
func reasoned(f *flag.FlagSet, says string, do func(*reconcile.Service, context.Context, id.ID, string, string) error) action {
	why, who := f.String("why", "", ""), f.String("who", "", "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		if *why == "" {
			return nil, usageError("say why: --why TEXT. It stays with the difference")
		}
		err := s.decide(ctx, args[0], *who, func(service *reconcile.Service, which id.ID, by string) error {
			return do(service, ctx, which, by, *why)
		})
		return done{fmt.Sprintf(says, args[0])}, err
	}
}

func differencesAssign(f *flag.FlagSet) action {
	to, who := f.String("to", "", ""), f.String("who", "", "")
	return func(ctx context.Context, s *session, args []string) (result, error) {
		if *to == "" {
			return nil, usageError("say whose it is to be: --to NAME")
		}
		err := s.decide(ctx, args[0], *who, func(service *reconcile.Service, which id.ID, by string) error {
			return service.Assign(ctx, which, *to, by)
		})
		return done{fmt.Sprintf("Difference %s is %s's.", args[0], *to)}, err
	}
}

func differencesResolve(f *flag.FlagSet) action {
	writeOff := f.Bool("write-off", false, "")
	return reasoned(f, "Difference %s is resolved.", func(s *reconcile.Service, ctx context.Context, which id.ID, by, why string) error {
		return s.Resolve(ctx, which, by, why, *writeOff)
	})
}

func differencesApprove(f *flag.FlagSet) action {
	return reasoned(f, "The orphan of difference %s is to be refunded; see scripts/ops obligations list.", (*reconcile.Service).Approve)
}

func differencesReject(f *flag.FlagSet) action {
	return reasoned(f, "The orphan of difference %s stays where it is.", (*reconcile.Service).Reject)
}

// sumsRow holds our balance at a provider against the provider's own.
type sumsRow struct {
	Provider    string `json:"provider" col:"provider"`
	Currency    string `json:"currency" col:"currency"`
	Reported    int64  `json:"reported_minor" col:"reported"`
	Ledger      int64  `json:"ledger_minor" col:"ledger"`
	Differences int64  `json:"differences_minor" col:"differences"`
	Waiting     int64  `json:"waiting_minor" col:"waiting"`
	Unreported  int64  `json:"unreported_minor" col:"not reported yet"`
	Unexplained int64  `json:"unexplained_minor" col:"unexplained"`
}

func differencesSums(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		service, err := s.reconciler(ctx)
		if err != nil {
			return nil, err
		}
		sums, err := service.Agree(ctx)
		shown := list[sumsRow]{none: "No provider's report was read yet."}
		for _, a := range sums {
			shown.rows = append(shown.rows, sumsRow{
				a.Provider, a.Currency.Code(), a.Reported, a.Ledger, a.Differences, a.Waiting, a.Unreported, a.Unexplained(),
			})
		}
		return shown, err
	}
}
