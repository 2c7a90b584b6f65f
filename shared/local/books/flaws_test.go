package books

import (
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/providersim"
)

// difference is what is found of a flaw, but for its evidence.
type difference struct {
	Kind, Provider, Object, Payment, Currency string
	Expected                                  int64
	ActualCurrency                            string
	Actual                                    int64
}

// orphans have every provider report charges of which we know nothing, in each currency.
func (w *world) orphans() {
	w.t.Helper()
	for _, provider := range providers {
		for i, currency := range currencies[provider] {
			check(w.t, w.sims[provider].Plant(providersim.Plant{
				What: providersim.PlantOrphan, Currency: strings.ToLower(currency), Amount: 4320 + 100*int64(i),
			}))
		}
	}
}

// wantFlaws is what is to be found of all that was planted, and by how much more the
// reports have because of it than the ledger.
func (w *world) wantFlaws() (found map[difference]int, more sums) {
	w.t.Helper()
	found, more = map[difference]int{}, sums{}
	made := map[providersim.PlantKind]int{}
	for _, provider := range providers {
		here := map[providersim.PlantKind]bool{}
		for _, p := range w.sims[provider].Planted() {
			made[p.What]++
			here[p.What] = true
			w.addFlaw(provider, p, found, more)
		}
		if n := len(here); n > 0 && n < 5 { // a bank's report has no currencies to be wrong
			w.t.Errorf("%s's report is wrong in %v alone", provider, here)
		}
	}
	planted := 0
	for _, o := range w.orders {
		if o.plant != nil {
			planted++
		}
	}
	total := 0
	for _, n := range made {
		total += n
	}
	if orphans := made[providersim.PlantOrphan]; planted > 0 && (total != planted+orphans || orphans != 9) {
		w.t.Errorf("%d flaws about payments were planned, and it came to %v", planted, made)
	}
	return found, more
}

func (w *world) addFlaw(provider string, p providersim.Planted, found map[difference]int, more sums) {
	w.t.Helper()
	currency, fee := strings.ToUpper(p.Currency), p.Fee
	if provider == bank.Name {
		fee = halfUp(fee)
	}
	d := difference{Provider: provider, Object: p.Object, Currency: currency, ActualCurrency: currency}
	var by int64
	if o := w.flawed(provider, p); o != nil {
		payment, err := id.Payment.Parse(o.id)
		check(w.t, err)
		d.Payment, by, d.Currency = payment.String(), o.plant.By, o.currency
		if provider == paypal.Name && p.Kind == "dispute" {
			d.Object = o.dispute // the report names the capture, our facts the case
		}
	}
	switch p.What {
	case providersim.PlantMissing:
		d.Kind, d.Expected = "missing_there", p.Amount
		more.add(provider, currency, p.Kind, -p.Amount)
	case providersim.PlantDoubled:
		d.Kind, d.Actual = "duplicate", p.Amount
		more.add(provider, currency, p.Kind, p.Amount)
		more.add(provider, currency, "fee", -fee)
	case providersim.PlantFee: // the ledger has what the provider kept
		d.Kind, d.Expected, d.Actual = "fee", fee-by, fee
	case providersim.PlantAmount:
		d.Kind, d.Expected, d.Actual = "amount", p.Amount-by, p.Amount
		more.add(provider, currency, p.Kind, by)
	case providersim.PlantCurrency:
		d.Kind, d.Expected, d.Actual = "currency", p.Amount, p.Amount
		more.add(provider, d.Currency, p.Kind, -p.Amount)
		more.add(provider, currency, p.Kind, p.Amount)
		more.add(provider, currency, "fee", -fee)
	case providersim.PlantOrphan:
		d.Kind, d.Actual = "orphan", p.Amount
		more.add(provider, currency, p.Kind, p.Amount)
		if provider != bank.Name { // where a fee stands by itself, and the ledger has it
			more.add(provider, currency, "fee", -fee)
		}
	}
	found[d]++
}

// flawed is the order that a flaw is about; nil for an orphan.
func (w *world) flawed(provider string, p providersim.Planted) *order {
	if p.What == providersim.PlantOrphan {
		return nil
	}
	of := ""
	for _, e := range w.sims[provider].Effects() {
		if e.Object == p.Object || e.Payment == p.Object {
			of = e.Metadata["tollgate_payment"] + e.Metadata["invoice_id"]
		}
	}
	for _, o := range w.orders {
		if o.id == of {
			return o
		}
	}
	w.t.Errorf("a flaw befell %s of %s, which is no order's: %+v", p.Object, provider, p)
	return nil
}

// wantDifferences holds what was found to what was planted: all of it, for what it is, and
// nothing else, at no time.
func (w *world) wantDifferences(want map[difference]int) {
	w.t.Helper()
	rows, err := w.DB.Query(w.t.Context(), `
		SELECT kind, provider, object_id, coalesce(transaction_id::text, ''), currency, expected_minor, actual_currency, actual_minor,
			state, entry_id IS NOT NULL, evidence::text,
			owner = 'operations' AND evidence ->> 'why' <> '' AND jsonb_array_length(evidence -> 'facts') + jsonb_array_length(evidence -> 'entries') > 0,
			(SELECT string_agg(action, ' ' ORDER BY number) FROM difference_log l WHERE l.difference_id = d.id)
		FROM differences d ORDER BY id`)
	check(w.t, err)
	defer rows.Close()
	got := map[difference]int{}
	for rows.Next() {
		var d difference
		var state, evidence, log string
		var entry, shown bool
		check(w.t, rows.Scan(&d.Kind, &d.Provider, &d.Object, &d.Payment, &d.Currency, &d.Expected, &d.ActualCurrency, &d.Actual,
			&state, &entry, &evidence, &shown, &log))
		got[d]++
		if state != "OPEN" || log != "opened" || !shown || entry != (d.Kind != "missing_there" && d.Kind != "fee") || want[d] == 0 {
			w.t.Errorf("%+v is %s (%s); its evidence: %s", d, state, log, evidence)
		}
	}
	check(w.t, rows.Err())
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("differences (-want +got):\n%s", diff)
	}
}
