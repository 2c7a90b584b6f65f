package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"", "storm", "isolation --fast", "isolation now", "isolation --sick stripe", "isolation --rate 0", "webhooks --from 0", "--json",
	} {
		err := command(t.Context(), strings.Fields(args), nil, nil)
		if _, wrong := errors.AsType[usageError](err); !wrong {
			t.Errorf("%q: %v", args, err)
		}
	}
	var out bytes.Buffer
	if err := command(t.Context(), []string{"--help"}, &out, nil); err != nil || out.String() != usage() {
		t.Errorf("help: %v", err)
	}
	for _, b := range benchmarks {
		if !strings.HasPrefix(b.usage, "scripts/load "+b.name+" ") {
			t.Errorf("the usage of %s begins %.40q", b.name, b.usage)
		}
		if _, asJSON, err := parse([]string{b.name, "--json"}); err != nil || !asJSON {
			t.Errorf("%s --json: %v", b.name, err)
		}
	}
}
