package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tree is what gcloud says of itself: its commands, and the flags of each. A flag's value
// says what kind it is, and is not needed here.
type tree struct {
	Commands map[string]tree            `json:"commands"`
	Flags    map[string]json.RawMessage `json:"flags"`
}

// recorded has the commands of gcloud 528 that the guide uses, with all their flags.
//
//go:embed gcloud.json
var recorded []byte

// installed reads the tree of the gcloud on this machine, which it has for completing
// commands at a prompt; nil if there is none.
func installed() (*tree, error) {
	program, err := exec.LookPath("gcloud")
	if err != nil {
		return nil, nil
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(program), "../data/cli/gcloud_completions.py"))
	if err != nil {
		return nil, nil // another packaging of it
	}
	_, literal, ok := strings.Cut(string(text), "STATIC_COMPLETION_CLI_TREE = ")
	if !ok {
		return nil, fmt.Errorf("%s: its tree of commands is not where it was", program)
	}
	var t tree
	return &t, json.Unmarshal([]byte(literal), &t)
}

func excerpt() (*tree, error) {
	var t tree
	return &t, json.Unmarshal(recorded, &t)
}

// check says what gcloud would not understand of a command line.
func (t *tree) check(args []string) error {
	at, path, positional := *t, []string{"gcloud"}, 0
	known := func(flag string) bool {
		_, here := at.Flags[flag]
		_, everywhere := t.Flags[flag]
		_, negated := at.Flags["--"+strings.TrimPrefix(flag, "--no-")]
		return here || everywhere || strings.HasPrefix(flag, "--no-") && negated
	}
	for i, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		switch next, ok := at.Commands[arg]; {
		case ok && positional == 0:
			at, path = next, append(path, arg)
		case strings.HasPrefix(arg, "-") && arg != "-":
			if !known(flag) {
				return fmt.Errorf("%s knows no flag %s", strings.Join(path, " "), flag)
			}
			if !strings.Contains(arg, "=") && i < len(args)-1 && t.takesValue(at, flag) {
				return fmt.Errorf("%s %s: write its value after =, so that it can be told from an argument", strings.Join(path, " "), flag)
			}
		case len(at.Commands) > 0:
			return fmt.Errorf("%s knows no command %s", strings.Join(path, " "), arg)
		default:
			positional++
		}
	}
	if len(at.Commands) > 0 {
		return fmt.Errorf("%s is no whole command", strings.Join(path, " "))
	}
	return nil
}

func (t *tree) takesValue(at tree, flag string) bool {
	kind, ok := at.Flags[flag]
	if !ok {
		kind = t.Flags[flag]
	}
	return string(kind) != `"bool"` && kind != nil
}

// flag is the value of --NAME=VALUE, and empty if it is not given.
func flag(args []string, name string) string {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
	}
	return ""
}

// command is the words before the first flag, such as "secrets versions add NAME".
func command(args []string) []string {
	words := slices.Clone(args)
	return slices.DeleteFunc(words, func(a string) bool { return strings.HasPrefix(a, "-") })
}
