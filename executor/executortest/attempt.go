package executortest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attempt is how one went, as it is told through the standard output of a probe.
type attempt struct {
	What string   // what was tried
	Got  string   // how it ended: "EPERM", "ok", or words
	Want []string // how it should have; any of them
}

func (a *attempt) refused() bool { return slices.Contains(a.Want, a.Got) }

func (a *attempt) String() string {
	return fmt.Sprintf("%s: %s, want %s", a.What, a.Got, strings.Join(a.Want, " or "))
}

// ended puts an error into one word: the name of its errno, "ok" for none.
func ended(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno) && errno == 0:
		return "ok"
	case errors.As(err, &errno):
		return errnoName(errno)
	}
	return err.Error()
}

func errnoName(errno syscall.Errno) string {
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", int(errno))
}

// erring is an attempt that should have ended with one of the errors want.
func erring(what string, err error, want ...syscall.Errno) attempt {
	a := attempt{What: what, Got: ended(err)}
	for _, w := range want {
		a.Want = append(a.Want, ended(w))
	}
	return a
}

// saying is an attempt whose outcome is anything that can be printed.
func saying(what string, got, want any) attempt {
	return attempt{What: what, Got: fmt.Sprint(got), Want: []string{fmt.Sprint(want)}}
}
