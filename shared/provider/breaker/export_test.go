package breaker

import "time"

// SetPatience is for a test of several processes on a machine that may be busy with other tests.
func (b *Breaker) SetPatience(d time.Duration) { b.patience = d }

// Heard is when what the breaker goes by was asked for.
func (b *Breaker) Heard() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shared.At
}
