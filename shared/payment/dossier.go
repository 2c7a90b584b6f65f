package payment

import (
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/outbox"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// dossier is all that is known of one payment, held under its row lock or, right
// after a create, known by construction. Facts are applied to it in memory; write
// queues everything that came of them: the new version, its audit row, the postings, the
// events and their outbox rows, closed sagas and their answers.
type dossier struct {
	*Payment
	refunds  []*Refund
	disputes []*Dispute
	sagas    []*saga.Saga // the open ones, and the authorize saga in any state
	known    []knownFact

	schedules ledger.Schedules // what the merchant pays now, by provider
	past      []ledger.Posting // what the ledger has of the payment

	now   time.Time
	newID func() id.ID
	units func(provider.Fact, int64) bool // does the fact echo this many minor units?

	oldPayment  *Payment
	oldRefunds  map[id.ID]Refund
	oldDisputes map[id.ID]Dispute
	actions     []string // what happened, for the audit row
	announce    []announcement
	facts       []recordedFact
	postings    []ledger.Posting
	obligations []obligation
	discharged  []discharge
	finished    []finish
}

type knownFact struct {
	Provider   string         `db:"provider"`
	ObjectID   string         `db:"object_id"`
	State      provider.State `db:"state"`
	Kind       provider.Kind  `db:"kind"`
	Rank       int            `db:"rank"`
	Amount     int64          `db:"amount_minor"`
	OccurredAt time.Time      `db:"occurred_at"`
}

// supersedes reports whether the fact tells of a newer state than another of the same
// object: a higher one, or of two that exclude each other the later.
func (k knownFact) supersedes(old knownFact) bool {
	return k.Rank > old.Rank || k.Rank == old.Rank && k.State != old.State && k.OccurredAt.After(old.OccurredAt)
}

type announcement struct {
	event   string
	refund  *Refund
	dispute *Dispute
}

type recordedFact struct {
	provider.Fact
	from     string // the provider that states it
	refundID id.ID
	effect   string
}

// finish closes one saga; refusal says why, if it was refused. doubted says that its
// outcome was unknown until now, and resumed that a worker is at it who may be finding out.
type finish struct {
	saga             *saga.Saga
	outcome          string
	refusal          *provider.Refusal
	doubted, resumed bool
}

// rule is what proved the outcome, "" if nothing was in doubt.
func (f finish) rule(src Source) string {
	switch {
	case src.Rule == RuleWebhook && !f.doubted && !f.resumed:
		return "" // the webhook was quicker than the reply
	case src.Rule == "" && (f.doubted || f.resumed && f.saga.ID != src.saga) && src.Name == "lookup":
		return RuleLookup // it was made for another operation, and showed this one too
	case src.Rule == "" && (f.doubted || src.overtaken) && src.Name == "call":
		return RuleReply
	}
	return src.Rule
}

// Source says where facts come from.
type Source struct {
	Name     string // call, replay, lookup, webhook
	Rule     string // the resolver's rule, when the facts settle what was unknown
	Evidence id.ID  // the row that holds the raw evidence
	Actor    Actor

	saga      id.ID // that the worker is at, if there is one
	overtaken bool  // its lease ran out, and another's runs now, who is finding out
}

func (s *Service) newDossier(p *Payment) *dossier {
	d := &dossier{Payment: p, now: s.Now(), newID: s.NewID}
	adapter := s.Providers[p.Provider]
	d.units = func(f provider.Fact, minor int64) bool {
		if adapter == nil || !strings.EqualFold(f.UnitCurrency, p.Currency.Code()) {
			return false
		}
		want, err := adapter.Capabilities().Units(p.Money(minor))
		return err == nil && want == f.Units
	}
	return d
}

// before remembers the rows as they were.
func (d *dossier) before() {
	old := *d.Payment
	d.oldPayment = &old
	d.oldRefunds = make(map[id.ID]Refund, len(d.refunds))
	for _, r := range d.refunds {
		d.oldRefunds[r.ID] = *r
	}
	d.oldDisputes = make(map[id.ID]Dispute, len(d.disputes))
	for _, p := range d.disputes {
		d.oldDisputes[p.ID] = *p
	}
}

func (d *dossier) open() []*saga.Saga {
	var open []*saga.Saga
	for _, s := range d.sagas {
		if s.Open() {
			open = append(open, s)
		}
	}
	return open
}

// exclusive is the open authorize, capture or void, if there is one.
func (d *dossier) exclusive() *saga.Saga {
	for _, s := range d.open() {
		if s.Exclusive() {
			return s
		}
	}
	return nil
}

func (d *dossier) saga(saga id.ID) *saga.Saga {
	for _, s := range d.sagas {
		if s.ID == saga {
			return s
		}
	}
	return nil
}

func (d *dossier) refund(refund id.ID) *Refund {
	for _, r := range d.refunds {
		if r.ID == refund {
			return r
		}
	}
	return nil
}

// become moves the payment along the state machine and tells its merchant.
func (d *dossier) become(to Status, told string) {
	d.move(to)
	d.announce = append(d.announce, announcement{event: told})
	if to != Pending {
		d.NextAction = nil
	}
}

func (d *dossier) close(s *saga.Saga, outcome string, refusal *provider.Refusal) {
	f := finish{saga: s, outcome: outcome, refusal: refusal, doubted: s.Doubted(d.now), resumed: s.State == saga.Leased && s.Tries > 0}
	s.State = saga.Done
	s.Outcome = &outcome
	d.finished = append(d.finished, f)
}

// write queues what changed. It finishes the rows (version, updated_at, sequence)
// first, so it is called once, last.
func (d *dossier) write(b *pgx.Batch, src Source) {
	d.seal(b, src)
	for _, r := range d.refunds {
		old, existed := d.oldRefunds[r.ID]
		switch {
		case !existed:
			r.Version, r.UpdatedAt = 1, d.now
			queueInsertRefund(b, d.Payment, r)
			d.audit(b, src, auditRow{object: "refund", objectID: r.ID, version: &r.Version, action: "create", delta: delta(nil, r)})
		case len(delta(&old, r)) > 0:
			r.Version, r.UpdatedAt = old.Version+1, d.now
			queueUpdateRefund(b, r)
			d.audit(b, src, auditRow{object: "refund", objectID: r.ID, version: &r.Version, action: strings.ToLower(string(r.Status)), delta: delta(&old, r)})
		}
	}
	d.writeDisputes(b, src)
	for _, f := range d.facts {
		queueFact(b, d, f, src)
	}
	for _, p := range d.postings {
		ledger.Queue(b, p)
	}
	for _, o := range d.obligations {
		queueObligation(b, d, o)
	}
	for _, o := range d.discharged {
		if o.kind == provider.Refund && d.held(o.provider, nil) > 0 {
			continue // a refund that had succeeded has failed since
		}
		queueDischarge(b, o, src.Evidence, d.now)
	}
	d.finish(b, src)
}

// seal gives the payment its new version, if anything about it changed.
func (d *dossier) seal(b *pgx.Batch, src Source) {
	d.EventSequence += int64(len(d.announce))
	if len(delta(d.oldPayment, d.Payment)) == 0 {
		return
	}
	d.Version, d.UpdatedAt = d.Version+1, d.now
	queueUpdatePayment(b, d.Payment)
	d.audit(b, src, auditRow{
		object: "payment", objectID: d.ID, version: &d.Version,
		action: strings.Join(d.actions, ","), delta: delta(d.oldPayment, d.Payment),
	})
	running := pending(d.open())
	for i, a := range d.announce {
		data := EventData{Payment: d.View(running)}
		if a.refund != nil {
			v := a.refund.View()
			v.UpdatedAt = d.now.UTC()
			data.Refund = &v
		}
		if a.dispute != nil {
			v := a.dispute.View()
			v.UpdatedAt = d.now.UTC()
			data.Dispute = &v
		}
		e := event.Event{
			ID: d.newID(), Type: a.event, Timestamp: d.now, Data: data,
			Sequence: d.EventSequence - int64(len(d.announce)-i-1),
		}
		outbox.Queue(b, outbox.Event{
			ID: e.ID, MerchantID: d.MerchantID, PaymentID: d.ID, Type: e.Type,
			Sequence: e.Sequence, Payload: e.Encode(), RequestID: src.Actor.RequestID, At: d.now,
		})
	}
}

func (d *dossier) audit(b *pgx.Batch, src Source, r auditRow) {
	r.payment, r.kind = d.Payment, "change"
	if r.action == "" {
		r.action = "update"
	}
	queueAudit(b, d.newID(), r, src.Actor, d.now)
}

// finish closes sagas and stores the answers to the requests that started them.
func (d *dossier) finish(b *pgx.Batch, src Source) {
	for _, f := range d.finished {
		saga.QueueFinish(b, f.saga.ID, f.outcome, f.rule(src), src.Evidence, d.now)
		if a, final := d.answer(f.saga, f.refusal); final {
			idempotency.QueueAnswer(b, f.saga.ID, a.Status, a.Body, d.now)
		}
	}
	// A create that a cancel superseded is answered when the payment ends.
	if d.oldPayment.Status == Pending && d.Status != Pending {
		for _, s := range d.sagas {
			if s.Kind == provider.Authorize {
				a, _ := d.answer(s, nil)
				idempotency.QueueAnswer(b, s.ID, a.Status, a.Body, d.now)
			}
		}
	}
}

const insertFact = `
	INSERT INTO provider_facts (provider, object_id, state, transaction_id, kind, refund_id, rank, amount_minor,
		currency, effect, source, evidence_id, occurred_at, recorded_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
	ON CONFLICT (provider, object_id, state) DO NOTHING`

func queueFact(b *pgx.Batch, d *dossier, f recordedFact, src Source) {
	currency := strings.ToUpper(f.UnitCurrency)
	if currency == "" {
		currency = d.Currency.Code()
	}
	b.Queue(insertFact, f.from, f.ObjectID, f.State, d.ID, f.Kind, f.refundID, f.Rank(), f.Amount.Minor, currency,
		f.effect, src.Name, src.Evidence, d.timeOf(f.Fact), d.now)
}

// timeOf is the provider's time of a fact, as far as it states one, and as far as the
// database keeps it: the log and the row must not differ by less.
func (d *dossier) timeOf(f provider.Fact) time.Time {
	if f.OccurredAt.IsZero() {
		return d.now
	}
	return f.OccurredAt.Truncate(time.Microsecond)
}

func (d *dossier) note(format string, args ...any) {
	d.actions = append(d.actions, fmt.Sprintf(format, args...))
}
