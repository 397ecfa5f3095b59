package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"cofferdam/manifest"
	"cofferdam/supervisor"
)

// reservation is what a running application has reserved of the host. It stands in
// its lock file, and so holds exactly as long as the application runs.
type reservation struct {
	App         string `json:"app"`
	Pid         int    `json:"pid"`
	MemoryBytes int64  `json:"memory_bytes"` // not positive: it has no limit, and reserves nothing
	Pids        int    `json:"pids"`
}

// host is what there is to reserve: memory, as far as we may use it ourselves, and
// process numbers.
func host() supervisor.Budget {
	var b supervisor.Budget
	info, _ := os.ReadFile("/proc/meminfo")
	if _, rest, ok := strings.Cut(string(info), "MemTotal:"); ok {
		kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, _ := strconv.ParseInt(kib, 10, 64)
		b.MemoryBytes = n << 10
	}
	// In a container this is its own limit.
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if n, err := readNumber(name); err == nil && n > 0 && n < b.MemoryBytes {
			b.MemoryBytes = n
		}
	}
	n, _ := readNumber("/proc/sys/kernel/pid_max")
	b.Pids = int(n)
	return b
}

func readNumber(name string) (int64, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// guard is held for as long as it takes to reserve, by whoever does so under the
// same directory.
func guard(d supervisor.Dirs) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(filepath.Dir(d.Runtime), ".guard"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// reserve writes into the lock of an application what it may use, unless that and
// what other running ones have reserved is more than there is.
func reserve(lock *os.File, name string, d supervisor.Dirs, b, there supervisor.Budget) error {
	release, err := guard(d)
	if err != nil {
		return err
	}
	defer release()
	others, err := reservations(filepath.Dir(d.Runtime), name)
	if err != nil {
		return err
	}
	mine := reservation{App: name, Pid: os.Getpid(), MemoryBytes: max(b.MemoryBytes, 0), Pids: max(b.Pids, 0)}
	memory, pids := mine.MemoryBytes, mine.Pids
	var holders []string
	for _, o := range others {
		memory, pids = memory+max(o.MemoryBytes, 0), pids+max(o.Pids, 0)
		holders = append(holders, fmt.Sprintf("%s (process %d) holds %s and %d", printable(o.App), o.Pid, roundSize(o.MemoryBytes), o.Pids))
	}
	who := cmp.Or(strings.Join(holders, ", "), "nobody else holds any")
	const advice = "stop one of them, lower limits, or write a smaller budget"
	if mine.MemoryBytes > 0 && memory > there.MemoryBytes {
		return fmt.Errorf("budget.memory: %s of memory are more than is left of the host's %s; of memory and processes %s; %s", roundSize(mine.MemoryBytes), roundSize(there.MemoryBytes), who, advice)
	}
	if mine.Pids > 0 && pids > there.Pids {
		return fmt.Errorf("budget.pids: %d processes are more than is left of the host's %d; of memory and processes %s; %s", mine.Pids, there.Pids, who, advice)
	}
	line, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err = lock.WriteAt(append(line, '\n'), 0)
	return err
}

// reservations reads what applications below dir have reserved that run now.
func reservations(dir, but string) ([]reservation, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []reservation
	for _, e := range entries {
		if e.Name() == but || !e.IsDir() {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, e.Name(), "lock"), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue // it has not begun
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			var r reservation
			text, _ := io.ReadAll(io.LimitReader(f, 4096))
			if json.Unmarshal(text, &r) == nil {
				r.App = e.Name()
				all = append(all, r)
			}
		}
		f.Close()
	}
	return all, nil
}

// roundSize is a size for people: as the manifest writes it if that is short.
func roundSize(n int64) string {
	if text := manifest.FormatSize(n); len(text) <= 6 {
		return text
	}
	return size(n)
}

// budgetText is a budget in words.
func budgetText(b supervisor.Budget) string {
	memory := "unlimited memory"
	if b.MemoryBytes > 0 {
		memory = roundSize(b.MemoryBytes) + " of memory"
	}
	return fmt.Sprintf("%s, %s processes, %s instances", memory, countText(b.Pids), countText(b.Instances))
}

// budget is what app may use on this host.
func budget(app *manifest.App) (supervisor.Budget, error) {
	b, err := supervisor.BudgetOf(app, host())
	if err != nil {
		return b, &exitError{code: codeBadConfig, err: err}
	}
	return b, nil
}
