package providertest_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/shared/provider/providertest"
)

var update = flag.Bool("update", false, "rewrite OUTCOMES.md")

func subjects() []providertest.Subject {
	return []providertest.Subject{providertest.Stripe(), providertest.PayPal(), providertest.Bank()}
}

// The suite, and the document that tells what came of it.
func TestConformance(t *testing.T) {
	t.Parallel()
	reports := make([]providertest.Report, len(subjects()))
	t.Run("adapters", func(t *testing.T) {
		for i, s := range subjects() {
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				reports[i] = providertest.Run(t, s)
			})
		}
	})
	if t.Failed() || strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		return // rows are missing
	}
	const golden = "../OUTCOMES.md"
	got := providertest.Document(reports)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s is stale; go test ./shared/provider/providertest -update rewrites it: %s", golden, difference(want, got))
	}
}

// difference shows the first line that differs.
func difference(want, got []byte) string {
	a, b := bytes.Split(want, []byte("\n")), bytes.Split(got, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			return "\n" + string(a[i]) + "\n" + string(b[i])
		}
	}
	return "it has another length"
}
