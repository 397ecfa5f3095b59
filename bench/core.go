package main

import (
	"runtime"

	"golang.org/x/sys/unix"

	"cofferdam/bench/own"
)

// pinned are the contestants, each with all that it starts on one core.
func pinned(all []contestant) []contestant {
	var out []contestant
	for _, c := range all {
		open := c.open
		c.open = func() (runner, error) {
			back, err := keepOnOneCore()
			if err != nil {
				return runner{}, err
			}
			defer back()
			r, err := open()
			run := r.run
			r.run = func(count int) (own.Reading, error) {
				back, err := keepOnOneCore()
				if err != nil {
					return own.Reading{}, err
				}
				defer back()
				return run(count)
			}
			return r, err
		}
		out = append(out, c)
	}
	return out
}

// keepOnOneCore keeps this goroutine, and what it starts, on one core.
func keepOnOneCore() (back func(), err error) {
	runtime.LockOSThread()
	var before, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	for cpu := 0; first.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			first.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return func() {
		unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	}, nil
}
