package providertest

import (
	"slices"
	"testing"
)

// Run is the whole suite for one subject: its lives, each fault at each request, the
// webhook faults, the named troubles, the disputes, and the report of the account.
func Run(t *testing.T, s Subject) Report {
	t.Helper()
	all := slices.Concat(Lives(), Scenarios(), Disputes(), Statements())
	report := Report{Name: s.Name, Lives: make([]Lived, len(all))}
	t.Run("lives", func(t *testing.T) {
		for i, l := range all {
			t.Run(l.Name, func(t *testing.T) {
				t.Parallel()
				b := New(t, s)
				report.Lives[i] = Lived{l.Name, l.Lacks(b)}
				if report.Lives[i].Lacks == "" {
					l.Live(b)
				}
			})
		}
	})
	kinds := webhookFaults()
	report.Hearings = make([]Hearing, len(kinds))
	t.Run("webhooks", func(t *testing.T) {
		report.Capabilities = New(t, s).Adapter.Capabilities()
		sent := New(t, s).undisturbed()
		for i, kind := range kinds {
			t.Run(string(kind), func(t *testing.T) {
				t.Parallel()
				report.Hearings[i] = New(t, s).hearing(kind, sent)
			})
		}
	})
	report.Rows = append(Table(t, s), ReportTable(t, s)...)
	return report
}
