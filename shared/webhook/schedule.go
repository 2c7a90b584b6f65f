package webhook

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/shared/id"
)

// Schedule is the wait before each attempt: the first from the event, every other
// from the failure before it. It has as many attempts as entries.
type Schedule []time.Duration

const (
	jitter = 0.1 // the most that is added to a wait, as a share of it

	// maxWait keeps a wait with its jitter inside the 30 days that a task may wait.
	maxWait = 27 * 24 * time.Hour

	// onceMore attempts are more than any schedule has: a delivery whose series began so long
	// ago has its next attempt, and is then given up.
	onceMore = 1 << 20

	// maxRetryAfter bounds how long an endpoint may ask us to wait.
	maxRetryAfter = 24 * time.Hour
)

// NewSchedule checks the waits.
func NewSchedule(waits []time.Duration) (Schedule, error) {
	if len(waits) == 0 {
		return nil, errors.New("WEBHOOK_SCHEDULE is empty: name the wait before each attempt")
	}
	for _, w := range waits {
		if w < 0 || w > maxWait {
			return nil, fmt.Errorf("WEBHOOK_SCHEDULE has %v: waits are 0 to %v", w, maxWait)
		}
	}
	return Schedule(waits), nil
}

// wait is the time before the delivery's attempt (from 1). The jitter spreads what
// failed together, and comes from the delivery and the attempt alone, so that it is
// the same however often it is asked for.
func (s Schedule) wait(delivery id.ID, attempt int) time.Duration {
	w := s[min(attempt, len(s))-1]
	sum := sha256.Sum256(strconv.AppendInt(delivery[:], int64(attempt), 10))
	share := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
	return (w + time.Duration(jitter*share*float64(w))).Truncate(time.Millisecond)
}

// next is the state after the attempt failed, and when the following one is due.
// An endpoint may ask for a longer wait, up to a day, but not for a shorter one.
func (s Schedule) next(delivery id.ID, attempt int, failedAt time.Time, retryAfter time.Duration) (Status, *time.Time) {
	if attempt >= len(s) {
		return Exhausted, nil
	}
	w := s.wait(delivery, attempt+1)
	w = max(w, min(retryAfter, maxRetryAfter))
	at := failedAt.Add(w)
	return Pending, &at
}

// encode marshals what this package made itself, which can't fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("webhook: marshal: " + err.Error())
	}
	return b
}
