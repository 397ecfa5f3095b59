package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// binary is what is measured.
const binary = "bin/cofferdam"

// app is an application that runs while it is measured.
type app struct {
	dir, manifest string
}

// start brings up the manifest, in which {self} stands for this program and
// {dir} for a new directory.
func startApp(manifest string, files map[string]string) (*app, error) {
	dir, err := newDir()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// A copy next to the manifest: what environments see must not depend on
	// where `go run` keeps its binaries.
	code, err := os.ReadFile(self)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench"), code, 0o755); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	a := &app{dir: dir, manifest: filepath.Join(dir, "cofferdam.yaml")}
	if err := os.WriteFile(a.manifest, []byte(manifest), 0o644); err != nil {
		return nil, err
	}
	if err := a.command("up", "-d").Run(); err != nil {
		return nil, fmt.Errorf("up: %w", err)
	}
	return a, nil
}

// newDir makes a directory that others may pass.
func newDir() (string, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

func (a *app) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append([]string{"--file", a.manifest}, args...)...)
	cmd.Env = append(os.Environ(), "COFFERDAM_STATE_DIR="+filepath.Join(a.dir, "state"), "COFFERDAM_RUNTIME_DIR="+filepath.Join(a.dir, "run"))
	cmd.Stderr = os.Stderr
	return cmd
}

// exec runs this program in a role inside a service and decodes what it prints.
func (a *app) exec(service string, result any, role string, args ...string) error {
	cmd := a.command(append([]string{"exec", service, "--", "/app/bench", role}, args...)...)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s in %s: %w", role, service, err)
	}
	return json.Unmarshal(out.Bytes(), result)
}

func (a *app) stop() {
	cmd := a.command("down")
	cmd.Stderr = nil
	cmd.Run()
	os.RemoveAll(a.dir)
}
