package providertest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider"
)

// Report is what came of one subject.
type Report struct {
	Name         string
	Capabilities provider.Capabilities
	Rows         []Row
	Hearings     []Hearing
	Lives        []Lived // lives, then scenarios
}

// Lived is one life or scenario.
type Lived struct {
	Name  string
	Lacks string // why the provider has no such thing
}

const preamble = `# What comes of what can go wrong

Made by ` + "`go test ./shared/provider/providertest -update`" + ` from what the adapters did against their
simulators; a test fails when it is stale. What the faults are is in ` + "`providersim/doc.go`" + `, what the
outcomes mean in ` + "`provider.go`" + `, and what every row is held to in ` + "`providertest/invariant.go`" + `: no decided
outcome is false, nothing happens twice, *not_sent* is said only of what had no effect, and a replay
within the key window comes to the truth or stays *unknown*.

`

// Document writes reports down, as Markdown.
func Document(reports []Report) []byte {
	var d document
	d.WriteString(preamble)
	d.capabilities(reports)
	d.currencies(reports)
	d.lives(reports)
	d.hearings(reports)
	d.printf("## Faults\n\n")
	d.printf("*Did*: what had really happened by then, of the step. *Look-up*: what one shows then; after ten minutes, " +
		"when whatever acts late has acted, in the next columns. *At last*: all that ever happened to the payment, " +
		"its payer having approved what there was to approve. Of a report, *the page* is what was disturbed, and it is read " +
		"again with the same cursor.\n\n")
	for _, r := range reports {
		d.rows(r)
	}
	return []byte(strings.TrimRight(d.String(), "\n") + "\n")
}

// reportSpot begins the names of the requests of which a report is read.
const reportSpot = "report: "

type document struct{ strings.Builder }

func (d *document) printf(format string, args ...any) { fmt.Fprintf(&d.Builder, format, args...) }

// table writes columns at the width that they need.
func (d *document) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			d.printf("| %s%s ", cell, strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
		d.printf("|\n")
		if n == 0 {
			for i := range row {
				d.printf("|%s", strings.Repeat("-", widths[i]+2))
			}
			d.printf("|\n")
		}
	}
	d.printf("\n")
}

func header(first string, reports []Report) []string {
	row := []string{first}
	for _, r := range reports {
		row = append(row, r.Name)
	}
	return row
}

func (d *document) capabilities(reports []Report) {
	d.printf("## What each provider can do\n\n")
	rows := [][]string{header("", reports)}
	add := func(name string, of func(provider.Capabilities) string) {
		row := []string{name}
		for _, r := range reports {
			row = append(row, cmp.Or(of(r.Capabilities), "–"))
		}
		rows = append(rows, row)
	}
	add("payment methods", func(c provider.Capabilities) string {
		var types []string
		for _, m := range c.Methods {
			types = append(types, m.Type)
		}
		return strings.Join(types, ", ")
	})
	add("the payer approves first", func(c provider.Capabilities) string { return yes(c.PayerFirst) })
	add("capture later", func(c provider.Capabilities) string { return yes(c.ManualCapture) })
	add("capture a part", func(c provider.Capabilities) string { return yes(c.PartialCapture) })
	add("capture several times", func(c provider.Capabilities) string { return yes(c.MultipleCaptures) })
	for _, step := range []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund} {
		add("key window, "+string(step), func(c provider.Capabilities) string { return span(c.KeyWindow[step]) })
	}
	add("made safe by the object's own state", func(c provider.Capabilities) string {
		var steps []string
		for _, step := range []provider.Step{provider.Authorize, provider.Capture, provider.Void, provider.Refund} {
			if c.Guarded[step] {
				steps = append(steps, string(step))
			}
		}
		return strings.Join(steps, ", ")
	})
	add("refunds until, after the capture", func(c provider.Capabilities) string {
		if c.RefundWindow == 0 {
			return "no limit stated"
		}
		return span(c.RefundWindow)
	})
	add("reported at last after", func(c provider.Capabilities) string { return span(c.ReportLag) })
	add("largest amount, minor units", func(c provider.Capabilities) string { return fmt.Sprint(c.MaxAmount) })
	add("currencies", func(c provider.Capabilities) string {
		taken := 0
		for _, each := range c.Currencies {
			if each.Refused == "" {
				taken++
			}
		}
		return fmt.Sprint(taken)
	})
	add("refusals after which another may be asked", func(c provider.Capabilities) string {
		var codes []string
		for code, ok := range c.Elsewhere {
			if ok {
				codes = append(codes, code)
			}
		}
		slices.Sort(codes)
		return strings.Join(codes, ", ")
	})
	d.table(rows)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func span(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d > 48*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	if d == time.Hour {
		return "an hour"
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}

// currencies groups each provider's by how they are counted.
func (d *document) currencies(reports []Report) {
	d.printf("## Currencies\n\n")
	d.printf("Decimals by ISO 4217 beside those of the provider's units. *Step*: amounts are multiples of so many of the " +
		"provider's units. What is listed and refused is refused because its source contradicts itself.\n\n")
	for _, r := range reports {
		type group struct {
			iso, own        int
			step            int64
			refused, source string
		}
		codes := map[group][]string{}
		var groups []group
		for _, c := range r.Capabilities.Currencies {
			g := group{iso: money.MustParseCurrency(c.Code).Exponent(), own: c.Exponent, step: c.Step, refused: c.Refused, source: c.Source}
			if codes[g] == nil {
				groups = append(groups, g)
			}
			codes[g] = append(codes[g], c.Code)
		}
		slices.SortFunc(groups, func(a, b group) int {
			return cmp.Or(cmp.Compare(a.refused, b.refused), cmp.Compare(a.iso, b.iso), cmp.Compare(a.own, b.own), cmp.Compare(a.step, b.step), cmp.Compare(a.source, b.source))
		})
		d.printf("### %s\n\n", r.Name)
		rows := [][]string{{"ISO", "units", "step", "currencies", "source"}}
		for _, g := range groups {
			slices.Sort(codes[g])
			own, step, list := fmt.Sprint(g.own), fmt.Sprint(g.step), strings.Join(codes[g], " ")
			if g.refused != "" {
				own, step, list = "–", "–", list+": refused, "+g.refused
			}
			rows = append(rows, []string{fmt.Sprint(g.iso), own, step, list, g.source})
		}
		d.table(rows)
	}
}

func (d *document) lives(reports []Report) {
	d.printf("## Lives and named troubles\n\n")
	rows := [][]string{header("", reports)}
	for i, l := range reports[0].Lives {
		row := []string{l.Name}
		for _, r := range reports {
			row = append(row, cmp.Or(r.Lives[i].Lacks, "holds"))
		}
		rows = append(rows, row)
	}
	d.table(rows)
	d.printf("An unparsable 200 is `bad_json` and `html_after` below, an HTML 503 `html_before`, another amount than was sent " +
		"`wrong_amount`, a success that comes late `late_500`, `late_drop` and `late_hang`.\n\n")
}

func (d *document) hearings(reports []Report) {
	d.printf("## Webhooks\n\n")
	d.printf("A payment is sold and refunded in part, while this befalls every event of it. Events that state facts, in " +
		"whatever order, come to what the look-up shows; events that are hints claim nothing that it does not show.\n\n")
	rows := [][]string{{"provider", "fault", "events", "heard at once", "heard within two hours", "of them distinct", "agree with the look-up"}}
	for _, r := range reports {
		for _, h := range r.Hearings {
			rows = append(rows, []string{
				r.Name, cmp.Or(h.Fault, "none"), fmt.Sprint(h.Sent), fmt.Sprint(h.AtOnce), fmt.Sprint(h.Later), fmt.Sprint(h.Distinct), yes(h.Agree),
			})
		}
	}
	d.table(rows)
}

func (d *document) rows(r Report) {
	spot := ""
	var rows [][]string
	flush := func() {
		if len(rows) > 0 {
			d.printf("### %s, %s\n\n", r.Name, spot)
			d.table(rows)
		}
	}
	for _, row := range r.Rows {
		if row.Spot != spot {
			flush()
			spot, rows = row.Spot, [][]string{{"fault", "first call", "did", "look-up", "then", "ten minutes later", "look-up", "at last"}}
			if row.First == "" {
				rows = [][]string{{"fault", "the look-up", "the next one"}}
				if strings.HasPrefix(spot, reportSpot) {
					rows = [][]string{{"fault", "the page", "the report, when it was read again"}}
				}
			}
		}
		if row.First == "" {
			rows = append(rows, []string{row.Fault, row.Looks, row.LooksLater})
			continue
		}
		rows = append(rows, []string{row.Fault, row.First, row.Did, row.Looks, row.Again, row.Later, row.LooksLater, row.DidAtLast})
	}
	flush()
}
