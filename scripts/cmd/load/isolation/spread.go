package isolation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
)

// A spread is how payments to one provider went. Times are milliseconds.
type spread struct {
	Payments int            `json:"payments"`
	P50      float64        `json:"p50_ms"`
	P95      float64        `json:"p95_ms"`
	P99      float64        `json:"p99_ms"`
	Max      float64        `json:"max_ms"`
	LateP99  float64        `json:"late_p99_ms"` // the load's own delay, which is in the others
	Answers  map[string]int `json:"answers"`
}

func spreadOf(samples []sample) spread {
	s := spread{Payments: len(samples), Answers: map[string]int{}}
	took, late := make([]float64, len(samples)), make([]float64, len(samples))
	for n, one := range samples {
		took[n], late[n] = measure.MS(one.Took), measure.MS(one.Late)
		s.Answers[one.Answer]++
	}
	s.P50, s.P95, s.P99, s.Max = measure.Percentile(took, 50), measure.Percentile(took, 95), measure.Percentile(took, 99), measure.Percentile(took, 100)
	s.LateP99 = measure.Percentile(late, 99)
	return s
}

// through is how many payments the provider had its say in.
func (s spread) through(timed bool) int {
	n := s.Answers[authorized] + s.Answers[payersTurn]
	if !timed {
		n += s.Answers[unknown] // the answer of a machine so busy that the provider's time ran out; it is found out later
	}
	return n
}

// answers lists the answers, the most frequent first.
func (s spread) answers() string {
	var names []string
	for name := range s.Answers {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := s.Answers[b] - s.Answers[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for n, name := range names {
		names[n] = fmt.Sprintf("%d x %s", s.Answers[name], name)
	}
	return strings.Join(names, ", ")
}
