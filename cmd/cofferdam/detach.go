package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// readyEnv tells a detached `up` which descriptor its parent waits on.
const readyEnv = "COFFERDAM_READY_FD"

// upDetached runs `up` in a session of its own and waits until it is ready.
func (p *project) upDetached() error {
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
	word, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		cmd.Wait()
		text, _ := os.ReadFile(logPath)
		said := strings.ReplaceAll("\n"+strings.TrimSpace(string(text)), "\ncofferdam: ", "\n")
		code := cmd.ProcessState.ExitCode()
		return &exitError{code: max(code, 1), err: errors.New(said[1:])}
	}
	if word != "ready\n" {
		cmd.Wait()
		return errors.New(strings.TrimSpace(word))
	}
	said, _ := os.ReadFile(logPath)
	fmt.Fprint(os.Stderr, string(said))
	return nil
}

// readyPipe is where a waiting `up -d` hears how it went; nil without one. No
// process that we start inherits it.
func readyPipe() *os.File {
	if os.Getenv(readyEnv) == "" {
		return nil
	}
	os.Unsetenv(readyEnv)
	syscall.CloseOnExec(3)
	return os.NewFile(3, "ready")
}

func tellParent(pipe *os.File, word string) {
	if pipe != nil {
		fmt.Fprintf(pipe, "%s\n", word)
		pipe.Close()
	}
}
