package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// readyEnv tells a detached `up` which descriptor its parent waits on.
const readyEnv = "COFFERDAM_READY_FD"

// upDetached runs `up` in a session of its own and waits until it is ready.
func (p *project) upDetached(f format) error {
	app, err := p.load()
	if err != nil {
		return err
	}
	dirs := dirsOf(app.Name)
	if err := prepareDirs(dirs); err != nil {
		return err
	}
	logPath := filepath.Join(dirs.State, "up.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(self, "--file", p.file, "--project-name", app.Name, "up", "--quiet")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w}
	// A service manager hears of the process that it started, not of this one.
	os.Unsetenv(notifyEnv)
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	var told *upEvents
	if f.name != "table" {
		told = newUpEvents(stdout)
	}
	shows := newAscent(app.Name, os.Stderr, told)
	last, err := hear(r, shows)
	if err == nil && last.Error != "" {
		err = errors.New(last.Error)
	}
	shows.end(last.URL, err)
	if told != nil {
		told.finish(time.Second)
	}
	switch {
	case last.Event == "":
		cmd.Wait()
		text, _ := os.ReadFile(logPath)
		said := strings.ReplaceAll("\n"+strings.TrimSpace(string(text)), "\ncofferdam: ", "\n")
		code := cmd.ProcessState.ExitCode()
		return &exitError{code: max(code, 1), err: errors.New(said[1:])}
	case err != nil:
		cmd.Wait()
		return err
	}
	said, _ := os.ReadFile(logPath)
	fmt.Fprint(os.Stderr, string(said))
	return nil
}

// hear takes what a detached up tells, up to how it went. Without that the error is that it does not tell
// any more.
func hear(r io.Reader, shows *ascent) (last upEvent, err error) {
	for in := json.NewDecoder(r); ; {
		var e upEvent
		switch err := in.Decode(&e); {
		case err != nil:
			return upEvent{}, err
		case e.Event != "state":
			return e, nil
		case e.Progress != nil:
			shows.note(*e.Progress)
		}
	}
}

// readyPipe is where a waiting `up -d` hears how it goes; nil without one. No
// process that we start inherits it.
func readyPipe() *upEvents {
	if os.Getenv(readyEnv) == "" {
		return nil
	}
	os.Unsetenv(readyEnv)
	syscall.CloseOnExec(3)
	pipe := os.NewFile(3, "ready")
	q := newUpEvents(pipe)
	go func() {
		<-q.done
		pipe.Close()
	}()
	return q
}
