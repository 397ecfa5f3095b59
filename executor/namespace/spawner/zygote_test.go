package spawner

import "testing"

// TestRetiredOnce: several who use a zygote find it dead at once, and it ends once.
func TestRetiredOnce(t *testing.T) {
	s := &server{}
	ts := &zygotes{server: s, all: map[string]*zygote{}}
	tpl := &zygote{server: s, key: "python", ready: make(chan struct{}), uses: 3}
	close(tpl.ready)
	ts.all["python"], ts.order, ts.count = tpl, []*zygote{tpl}, 1
	for range 3 {
		ts.leave(tpl)
		ts.retire(tpl)
	}
	if tpl.uses != 0 || ts.count != 0 || len(ts.all) != 0 || len(ts.order) != 0 {
		t.Errorf("%d uses, %d that live, %d and %d to be had", tpl.uses, ts.count, len(ts.all), len(ts.order))
	}
}
