package providersim

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// PlantKind is a way in which a report is wrong.
type PlantKind string

// The ways. What was planted is in the report alone: the money moved as it did, and the
// objects tell it as it was. An orphan is the exception, for it is a real charge.
const (
	PlantMissing  PlantKind = "missing"  // the movement is left out
	PlantDoubled  PlantKind = "doubled"  // it stands there twice
	PlantFee      PlantKind = "fee"      // its fee is By higher
	PlantAmount   PlantKind = "amount"   // its amount is By higher
	PlantCurrency PlantKind = "currency" // it is in Currency
	PlantOrphan   PlantKind = "orphan"   // a charge that none of the caller's requests made
)

// Plant asks for the report to be wrong. It befalls the movements that fit, those that
// were before it first, in the order in which they took place.
type Plant struct {
	What     PlantKind         `json:"what"`
	Kind     string            `json:"kind,omitempty"`     // of the movements: charge, refund, refund_failed, dispute, dispute_won; "" is charge
	Object   string            `json:"object,omitempty"`   // the provider's object that moved the money; "" is any
	Metadata map[string]string `json:"metadata,omitempty"` // the payment's, as in Rule; an orphan bears it
	Skip     int               `json:"skip,omitempty"`     // let so many that fit pass first
	Times    int               `json:"times,omitempty"`    // how many it befalls; 0 is one
	By       int64             `json:"by,omitempty"`       // the provider's units; 0 is one
	Currency string            `json:"currency,omitempty"` // lower case; of an orphan too
	Amount   int64             `json:"amount,omitempty"`   // of an orphan, the provider's units
}

// Planted is what a plant came to.
type Planted struct {
	What     PlantKind `json:"what"`
	Kind     string    `json:"kind"`
	Object   string    `json:"object"`
	Currency string    `json:"currency"`
	Amount   int64     `json:"amount"` // as the report has it
	Fee      int64     `json:"fee"`    // the same; tenths of a minor unit at GoCardless
	At       time.Time `json:"at"`
}

var plantable = []string{moveCharge, moveRefund, moveRefundFailed, moveDispute, moveDisputeWon, moveFee}

// planting is a plant that waits for movements.
type planting struct {
	Plant
	seen, left int
}

func (p *Plant) complete() error {
	switch p.What {
	case PlantMissing, PlantDoubled, PlantFee, PlantAmount:
	case PlantCurrency:
		if len(p.Currency) != 3 {
			return fmt.Errorf("a plant of a currency needs one, in lower case, not %q", p.Currency)
		}
	case PlantOrphan:
		if p.Amount <= 0 || len(p.Currency) != 3 {
			return fmt.Errorf("an orphan needs an amount and a currency, not %d %q", p.Amount, p.Currency)
		}
	default:
		return fmt.Errorf("unknown plant %q: use missing, doubled, fee, amount, currency or orphan", p.What)
	}
	if p.Skip < 0 || p.Times < 0 {
		return fmt.Errorf("skip and times can't be negative")
	}
	p.Kind = cmp.Or(p.Kind, moveCharge)
	if !slices.Contains(plantable, p.Kind) {
		return fmt.Errorf("unknown kind %q: use one of %s", p.Kind, strings.Join(plantable, ", "))
	}
	p.Times, p.By = max(p.Times, 1), cmp.Or(p.By, 1)
	return nil
}

// plant puts a plant into the book. orphan makes a charge that nobody asked for.
func (b *book) plant(p Plant, orphan func(Plant) (*line, error)) error {
	if err := p.complete(); err != nil {
		return err
	}
	if p.What == PlantOrphan {
		for range p.Times {
			b.orphaning = true
			l, err := orphan(p)
			b.orphaning = false
			if err != nil {
				return err
			}
			b.note(p.What, l)
		}
		return nil
	}
	waiting := &planting{Plant: p, left: p.Times}
	for _, l := range slices.Clone(b.lines) {
		if waiting.fits(l) {
			b.strike(waiting, l)
		}
	}
	b.plants = append(b.plants, waiting)
	return nil
}

func (p *planting) fits(l *line) bool {
	return p.left > 0 && !l.planted && l.kind == p.Kind && (p.Object == "" || l.source == p.Object) && containsAll(l.metadata, p.Metadata)
}

// strike makes the report wrong about a line. It reports false while the plant still
// lets lines pass.
func (b *book) strike(p *planting, l *line) bool {
	if p.seen++; p.seen <= p.Skip {
		return false
	}
	p.left--
	l.planted = true
	switch p.What {
	case PlantMissing:
		l.hidden = true
	case PlantDoubled:
		again := *l
		again.head = head{id: l.id, created: l.created}
		again.metadata = maps.Clone(l.metadata)
		again.net = 0 // the money moved once
		b.keep(&again)
		if again.payout = l.payout; l.payout != nil {
			b.waiting = b.waiting[:len(b.waiting)-1]
			l.payout.members = append(l.payout.members, &again)
		}
	case PlantFee:
		l.fee += p.By * b.scale
	case PlantAmount:
		l.amount += p.By
	case PlantCurrency:
		l.currency = p.Currency
	}
	b.note(p.What, l)
	return true
}

func (b *book) note(what PlantKind, l *line) {
	b.planted = append(b.planted, Planted{
		What: what, Kind: l.kind, Object: l.source, Currency: l.currency, Amount: l.amount, Fee: l.fee, At: l.created,
	})
}

// planter is what every simulator has for plants.
type planter interface {
	Plant(Plant) error
	Planted() []Planted
}

// plantPages serves plants to other processes.
func plantPages(mux *http.ServeMux, s planter) {
	mux.HandleFunc("POST /_sim/plants", func(w http.ResponseWriter, r *http.Request) {
		var p Plant
		adminChange(w, r, &p, func() error { return s.Plant(p) })
	})
	mux.HandleFunc("GET /_sim/plants", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.Planted())
	})
}
