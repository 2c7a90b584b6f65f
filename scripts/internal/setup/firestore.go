package setup

import (
	"context"
	"fmt"
	"io"

	"github.com/tollgate/tollgate/shared/control/controltest"
)

// Firestore gets Google's Firestore emulator where the machine's apt knows of it. Without
// it the tests that need it are skipped, so not getting it is no error.
func Firestore(ctx context.Context, out io.Writer) error {
	if controltest.Installed() == nil {
		return nil
	}
	_, _ = fmt.Fprintln(out, "There is no Firestore emulator here; trying to get one with apt.")
	err := apt(ctx, out, "google-cloud-cli-firestore-emulator", "default-jre-headless")
	if err == nil {
		err = controltest.Installed()
	}
	if err != nil {
		_, _ = fmt.Fprintf(out, "That did not work (%v); the tests that need it are skipped.\n", err)
	}
	return ctx.Err()
}
