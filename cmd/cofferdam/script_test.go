package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cofferdam/admin"
)

// TestMain makes the test binary the command, with its roles, and the programs
// that the scripts confine.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cofferdam": main,
		"careless":  careless,
		"caller":    caller,
		"answerer":  answerer,
		"ledger":    ledger,
		"stormy":    stormy,
		"mounter":   mounter,
		"prober":    prober,
		"internet":  internet,
		"tenant":    tenant,
		"scraper":   scraper,
		"tattler":   tattler,
		"collects":  collects,
		"relayer":   relayer,

		"cofferdam-telemetry": telemetryMain,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// Sockets need a short path, and the trusted process, which does
			// not stay root, one that it may pass through.
			dir, err := os.MkdirTemp("/tmp", "cofferdam-test-")
			if err != nil {
				return err
			}
			e.Defer(func() {
				stopAll(t, dir)
				os.RemoveAll(dir)
			})
			if err := os.Chmod(dir, 0o711); err != nil {
				return err
			}
			for _, program := range []string{"cofferdam", "careless", "caller", "answerer", "mounter", "tattler", "relayer"} {
				path, err := exec.LookPath(program)
				if err != nil {
					return err
				}
				if err := os.Link(path, filepath.Join(e.WorkDir, program)); err != nil {
					return err
				}
			}
			sdk, err := filepath.Abs("../../sdk/python")
			if err != nil {
				return err
			}
			e.Setenv("SDK", sdk)
			e.Setenv("COFFERDAM_STATE_DIR", filepath.Join(dir, "state"))
			e.Setenv("COFFERDAM_RUNTIME_DIR", filepath.Join(dir, "run"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"snippets": snippets, "console": console, "exits": exits, "crash": crash},
		Condition: func(name string) (bool, error) {
			switch name {
			case "root":
				return os.Getuid() == 0, nil
			case "node":
				_, err := os.Stat("/usr/bin/node")
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// stopAll stops the applications that a script that failed has left running.
func stopAll(t *testing.T, dir string) {
	sockets, err := filepath.Glob(filepath.Join(dir, "run/apps/*/admin"))
	if err != nil {
		t.Error(err)
	}
	for _, socket := range sockets {
		c, err := admin.Ask(socket, admin.Request{Op: admin.OpStop})
		if err != nil {
			continue // it was killed
		}
		c.Next()
		c.Close()
	}
}

// snippets is the script command "snippets PAGE HEADING": the manifest below that
// heading of docs/PAGE becomes cofferdam.yaml, and each program the file
// that its first line names.
func snippets(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: snippets PAGE HEADING")
	}
	page, err := os.ReadFile(filepath.Join("../../docs", args[0]))
	ts.Check(err)
	_, text, found := strings.Cut(string(page), "\n## "+args[1]+"\n")
	if !found {
		ts.Fatalf("docs/%s has no heading %q", args[0], args[1])
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for _, block := range regexp.MustCompile("(?s)```(yaml|python)\n(.*?)```").FindAllStringSubmatch(text, -1) {
		name := "cofferdam.yaml"
		if block[1] == "python" {
			first, _, _ := strings.Cut(block[2], "\n")
			name = strings.TrimPrefix(first, "# ")
		}
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(block[2]), 0o644))
	}
}

// console is the script command "console PAGE": each command that docs/PAGE shows
// at a prompt prints what stands below it there.
func console(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: console PAGE")
	}
	page, err := os.ReadFile(filepath.Join("../../docs", args[0]))
	ts.Check(err)
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, shown := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(shown, "\n")
			// The exit code is the script's affair; here it is what is printed.
			ts.Check(ts.Exec("/bin/sh", "-c", "{ "+command+"; } 2>&1; true"))
			if got := ts.ReadFile("stdout"); strings.TrimSpace(got) != strings.TrimSpace(want) {
				ts.Fatalf("docs/%s shows %s, which prints\n%s", args[0], command, got)
			}
			ran++
		}
	}
	if ran == 0 {
		ts.Fatalf("docs/%s shows no command", args[0])
	}
}

// exits is the script command "exits CODE PROGRAM ARG...": the program must end
// with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%q: %v", args[1:], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%q: exit code %d, want %d", args[1:], got, want)
	}
}

// crash is the script command "crash NAME": the application is killed, without a
// chance to clean up, and nothing that it ran may survive.
func crash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: crash NAME")
	}
	socket := filepath.Join(ts.Getenv(runtimeEnv), "apps", args[0], "admin")
	c, err := admin.Ask(socket, admin.Request{Op: admin.OpStatus})
	ts.Check(err)
	defer c.Close()
	status, err := c.Next()
	ts.Check(err)
	ts.Check(syscall.Kill(status.App.Pid, syscall.SIGKILL))
	for _, s := range status.Services {
		for deadline := time.Now().Add(5 * time.Second); s.Pid != 0 && syscall.Kill(s.Pid, 0) == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				ts.Fatalf("%s, process %d, outlived its application by 5 s", s.Instance, s.Pid)
			}
		}
	}
}
