package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const fullApp = `version: 1
name: full
allow_degraded: [cgroup]
services:
  front:
    runtime: host
    command: [/app/caller, -again, back.echo]
    files: [caller:/app/caller]
    uses: [{call: back.echo}]
  asker: # has what it is refused recorded
    runtime: host
    command: [/app/caller, -again, back.echo]
    files: [caller:/app/caller]
  back:
    runtime: host
    command: [/app/answerer, echo]
    files: [answerer:/app/answerer]
    provides: [{call: echo}]
`

// A file system fills up, for real, while a program calls another. Before there is no
// room to record it, nothing is permitted any more; when there is room again, it is. The same when it was filled
// to the end in the middle of a record, by whomever.
func TestDiskFillsUp(t *testing.T) {
	for name, uid := range users() {
		t.Run(name, func(t *testing.T) { testDiskFillsUp(t, uid) })
	}
}

func testDiskFillsUp(t *testing.T, uid uint32) {
	s := newSite(t, "full", fullApp, uid)
	for _, program := range []string{"caller", "answerer"} {
		if err := os.Link(filepath.Join(s.dir, "cofferdam"), filepath.Join(s.dir, program)); err != nil {
			t.Fatal(err)
		}
	}
	state := filepath.Join(s.dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, fmt.Sprintf("size=8m,mode=711,uid=%d", uid)); err != nil {
		t.Skip("needs root: to mount a tmpfs: ", err)
	}
	t.Cleanup(func() { // before the directory is removed
		s.run("down")
		if err := syscall.Unmount(state, 0); err != nil {
			t.Error(err)
		}
	})
	s.up()

	// says waits until the program says so of a call that it has made since.
	says := func(want string) {
		t.Helper()
		since := time.Now()
		for end := since.Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			out, errs, _ := s.run("logs", "front", "--format", "jsonl", "-n", "3")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if n := len(lines); n == 3 && strings.Contains(lines[0], want) && strings.Contains(lines[1], want) && strings.Contains(lines[2], want) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the program does not say %q:\n%s%s", want, out, errs)
			}
		}
	}
	says("back.echo: hello from front")

	// Some is left, and less than the reserve of a twentieth.
	fill := filepath.Join(state, "fill")
	var has syscall.Statfs_t
	if err := syscall.Statfs(state, &has); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fill, make([]byte, int64(has.Bavail)*has.Bsize-150<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	says("denied")
	if _, errs, code := s.run("exec", "back", "--", "true"); code != 125 || !strings.Contains(errs, "the disk is nearly full") {
		t.Errorf("something is started all the same: %d %s", code, errs)
	}
	if out, _, _ := s.run("audit", "query", "--op", "full"); strings.Count(out, "nothing more is permitted until there is room") != 1 {
		t.Errorf("the record of it:\n%s", out)
	}
	said, err := os.ReadFile(filepath.Join(state, "full/up.log"))
	if err != nil || !strings.Contains(string(said), "the disk is nearly full: nothing more is permitted until there is room") {
		t.Errorf("up says %s, %v", said, err)
	}
	if out, errs, code := s.run("audit", "verify"); code != 0 {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}

	// Nothing is left, and the file of the log has filled its last page.
	f, err := os.OpenFile(fill, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	f.Close()
	log := filepath.Join(state, "full/audit.jsonl")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if info, err := os.Stat(log); err == nil && info.Size()%4096 == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the file of the log does not meet the end of the disk")
		}
	}
	if _, errs, code := s.run("exec", "back", "--", "true"); code != 125 || !strings.Contains(errs, "no space left on device: nothing is permitted until there is room") {
		t.Errorf("something is started all the same: %d %s", code, errs)
	}

	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	says("back.echo: hello from front")
	if out, _, _ := s.run("audit", "query", "--op", "resume"); strings.Count(out, "the disk was full since") != 1 {
		t.Errorf("what the log says of it:\n%s", out)
	}
	if out, errs, _ := s.run("exec", "back", "--", "echo", "started"); !strings.Contains(out, "started") {
		t.Errorf("when there is room: %s%s", out, errs)
	}
	s.run("down")
	if out, errs, code := s.run("audit", "verify"); code != 0 {
		t.Errorf("afterwards: verify: %d\n%s%s", code, out, errs)
	}
}
