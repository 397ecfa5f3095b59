package spawner

import (
	"testing"
	"time"
)

// What runs is looked at as often as ever, from its first moment on; what does not, ever more rarely, but
// never so rarely that the loss of a process would go unnoticed for long.
func TestIdling(t *testing.T) {
	d := idling{pause: idleEvery}
	for i, step := range []struct{ cpu, want time.Duration }{
		{time.Second, idleEvery},
		{time.Second, 2 * idleEvery},
		{time.Second, 4 * idleEvery},
		{time.Second, idleMost},
		{time.Second, idleMost},
		{time.Second + 1, idleEvery},
		{time.Second + 1, 2 * idleEvery},
		{0, idleEvery}, // not counted
		{0, idleEvery},
	} {
		if got := d.next(step.cpu); got != step.want {
			t.Errorf("look %d, %v used: the next one after %v, want %v", i, step.cpu, got, step.want)
		}
	}
}
