package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// fact is a row of provider_facts about money.
type fact struct {
	ObjectID      string         `db:"object_id" json:"object"`
	Kind          provider.Kind  `db:"kind" json:"kind"`
	State         provider.State `db:"state" json:"state"`
	Rank          int            `db:"rank" json:"-"`
	Amount        int64          `db:"amount_minor" json:"amount_minor"`
	Currency      money.Currency `db:"currency" json:"currency"`
	Effect        string         `db:"effect" json:"effect"`
	TransactionID id.ID          `db:"transaction_id" json:"-"`
	OccurredAt    time.Time      `db:"occurred_at" json:"-"`
	RecordedAt    time.Time      `db:"recorded_at" json:"recorded_at"`
}

// entry is a row of provider_entries.
type entry struct {
	ID            string             `db:"id" json:"id"`
	Kind          provider.EntryKind `db:"kind" json:"kind"`
	ObjectID      string             `db:"object_id" json:"-"`
	Reference     string             `db:"reference" json:"-"`
	EchoedPayment id.ID              `db:"echoed_payment" json:"-"`
	EchoedRefund  id.ID              `db:"echoed_refund" json:"-"`
	Currency      money.Currency     `db:"currency" json:"currency"`
	Gross         int64              `db:"gross_minor" json:"gross_minor"`
	Fee           int64              `db:"fee_minor" json:"fee_minor"`
	Net           int64              `db:"net_minor" json:"-"`
	PayoutID      string             `db:"payout_id" json:"payout,omitempty"`
	OccurredAt    time.Time          `db:"occurred_at" json:"occurred_at"`
	Restated      *restatement       `db:"restated" json:"restated,omitempty"`
	Raw           string             `db:"raw" json:"-"`
	Verdict       *verdict           `db:"verdict" json:"-"`
	TransactionID id.ID              `db:"transaction_id" json:"-"`
	MerchantID    id.ID              `db:"merchant_id" json:"-"`
	JudgedAt      *time.Time         `db:"judged_at" json:"-"`
}

// restatement is what a provider says of an entry after it had said something else.
type restatement struct {
	Kind     provider.EntryKind `json:"kind"`
	Currency money.Currency     `json:"currency"`
	Gross    int64              `json:"gross_minor"`
	Fee      int64              `json:"fee_minor"`
}

// verdict is what came of an entry.
type verdict string

const (
	matched verdict = "matched"
	waiting verdict = "waiting" // its object is known, and the provider is not done with it
	differs verdict = "differs"
)

// A family is a way in which an object moves money, once. A capture that failed after all
// is a dispute that is lost at once, as it is to its merchant.
type family string

const (
	charges       family = "charge"
	refunds       family = "refund"
	refundsFailed family = "refund_failed"
	disputes      family = "dispute"
	disputesWon   family = "dispute_won"
	others        family = "adjustment"
)

// reverse is the family that takes a family back.
var reverse = map[family]family{charges: disputes, refunds: refundsFailed, disputes: disputesWon}

func familyOf(k provider.EntryKind) family {
	switch k {
	case provider.EntryCharge, provider.EntryRefund, provider.EntryRefundFailed, provider.EntryDispute, provider.EntryDisputeWon:
		return family(k)
	}
	return others
}

// movement is what must be in the provider's report, by our facts.
type movement struct {
	object   string
	family   family
	currency money.Currency
	amount   int64 // as it moves our balance there
	known    time.Time
	paired   bool
}

// group is what is in the provider's report about one family of one object.
type group struct {
	object  string
	family  family
	entries []entry
	paired  bool
}

// balance is what the ledger has of an object in a currency.
type balance struct {
	moved     int64 // on receivable, by what payments post
	scheduled int64 // on fees, by the fee schedules
	charged   int64 // on fees, by entries before
	corrected int64 // on fees, by variance postings before
	variances int   // how many there are
}

type objectCurrency struct {
	object   string
	currency money.Currency
}

// unit is all that has to agree: a payment at one provider, or an object that is no
// payment's, or an entry that is of no object.
type unit struct {
	owner
	facts   []fact
	entries []entry // in the order in which they occurred
	books   map[objectCurrency]balance
	charged map[string]bool // entries whose fee is posted
	asked   bool            // the provider was asked for the payment, and answered
}

// Kind is the kind of a difference.
type Kind string

// The kinds.
const (
	MissingHere  Kind = "missing_here"  // the provider reports what no fact of ours knows
	MissingThere Kind = "missing_there" // we know what the provider does not report
	Amount       Kind = "amount"
	Fee          Kind = "fee" // not the one expected; booked
	Currency     Kind = "currency"
	Duplicate    Kind = "duplicate" // the provider reports it twice
	Orphan       Kind = "orphan"    // a charge that belongs to no payment of ours
	Ledger       Kind = "ledger"    // our facts and our ledger do not agree
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{MissingHere, MissingThere, Amount, Fee, Currency, Duplicate, Orphan, Ledger}
}

// finding is a difference as it is found.
type finding struct {
	kind           Kind
	subject        string // what it is about, in the key
	object, entry  string
	currency       money.Currency
	expected       int64
	actualCurrency money.Currency
	actual         int64
	fee            int64
	booked         bool
	why            string
	orphan         *entry
}

// providerFee is what an entry says was kept, to be posted.
type providerFee struct {
	entry  entry
	object string
	amount int64
}

// correction brings the fees of an object to nothing, against variance.
type correction struct {
	objectCurrency
	amount int64 // the fee charged less the provider's
	number int
}

// ruling is what came of a unit.
type ruling struct {
	verdicts    map[string]verdict // by entry; one that is not in it stays to be judged
	findings    []finding
	fees        []providerFee
	corrections []correction
	ask         bool                     // nothing is to be made of it before the provider was asked for the payment
	unreported  map[money.Currency]int64 // expected in the report, and not late yet
}

// terms are what a unit is judged by, besides itself.
type terms struct {
	now     time.Time
	horizon time.Time // what was known before must be in the report by now
}

const (
	// orphanGrace is how old an entry is when it is held to belong to nobody: what it
	// belongs to may be in the middle of becoming known.
	orphanGrace = time.Hour

	// patience is how long an entry may be ahead of its object.
	patience = 7 * 24 * time.Hour
)

// judge is deterministic: the same unit in the same terms has the same ruling.
func judge(u *unit, t terms) ruling {
	j := &judgement{unit: u, terms: t, ruling: ruling{verdicts: map[string]verdict{}, unreported: map[money.Currency]int64{}}, unclean: map[string]bool{}}
	j.moves, j.groups = movements(u.facts), groups(settledFirst(u.entries))
	j.pair(func(m *movement, g *group) bool { return m.object == g.object })
	// A report may name the capture that a dispute is about, and not the dispute.
	exact := func(m *movement, g *group) bool { return disputed(m, g) && g.total(m.currency) == m.amount }
	j.pair(exact)
	j.pair(disputed)
	j.cancel()
	j.unreportedMoves()
	j.unknownEntries()
	if j.ask {
		return ruling{ask: true, unreported: j.unreported}
	}
	j.restated()
	j.fee()
	j.ledger()
	slices.SortFunc(j.findings, func(a, b finding) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.subject, b.subject)) })
	return j.ruling
}

func disputed(m *movement, g *group) bool {
	return m.family == g.family && (m.family == disputes || m.family == disputesWon)
}

type judgement struct {
	*unit
	terms
	ruling
	moves   []*movement
	groups  []*group
	settled []charged       // entries that were paired, by the object they are of
	unclean map[string]bool // objects with a difference that says enough of their fees
}

// charged is an entry whose fee is an object's.
type charged struct {
	entry
	object string
}

// movements are what the facts of a unit say has moved, each once.
func movements(facts []fact) []*movement {
	type object struct {
		id   string
		kind provider.Kind
	}
	states := map[object]map[provider.State]fact{}
	var order []object
	for _, f := range facts {
		o := object{f.ObjectID, f.Kind}
		if states[o] == nil {
			states[o] = map[provider.State]fact{}
			order = append(order, o)
		}
		states[o][f.State] = f
	}
	slices.SortFunc(order, func(a, b object) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.kind, b.kind)) })
	var all []*movement
	add := func(family family, f fact, sign int64) {
		if f.Amount != 0 {
			all = append(all, &movement{object: f.ObjectID, family: family, currency: f.Currency, amount: sign * f.Amount, known: f.RecordedAt})
		}
	}
	for _, o := range order {
		s := states[o]
		done, moved := s[provider.StateSucceeded]
		moved = moved && done.Effect != "stale"
		failed, back := s[provider.StateFailed]
		if canceled, ok := s[provider.StateCanceled]; ok && !back {
			failed, back = canceled, true
		}
		switch o.kind {
		case provider.KindCapture:
			if moved {
				add(charges, done, 1)
			}
			if _, told := states[object{o.id, provider.KindDispute}]; moved && back && !told {
				failed.Amount = done.Amount
				add(disputes, failed, -1)
			}
		case provider.KindRefund:
			if moved {
				add(refunds, done, -1)
			}
			if moved && back {
				failed.Amount = done.Amount
				add(refundsFailed, failed, 1)
			}
		case provider.KindDispute:
			taken, given := dispute(s)
			for _, f := range taken {
				add(disputes, f, -1)
			}
			for _, f := range given {
				add(disputesWon, f, 1)
			}
		}
	}
	return all
}

// dispute says what was taken for a dispute, and what came back.
func dispute(s map[provider.State]fact) (taken, given []fact) {
	open, opened := s[provider.StateOpen]
	won, isWon := s[provider.StateWon]
	lost, isLost := s[provider.StateLost]
	switch {
	case isWon && isLost && lost.OccurredAt.After(won.OccurredAt): // won, and taken again
		first := won
		if opened {
			first = open
		}
		return []fact{first, lost}, []fact{won}
	case isLost: // the amount that is lost may not be the one that was taken at first
		first := lost
		if opened {
			first.RecordedAt = minTime(open.RecordedAt, lost.RecordedAt)
		}
		taken = []fact{first}
	case opened:
		taken = []fact{open}
	case isWon:
		taken = []fact{won}
	}
	if isWon && len(taken) > 0 {
		given = []fact{won}
	}
	return taken, given
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// settledFirst has those entries come first that were paired before: when one comes twice,
// it is the new one that is too much.
func settledFirst(entries []entry) []entry {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b entry) int {
		return cmp.Compare(rank(a), rank(b))
	})
	return sorted
}

func rank(e entry) int {
	if e.Verdict != nil && *e.Verdict == matched {
		return 0
	}
	return 1
}

// groups sorts entries by object and family. Fees are no group's.
func groups(entries []entry) []*group {
	var all []*group
	for _, e := range entries {
		if e.Kind == provider.EntryFee {
			continue
		}
		f := familyOf(e.Kind)
		i := slices.IndexFunc(all, func(g *group) bool { return g.object == e.ObjectID && g.family == f && f != others })
		if i < 0 {
			i = len(all)
			all = append(all, &group{object: e.ObjectID, family: f})
		}
		all[i].entries = append(all[i].entries, e)
	}
	return all
}

// total is what the entries in a currency come to.
func (g *group) total(c money.Currency) int64 {
	var sum int64
	for _, e := range g.entries {
		if e.Currency == c {
			sum += e.Gross
		}
	}
	return sum
}

// pair brings what is expected and what is reported together, one by one, as they fit.
func (j *judgement) pair(fits func(*movement, *group) bool) {
	for _, m := range j.moves {
		if m.paired {
			continue
		}
		for _, g := range j.groups {
			if g.paired || g.family != m.family || !fits(m, g) {
				continue
			}
			m.paired, g.paired = true, true
			same := j.alike(m)
			j.compare(same, g)
			break
		}
	}
}

// alike is the movement with those of its object and family that are still without a
// pair: a dispute that was won and taken again moved money twice.
func (j *judgement) alike(m *movement) *movement {
	whole := *m
	for _, other := range j.moves {
		if !other.paired && other.object == m.object && other.family == m.family && other.currency == m.currency {
			other.paired = true
			whole.amount += other.amount
		}
	}
	return &whole
}

// compare judges the entries of a group by the one movement that they should tell of.
func (j *judgement) compare(m *movement, g *group) {
	if g.total(m.currency) == m.amount && !slices.ContainsFunc(g.entries, func(e entry) bool { return e.Currency != m.currency }) {
		j.settle(m.object, matched, g.entries...) // in several entries, perhaps
		return
	}
	kept, again := once(g.entries)
	inIt := slices.DeleteFunc(slices.Clone(kept), func(e entry) bool { return e.Currency != m.currency })
	switch i := slices.IndexFunc(inIt, func(e entry) bool { return e.Gross == m.amount }); {
	case len(inIt) == 0:
		j.differ(kept[0], finding{
			kind: Currency, currency: m.currency, expected: m.amount, fee: kept[0].Fee, why: fmt.Sprintf("the %s is reported in another currency", m.family),
		})
		j.unclean[m.object] = true
		again = append(again, kept[1:]...)
	case (&group{entries: inIt}).total(m.currency) == m.amount:
		j.settle(m.object, matched, inIt...)
		again = append(again, slices.DeleteFunc(kept, func(e entry) bool { return e.Currency == m.currency })...)
	case i >= 0:
		j.settle(m.object, matched, inIt[i])
		again = append(again, slices.DeleteFunc(kept, func(e entry) bool { return e.ID == inIt[i].ID })...)
	default:
		j.settle(m.object, differs, inIt...)
		j.differ(inIt[0], finding{
			kind: Amount, currency: m.currency, expected: m.amount, why: fmt.Sprintf("the %s is reported with another amount", m.family),
		})
		j.findings[len(j.findings)-1].actual = (&group{entries: inIt}).total(m.currency)
		j.unclean[m.object] = true
		again = append(again, slices.DeleteFunc(kept, func(e entry) bool { return e.Currency == m.currency })...)
	}
	j.twice(again)
}

// once tells entries from those that say the same again.
func once(entries []entry) (kept, again []entry) {
	for _, e := range entries {
		if slices.ContainsFunc(kept, func(k entry) bool { return k.Currency == e.Currency && k.Gross == e.Gross }) {
			again = append(again, e)
		} else {
			kept = append(kept, e)
		}
	}
	return kept, again
}

func (j *judgement) twice(again []entry) {
	for _, e := range again {
		j.differ(e, finding{kind: Duplicate, fee: e.Fee, why: "the provider reports it again"})
	}
}

// settle gives entries to an object: their fees are its.
func (j *judgement) settle(object string, v verdict, entries ...entry) {
	for _, e := range entries {
		j.verdicts[e.ID] = v
		j.settled = append(j.settled, charged{e, object})
	}
}

// differ finds a difference about an entry.
func (j *judgement) differ(e entry, f finding) {
	j.verdicts[e.ID] = differs
	f.subject, f.object, f.entry = e.ID, e.ObjectID, e.ID
	f.actualCurrency, f.actual = e.Currency, e.Gross
	if j.charged[e.ID] {
		f.fee = 0 // it is booked, from before the entry was in doubt
	}
	if f.currency.IsZero() {
		f.currency = e.Currency
	}
	j.findings = append(j.findings, f)
}

// cancel lets go of what came and went back without the other side knowing of it: a
// provider need not report a transfer that failed before it was paid out, nor we a refund
// that failed while it was pending.
func (j *judgement) cancel() {
	for _, a := range j.moves {
		for _, b := range j.moves {
			if !a.paired && !b.paired && a.object == b.object && reverse[a.family] == b.family && a.currency == b.currency && a.amount == -b.amount {
				a.paired, b.paired = true, true
			}
		}
	}
	for _, a := range j.groups {
		for _, b := range j.groups {
			if a.paired || b.paired || a.object == "" || a.object != b.object || reverse[a.family] != b.family ||
				len(a.entries) != 1 || len(b.entries) != 1 || a.entries[0].Currency != b.entries[0].Currency || a.entries[0].Gross != -b.entries[0].Gross {
				continue
			}
			a.paired, b.paired = true, true
			j.settle(a.object, matched, a.entries[0], b.entries[0])
		}
	}
}

func (j *judgement) unreportedMoves() {
	for _, m := range j.moves {
		switch {
		case m.paired:
		case !m.known.Before(j.horizon):
			j.unreported[m.currency] += m.amount
		default:
			j.findings = append(j.findings, finding{
				kind: MissingThere, subject: m.object + "/" + string(m.family), object: m.object, currency: m.currency, expected: m.amount,
				actualCurrency: m.currency, why: fmt.Sprintf("the provider's report has no %s of it", m.family),
			})
			j.unclean[m.object] = true
		}
	}
}

// unknownEntries judges what the report has and our facts have not.
func (j *judgement) unknownEntries() {
	j.separateFees()
	for _, g := range j.groups {
		switch {
		case g.paired:
		case g.family == others:
			for _, e := range g.entries {
				j.differ(e, finding{kind: MissingHere, fee: e.Fee, why: "the provider has adjusted the balance"})
			}
		case j.TransactionID.IsZero():
			j.stranger(g)
		case j.pending(g):
			for _, e := range g.entries {
				j.verdicts[e.ID] = waiting
			}
		case !j.asked:
			j.ask = true
		default:
			j.absent(g, MissingHere, "the payment was asked for, and it is not there")
		}
	}
}

// separateFees gives the fees that stand by themselves to their objects. One that is there
// again, as its object is, is part of that difference.
func (j *judgement) separateFees() {
	var fees []entry
	for _, e := range settledFirst(j.entries) {
		if e.Kind == provider.EntryFee {
			fees = append(fees, e)
		}
	}
	for i, e := range fees {
		again := slices.ContainsFunc(fees[:i], func(f entry) bool {
			return e.ObjectID != "" && f.ObjectID == e.ObjectID && f.Currency == e.Currency && f.Net == e.Net
		})
		twice := slices.IndexFunc(j.findings, func(f finding) bool {
			return f.kind == Duplicate && f.object == e.ObjectID && f.actualCurrency == e.Currency && f.fee == 0
		})
		if again && twice >= 0 && !j.charged[e.ID] {
			j.findings[twice].fee = -e.Net
			j.verdicts[e.ID] = differs
			continue
		}
		j.settle(e.ObjectID, matched, e)
	}
}

func (j *judgement) absent(g *group, kind Kind, why string) {
	kept, again := once(g.entries)
	for _, e := range kept {
		f := finding{kind: kind, fee: e.Fee, why: why}
		if kind == Orphan {
			f.orphan = &e
		}
		j.differ(e, f)
	}
	j.twice(again)
}

// stranger judges what belongs to no payment.
func (j *judgement) stranger(g *group) {
	newest := g.entries[len(g.entries)-1].OccurredAt
	switch {
	case newest.After(j.now.Add(-orphanGrace)): // judged by a later run
	case g.family == charges && g.entries[0].Gross > 0:
		j.absent(g, Orphan, "no payment of ours has this charge")
	default:
		j.absent(g, MissingHere, "no payment of ours has this "+string(g.family))
	}
}

// pending reports whether the object is known, and the provider may not be done with it.
func (j *judgement) pending(g *group) bool {
	if g.entries[len(g.entries)-1].OccurredAt.Before(j.now.Add(-patience)) {
		return false
	}
	var newest fact
	for _, f := range j.facts {
		if f.ObjectID == g.object && f.Rank >= newest.Rank {
			newest = f
		}
	}
	return newest.State == provider.StatePending || newest.State == provider.StateRequiresAction
}

// restated finds entries that the provider tells otherwise now. What was booked by its
// first word stays so until it is explained.
func (j *judgement) restated() {
	for _, e := range j.entries {
		if e.Restated == nil {
			continue
		}
		j.verdicts[e.ID] = differs
		f := finding{
			kind: Amount, subject: e.ID + "/restated", object: e.ObjectID, entry: e.ID, currency: e.Currency, expected: e.Gross,
			actualCurrency: e.Restated.Currency, actual: e.Restated.Gross, booked: true, why: "the provider has changed what it had reported",
		}
		switch {
		case e.Restated.Currency != e.Currency:
			f.kind = Currency
		case e.Restated.Gross == e.Gross && e.Restated.Fee != e.Fee:
			f.kind, f.expected, f.actual = Fee, e.Fee, e.Restated.Fee
		}
		j.findings = append(j.findings, f)
	}
}

// fee has what the provider kept posted, and what differs from what was expected.
func (j *judgement) fee() {
	type sum struct {
		kept, posted int64
		back         bool // it went back to the payer
	}
	sums := map[objectCurrency]*sum{}
	var order []objectCurrency
	for _, c := range j.settled {
		amount := c.Fee
		if c.Kind == provider.EntryFee {
			amount = -c.Net
		}
		key := objectCurrency{c.object, c.Currency}
		s := sums[key]
		if s == nil {
			s = &sum{}
			sums[key] = s
			order = append(order, key)
		}
		s.kept += amount
		s.back = s.back || c.Kind == provider.EntryRefund || c.Kind == provider.EntryDispute
		if amount != 0 && !j.charged[c.ID] {
			j.fees = append(j.fees, providerFee{c.entry, c.object, amount})
			s.posted += amount
		}
	}
	slices.SortFunc(order, func(a, b objectCurrency) int {
		return cmp.Or(cmp.Compare(a.object, b.object), cmp.Compare(a.currency.Code(), b.currency.Code()))
	})
	for _, key := range order {
		if key.object == "" {
			continue // of the account as such: nothing was expected
		}
		s, books := sums[key], j.books[key]
		if left := books.scheduled + books.charged + books.corrected + s.posted; left != 0 {
			j.corrections = append(j.corrections, correction{key, -left, books.variances + 1})
		}
		expected := -books.scheduled
		if expected == 0 || expected == s.kept || j.unclean[key.object] || s.back && s.kept == 0 {
			// No fee was agreed; or it is right; or something else is wrong with it; or it is
			// about what the provider's price leaves open: whether a fee goes back too.
			continue
		}
		j.findings = append(j.findings, finding{
			kind: Fee, subject: key.object, object: key.object, currency: key.currency, expected: expected,
			actualCurrency: key.currency, actual: s.kept, booked: true, why: "the provider's fee is not the one expected",
		})
	}
}

// ledger finds objects of which the ledger does not have what our facts say.
func (j *judgement) ledger() {
	want := map[objectCurrency]int64{}
	for _, m := range j.moves {
		want[objectCurrency{m.object, m.currency}] += m.amount
	}
	for key, b := range j.books {
		if _, ok := want[key]; !ok && b.moved != 0 {
			want[key] = 0
		}
	}
	for key, amount := range want {
		if has := j.books[key].moved; has != amount {
			j.findings = append(j.findings, finding{
				kind: Ledger, subject: key.object + "/" + key.currency.Code(), object: key.object, currency: key.currency, expected: amount,
				actualCurrency: key.currency, actual: has, why: "the ledger does not have what our facts say",
			})
		}
	}
}

// add counts what postings of a kind have on an account to the part that they are of.
func (b *balance) add(kind ledger.Kind, account ledger.Account, amount int64, postings int) {
	switch {
	case account == ledger.Receivable && kind != ledger.ProviderFee && kind != ledger.Payout && kind != ledger.Adjustment:
		b.moved += amount
	case account != ledger.Fees:
	case kind == ledger.ProviderFee:
		b.charged += amount
	case kind == ledger.FeeVariance:
		b.corrected += amount
		b.variances += postings
	default:
		b.scheduled += amount
	}
}
