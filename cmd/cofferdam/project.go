package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"cofferdam/admin"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

// project is the application that a command is about.
type project struct {
	file string
	name string // overrides the manifest's
}

// load reads the manifest.
func (p *project) load() (*manifest.App, error) {
	if err := p.checkName(); err != nil {
		return nil, err
	}
	app, err := manifest.Load(p.file)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w\ngo to where the manifest is, or name it: --file FILE", err)
	}
	if err != nil {
		return nil, &exitError{code: codeBadConfig, err: err}
	}
	if p.name != "" {
		app.Name = p.name
	}
	return app, nil
}

// appNames is the grammar of the manifest's name, which becomes a directory.
var appNames = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (p *project) checkName() error {
	if p.name != "" && !appNames.MatchString(p.name) {
		return fmt.Errorf("--project-name %q: it must match %v", p.name, appNames)
	}
	return nil
}

// ask sends a request to the running application and returns the client.
func (p *project) ask(req admin.Request, streams ...*os.File) (*admin.Client, error) {
	name, err := p.running()
	if err != nil {
		return nil, err
	}
	c, err := admin.Ask(adminSocket(dirsOf(name)), req, streams...)
	if errors.Is(err, admin.ErrNotRunning) {
		return nil, fmt.Errorf("application %q is not running; start it with: cofferdam -f %s up", name, p.file)
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, &exitError{code: codeDenied, err: fmt.Errorf("application %q belongs to another user: %w", name, err)}
	}
	return c, err
}

// running is the name of the application to ask. With --project-name no manifest
// is needed: one that has been moved or broken meanwhile is no reason why its
// application could not be stopped.
func (p *project) running() (string, error) {
	if p.name != "" {
		return p.name, nil
	}
	app, err := p.load()
	if err != nil {
		return "", &exitError{code: codeBadConfig, err: fmt.Errorf("%w\n(a running application can be asked without its manifest: --project-name NAME)", err)}
	}
	return app.Name, nil
}

// refused turns an answer of the application into an exit code.
func refused(err error) error {
	var e *admin.Error
	if errors.As(err, &e) && e.Code != 0 {
		return &exitError{code: e.Code, err: e}
	}
	return err
}

// Variables that say where everything is kept, for root and others alike.
const (
	stateEnv   = "COFFERDAM_STATE_DIR"
	runtimeEnv = "COFFERDAM_RUNTIME_DIR"
)

// dirsOf is where an application keeps its state: the usual places of the
// system for root, those of the XDG base directory specification for others.
func dirsOf(name string) supervisor.Dirs {
	state, runtime := "/var/lib/cofferdam", "/run/cofferdam"
	if os.Getuid() != 0 {
		state = userStateDir()
		runtime = userRuntimeDir()
	}
	if dir := os.Getenv(stateEnv); filepath.IsAbs(dir) {
		state = dir
	}
	if dir := os.Getenv(runtimeEnv); filepath.IsAbs(dir) {
		runtime = dir
	}
	return supervisor.Dirs{
		State:   filepath.Join(state, name),
		Runtime: filepath.Join(runtime, "apps", name),
	}
}

// userStateDir is, without a home, a directory that somebody else may have made
// before us: then nothing lies between it and /tmp that prepareDirs does not check.
func userStateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cofferdam")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local/state/cofferdam")
	}
	return fmt.Sprintf("/tmp/cofferdam-state-%d", os.Getuid())
}

func userRuntimeDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cofferdam")
	}
	return fmt.Sprintf("/tmp/cofferdam-%d", os.Getuid())
}

func adminSocket(d supervisor.Dirs) string { return filepath.Join(d.Runtime, "admin") }
func lockFile(d supervisor.Dirs) string    { return filepath.Join(d.Runtime, "lock") }
func auditLog(d supervisor.Dirs) string    { return filepath.Join(d.State, "audit.jsonl") }

// prepare makes the directories, closed to all others, and takes the lock that
// only one `up` of an application can hold.
func prepare(name string, d supervisor.Dirs) (lock *os.File, err error) {
	if err := prepareDirs(d); err != nil {
		return nil, err
	}
	lock, err = os.OpenFile(lockFile(d), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := takeLock(lock, adminSocket(d)); err != nil {
		lock.Close()
		return nil, fmt.Errorf("application %q is running already; stop it with `cofferdam down`, or give this one another --project-name", name)
	}
	// What a killed predecessor left: sockets and the bait of its canary, the rest died
	// with it. We have the lock, so that nobody can need them.
	baits, _ := filepath.Glob(filepath.Join(d.Runtime, "canary-*"))
	for _, left := range append(baits, filepath.Join(d.Runtime, "admin"), filepath.Join(d.Runtime, "wire")) {
		if err := os.RemoveAll(left); err != nil {
			lock.Close()
			return nil, err
		}
	}
	return lock, nil
}

// takeLock takes the lock of an application, or fails because it is running. Where
// nobody answers at its socket it has been killed, and what it ran is being taken down,
// or it has only just begun: that is waited for.
func takeLock(lock *os.File, socket string) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || time.Now().After(end) {
			return err
		}
		if c, dialErr := net.Dial("unix", socket); dialErr == nil {
			c.Close()
			return err
		}
	}
}

// prepareDirs makes the directories of an application, closed to all others.
// Those above them can be passed through if root made them: the trusted process
// goes on as an ordinary user.
func prepareDirs(d supervisor.Dirs) error {
	above := os.FileMode(0o700)
	if os.Getuid() == 0 {
		above = 0o711
	}
	for _, dir := range []struct {
		path string
		mode os.FileMode
		env  string
	}{
		{filepath.Dir(d.State), above, stateEnv},
		{filepath.Dir(filepath.Dir(d.Runtime)), above, runtimeEnv},
		{filepath.Dir(d.Runtime), above, runtimeEnv},
		{d.State, 0o700, stateEnv},
		{d.Runtime, 0o700, runtimeEnv},
	} {
		if err := ownDir(dir.path, dir.mode); err != nil {
			return fmt.Errorf("%w; let us write there, or set %s to a directory of ours", err, dir.env)
		}
	}
	return nil
}

// ownDir makes a directory that is ours and has at least that mode. One that
// somebody else made in /tmp before us is refused.
func ownDir(dir string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), mode); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !info.IsDir():
		return fmt.Errorf("%s: not a directory", dir)
	case os.Getuid() != 0 && int(st.Uid) != os.Getuid():
		return fmt.Errorf("%s: belongs to user %d, not to us", dir, st.Uid)
	case info.Mode().Perm()&mode != mode:
		return os.Chmod(dir, info.Mode().Perm()|mode)
	}
	return nil
}
