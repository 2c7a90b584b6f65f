package main

import (
	"fmt"
	"io"
	"strings"
)

const usageEnd = `
Every command takes --json, for output that programs read.

Without more it works on the local stack that scripts/dev is running. For another
deployment give
    --database-url URL        or DATABASE_URL: a role that owns the schema
    --tasks-location NAME     or TASKS_LOCATION: projects/P/locations/L, for tasks
    --control-project NAME    or CONTROL_PROJECT: where Firestore is, for circuits
and in the environment, for the commands that say so when it is missing,
TASKS_SERVICE_ACCOUNT, RESUME_URL, DELIVER_URL, AUDIT_SEALS and WEBHOOK_KMS_KEY
(or WEBHOOK_SEALING_KEY), as the functions have them. Cloud Tasks, Firestore and Cloud
KMS are called with your application default credentials (gcloud auth
application-default login).

It ends with 0 when it did what was asked, 1 when it could not, and 2 when the
command line is wrong.
`

// usage prints the usage of the commands whose names begin with prefix.
func usage(out io.Writer, prefix string) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	found := false
	for _, c := range commands {
		if c.name == prefix || prefix == "" || strings.HasPrefix(c.name, prefix+" ") {
			found = true
			fmt.Fprintf(&b, "    %s\n        %s\n", c.line(), c.does)
		}
	}
	if !found {
		return usageError(fmt.Sprintf("%q is no command; see scripts/ops --help", prefix))
	}
	_, err := io.WriteString(out, b.String()+usageEnd)
	return err
}

func isHelp(arg string) bool {
	return arg == "-h" || arg == "-help" || arg == "--help" || arg == "help"
}
