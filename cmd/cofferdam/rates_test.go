package main

import "testing"

// TestStateOf: what runs is shown before what only stands by, and trouble before both.
func TestStateOf(t *testing.T) {
	for _, c := range []struct {
		states    map[string]int
		state     string
		n, others int
	}{
		{nil, "idle", 0, 0},
		{map[string]int{"warm": 2}, "warm", 2, 0},
		{map[string]int{"ready": 1, "warm": 2}, "ready", 1, 2},
		{map[string]int{"ready": 3, "backoff": 1, "warm": 1}, "backoff", 1, 4},
	} {
		if state, n, others := stateOf(c.states); state != c.state || n != c.n || others != c.others {
			t.Errorf("%v: %d %s +%d, want %d %s +%d", c.states, n, state, others, c.n, c.state, c.others)
		}
	}
}
