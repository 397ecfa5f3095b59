package canary

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// written is where the canary tries to write, in a root that must be read-only.
const written = "/written"

// filled is the volume that the canary fills.
const filled = "/filled"

// Main is the canary, inside its environment. It returns the exit code.
func Main(args []string) int {
	if len(args) > 1 {
		return exceed(args[0], args[1])
	}
	// Nobody is hurt by what it tries, but should it get through to us it is not
	// to be the end of the canary.
	signal.Ignore(syscall.SIGSYS)
	t := &told{}
	if err := json.Unmarshal([]byte(os.Getenv(baitEnv)), t); err != nil {
		fmt.Fprintf(os.Stderr, "canary: %s: %v\n", baitEnv, err)
		return 2
	}
	t.Write = written
	shown, err := connect(unix.AF_UNIX, &unix.SockaddrUnix{Name: shownPath})
	if err != nil {
		fmt.Fprintf(os.Stderr, "canary: what is shown cannot be reached: %v\n", err)
		return 2
	}
	answers := make([]string, len(probes))
	for i, p := range probes {
		answers[i] = p.try(t)
	}
	if _, err := os.Stdout.WriteString(strings.Join(answers, "\n")); err != nil {
		fmt.Fprintf(os.Stderr, "canary: %v\n", err)
		return 2
	}
	unix.Read(shown, make([]byte, 1)) // until we have been looked at
	return 0
}

// exceed uses up what there is a limit to: limits.go.
func exceed(what, amount string) int {
	switch what {
	case "memory":
		n := 0
		fmt.Sscan(amount, &n)
		page := os.Getpagesize()
		memory := make([]byte, n)
		for i := 0; i < n; i += page {
			memory[i] = 1
		}
		time.Sleep(exceedFor) // whoever watches has the time to see it
		runtime.KeepAlive(memory)
		return 0
	case "disk":
		n := 0
		fmt.Sscan(amount, &n)
		if err := os.WriteFile(filled+"/file", make([]byte, n), 0o600); err != nil {
			var errno syscall.Errno
			errors.As(err, &errno)
			return int(errno)
		}
		return 0
	case "cpu":
		for began := time.Now(); time.Since(began) < exceedFor; {
		}
		return 0
	}
	return 2
}
