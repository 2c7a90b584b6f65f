package breaker

import "time"

// SetPatience is for a test of several processes on a machine that may be busy with other tests.
func (b *Breaker) SetPatience(d time.Duration) { b.patience = d }
