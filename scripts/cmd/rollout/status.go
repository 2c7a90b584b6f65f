package main

import (
	"context"
	"fmt"
	"text/tabwriter"
)

// status shows who gets the requests.
func (s *session) status(ctx context.Context) error {
	all, err := s.fleet(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		s.say("no function is deployed in %s, %s", s.project, s.region)
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "FUNCTION\tSTABLE\tCANARY\tPREVIOUS\tSTATE")
	for _, f := range all {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.name, dash(f.stable), dash(f.canary), dash(f.previous), f.state())
	}
	return w.Flush()
}

func (f function) state() string {
	switch {
	case f.odd != nil:
		return f.odd.Error()
	case f.failing != "":
		return f.failing
	case f.canary != "":
		return fmt.Sprintf("the canary has %d %% of the requests", f.percent)
	case !f.pinned:
		return "not pinned: the newest revision takes over by itself"
	case f.changed():
		return fmt.Sprintf("%s is newer and has no requests", f.newest)
	default:
		return "steady"
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
