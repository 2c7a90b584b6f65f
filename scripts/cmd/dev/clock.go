package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/shared/local/clock"
)

// clockCommand reads or moves the clock of the scripts/dev that is running.
func clockCommand(ctx context.Context, w world, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "now":
		st, err := w.readState()
		if err != nil {
			return err
		}
		now, err := call(ctx, http.MethodGet, st.ClockURL+"/now")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(w.out, now)
		return err
	case len(args) == 2 && args[0] == "advance":
		d, err := time.ParseDuration(args[1])
		if err != nil || d < 0 {
			return usageError(fmt.Sprintf("%q is no duration to advance by, such as 31h or 90s", args[1]))
		}
		return advance(ctx, w, d)
	default:
		return usageError("clock takes now, or advance and a duration")
	}
}

func advance(ctx context.Context, w world, d time.Duration) error {
	st, err := w.readState()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w.out, "Advancing the clock by %s; all that falls due on the way happens now.\n", d); err != nil {
		return err
	}
	began := time.Now()
	answer, err := call(ctx, http.MethodPost, st.ClockURL+"/advance?by="+url.QueryEscape(d.String()))
	if err != nil {
		return err
	}
	var moved clock.Summary
	if err := json.Unmarshal([]byte(answer), &moved); err != nil {
		return fmt.Errorf("the clock answered %q", answer)
	}
	_, err = fmt.Fprintf(w.out, "It was %s, it is %s. Something was due at %d instants; that took %.1f s.\n",
		moved.From.Format(time.RFC3339), moved.To.Format(time.RFC3339), moved.Stops, time.Since(began).Seconds())
	return err
}

// call asks the clock, for as long as it takes.
func call(ctx context.Context, method, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "", errNoneRuns // it is starting, or ending
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("scripts/dev ended before the clock got there: %w", err)
	}
	answer := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(answer)
	}
	return answer, nil
}
