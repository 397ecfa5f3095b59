// Package apptest starts an example under the real cofferdam, for its test.
package apptest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Options say what an example consists of. Paths are relative to its directory,
// which the test runs in.
type Options struct {
	Programs []string                     // packages, built to bin/
	Shown    []string                     // files and directories that the manifest names, beside bin/
	Change   func(manifest string) string // what is different in the test; nil for nothing
}

// App is an application that runs.
type App struct {
	URL      string // of its gateway, "" without one
	Dir      string // of everything below
	State    string // of the application, with its volumes
	Bin      string // the cofferdam command
	Manifest string // with a free port for the gateway

	cmd *exec.Cmd
	log *bytes.Buffer // complete once the command has ended
	end chan error
}

// Start builds and starts the example, and stops it with the test. Its directory
// has a short name, for a socket's path has only 108 bytes.
func Start(t *testing.T, o Options) *App {
	t.Helper()
	a := Lay(t, o)
	a.Up(t)
	return a
}

// Lay builds the programs and writes the manifest, in the shape of the source
// tree so that its relative paths lead to the same things.
func Lay(t *testing.T, o Options) *App {
	t.Helper()
	if testing.Short() {
		t.Skip("needs full: it starts a whole application, which -short leaves out")
	}
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skipf("needs python3: %v", err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "cd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("something was left behind: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(here)
	a := &App{
		Dir: dir, Bin: filepath.Join(dir, "cofferdam"), State: filepath.Join(dir, "state", name),
		log: new(bytes.Buffer), end: make(chan error, 1),
	}
	app := filepath.Join(dir, "examples", name)
	if err := os.MkdirAll(filepath.Join(app, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, a.Bin, "cofferdam/cmd/cofferdam")
	if len(o.Programs) > 0 {
		build(t, filepath.Join(app, "bin")+"/", o.Programs...)
	}
	links := map[string]string{filepath.Join(dir, "sdk"): filepath.Join(here, "..", "..", "sdk")}
	for _, shown := range o.Shown {
		links[filepath.Join(app, shown)] = filepath.Join(here, shown)
	}
	for link, target := range links {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("cofferdam.yaml")
	if err != nil {
		t.Fatal(err)
	}
	changed := regexp.MustCompile(`listen: 127\.0\.0\.1:\d+`).ReplaceAllString(string(text), "listen: 127.0.0.1:0")
	if o.Change != nil {
		changed = o.Change(changed)
	}
	a.Manifest = filepath.Join(app, "cofferdam.yaml")
	if err := os.WriteFile(a.Manifest, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

func build(t *testing.T, to string, packages ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"build", "-o", to}, packages...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// Command is the cofferdam command, for this application.
func (a *App) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(a.Bin, append([]string{"-f", a.Manifest}, args...)...)
	cmd.Env = append(os.Environ(),
		"COFFERDAM_STATE_DIR="+filepath.Join(a.Dir, "state"),
		"COFFERDAM_RUNTIME_DIR="+filepath.Join(a.Dir, "run"))
	return cmd
}

// Output is what the command prints, which must succeed.
func (a *App) Output(t *testing.T, args ...string) string {
	t.Helper()
	cmd := a.Command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cofferdam %v: %v\n%s%s", args, err, out, &stderr)
	}
	return string(out)
}

// Up starts the application and waits until it says that it is up. At the end of
// the test it is stopped.
func (a *App) Up(t *testing.T) {
	t.Helper()
	a.cmd = a.Command("up", "--quiet")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	a.cmd.Stdout, a.cmd.Stderr = write, write
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	found := make(chan string, 1)
	go func() {
		opened := regexp.MustCompile(`open +(http://\S+)/`)
		lines := bufio.NewScanner(read)
		url := "" // without a gateway
		for lines.Scan() {
			fmt.Fprintln(a.log, lines.Text())
			if m := opened.FindStringSubmatch(lines.Text()); m != nil {
				url = m[1]
			}
			if strings.HasPrefix(lines.Text(), "  denials ") { // the last of what it says when it is up
				found <- url
			}
		}
		a.end <- a.cmd.Wait()
	}()
	t.Cleanup(func() { a.Down(t) })
	select {
	case a.URL = <-found:
	case err := <-a.end:
		a.end <- err
		if strings.Contains(a.log.String(), "not supported by this host") {
			t.Skipf("needs isolation: %s", a.log)
		}
		t.Fatalf("cofferdam up: %v\n%s", err, a.log)
	case <-time.After(time.Minute):
		t.Fatal("cofferdam up has not become ready in a minute")
	}
}

// Down stops the application, and fails the test if anything of it is left. Twice
// is no error.
func (a *App) Down(t *testing.T) {
	t.Helper()
	if a.cmd == nil {
		return
	}
	a.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-a.end:
		if err != nil {
			t.Errorf("cofferdam up ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("cofferdam up has not stopped in 30 s")
		a.cmd.Process.Kill()
		<-a.end
	}
	a.cmd = nil
	if t.Failed() {
		t.Logf("cofferdam up said:\n%s", a.log)
	}
	a.nothingIsLeft(t)
}

func (a *App) nothingIsLeft(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, a.Dir) {
			t.Errorf("a mount is left: %s", line)
		}
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if text, err := os.ReadFile(line); err == nil && bytes.Contains(text, []byte(a.Dir)) {
			t.Errorf("a process is left: %q", text)
		}
	}
}
