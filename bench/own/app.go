package own

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// App is an application that runs while it is measured.
type App struct {
	Dir      string // of its manifest, which others may pass
	binary   string // cofferdam
	manifest string
	player   string // where the player is seen in environments
}

// Program is who measures: which binary is measured, and which one plays the
// programs inside (see [Play]).
type Program struct {
	Binary string // cofferdam
	Player string // a program that calls Play when its first argument is [PlayRole]
}

// Up brings up the manifest, in which PLAYER stands for the player and its first
// argument, and FILES for the line that shows it. Further files lie beside it.
func (p Program) Up(manifest string, files map[string]string) (*App, error) {
	dir, err := newDir()
	if err != nil {
		return nil, err
	}
	a := &App{Dir: dir, binary: p.Binary, manifest: filepath.Join(dir, "cofferdam.yaml")}
	if err := a.up(p, manifest, files); err != nil {
		a.Down()
		return nil, err
	}
	return a, nil
}

func (a *App) up(p Program, manifest string, files map[string]string) error {
	// A copy next to the manifest: what environments see must not depend on where
	// `go run` keeps its binaries. It keeps its name, by which some programs know who they are.
	name := filepath.Base(p.Player)
	a.player = "/app/" + name
	code, err := os.ReadFile(p.Player)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.Dir, name), code, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(a.Dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	manifest = strings.NewReplacer("PLAYER", a.player+", "+PlayRole, "FILES", "{from: "+name+", to: "+a.player+"}").Replace(manifest)
	if err := os.WriteFile(a.manifest, []byte(manifest), 0o644); err != nil {
		return err
	}
	return said(a.Command("up", "-d"))
}

// said runs a command of which nothing but its failure is of interest.
func said(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// UpFile brings up a manifest where it lies, with its state elsewhere.
func (p Program) UpFile(manifest string) (*App, error) {
	dir, err := newDir()
	if err != nil {
		return nil, err
	}
	a := &App{Dir: dir, binary: p.Binary, manifest: manifest}
	if err := said(a.Command("up", "-d")); err != nil {
		a.Down()
		return nil, err
	}
	return a, nil
}

// newDir makes a directory that others may pass: the trusted process does not stay root.
func newDir() (string, error) {
	above := os.TempDir()
	if len(above) > 40 {
		above = "/tmp" // sockets need a short path
	}
	dir, err := os.MkdirTemp(above, "cofferdam-bench-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// Alone runs `cofferdam run` for a program on its own, which keeps its records in dir.
func (p Program) Alone(dir string, degraded []string, args ...string) error {
	line := []string{"run", "--quiet"}
	for _, name := range degraded {
		line = append(line, "--allow-degraded", name)
	}
	a := App{Dir: dir, binary: p.Binary, manifest: "none"}
	return said(a.Command(append(append(line, "--"), args...)...))
}

// Command is a command of cofferdam about this application.
func (a *App) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(a.binary, append([]string{"--file", a.manifest}, args...)...)
	cmd.Env = append(os.Environ(), "COFFERDAM_STATE_DIR="+filepath.Join(a.Dir, "state"), "COFFERDAM_RUNTIME_DIR="+filepath.Join(a.Dir, "run"))
	return cmd
}

// Play has the player play a role in a service and gives what it found.
func (a *App) Play(service, role string, args ...string) (Reading, error) {
	return reading(a.Command(append([]string{"exec", service, "--", a.player, PlayRole, role}, args...)...), role)
}

// reading runs a player and decodes what it prints.
func reading(cmd *exec.Cmd, role string) (Reading, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return Reading{}, fmt.Errorf("%s: %w: %s", role, err, bytes.TrimSpace(errs.Bytes()))
	}
	var r Reading
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return Reading{}, fmt.Errorf("%s printed %q: %w", role, out.Bytes(), err)
	}
	return r, nil
}

// Outside has a player play a role on the host, without any environment. It ends with us, however we do.
func (p Program) Outside(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(p.Player, append([]string{PlayRole, role}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Read runs a command of [Program.Outside] that prints what it found.
func Read(cmd *exec.Cmd) (Reading, error) { return reading(cmd, strings.Join(cmd.Args, " ")) }

// Down ends the application and removes what it left.
func (a *App) Down() {
	a.Command("down").Run()
	os.RemoveAll(a.Dir)
}
