package isolation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tollgate/tollgate/scripts/cmd/load/measure"
)

// A turn is a circuit that changed its state, as one function of one instance saw it.
type turn struct {
	At       time.Time `json:"time"`
	Instance string    `json:"-"`
	Function string    `json:"service"`
	Provider string    `json:"provider"`
	Message  string    `json:"message"` // "circuit opened", "circuit half_open", "circuit closed"
	Why      string    `json:"why"`
	OpenedBy string    `json:"opened_by"`
}

// What the breaker says.
const (
	opened   = "circuit opened"
	halfOpen = "circuit half_open"
	closed   = "circuit closed"
)

// circuits reads what the instances' logs say about circuits.
type circuits struct {
	instances []*target
	read      []int64 // of each log
	turns     []turn
}

func newCircuits(all []*target) *circuits {
	return &circuits{instances: all, read: make([]int64, len(all))}
}

// look reads on.
func (c *circuits) look() error {
	for n, i := range c.instances {
		f, err := os.Open(i.LogName)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.NewSectionReader(f, c.read[n], 1<<62))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		text = text[:bytes.LastIndexByte(text, '\n')+1] // whole lines
		c.read[n] += int64(len(text))
		for l := range bytes.Lines(text) {
			if !bytes.Contains(l, []byte(`"message":"circuit `)) {
				continue
			}
			t := turn{Instance: i.Name}
			if err := json.Unmarshal(l, &t); err != nil {
				return fmt.Errorf("%s: %w", i.LogName, err)
			}
			c.turns = append(c.turns, t)
		}
	}
	return nil
}

// first is when createpayment first saw a circuit so, in each instance that did, from a time on.
func (c *circuits) first(provider, message string, from time.Time) map[string]turn {
	found := map[string]turn{}
	for _, t := range c.turns {
		if t.Function != "createpayment" || t.Provider != provider || t.Message != message || t.At.Before(from) {
			continue
		}
		if f, has := found[t.Instance]; !has || t.At.Before(f.At) {
			found[t.Instance] = t
		}
	}
	return found
}

// earliest is when any function of any instance first saw a circuit so, in seconds since from; 0 if none did.
func (c *circuits) earliest(provider, message string, from time.Time) (at float64) {
	for _, t := range c.turns {
		if s := measure.Seconds(t.At.Sub(from)); t.Provider == provider && t.Message == message && s >= 0 && (at == 0 || s < at) {
			at = s
		}
	}
	return at
}

// when is first in seconds since from, by instance.
func (c *circuits) when(provider, message string, from time.Time) map[string]float64 {
	at := map[string]float64{}
	for name, t := range c.first(provider, message, from) {
		at[name] = measure.Seconds(t.At.Sub(from))
	}
	return at
}

// await waits until all instances have seen a circuit so, from a time on.
func (c *circuits) await(ctx context.Context, patience time.Duration, provider, message string, from time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if err := c.look(); err != nil {
			return err
		}
		seen := len(c.first(provider, message, from))
		if seen == len(c.instances) {
			return nil
		}
		if !measure.Pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("after %v, %d of %d instances have said of %s: %s", patience, seen, len(c.instances), provider, message)
		}
	}
}
