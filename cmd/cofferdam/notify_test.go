package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A service manager hears when the application is up, and when it is asked to end.
func TestNotify(t *testing.T) {
	o := newOrdinary(t, `version: 1
name: notified
allow_degraded: [cgroup]
services:
  one:
    runtime: host
    command: [/bin/sh, -c, 'test -z "$NOTIFY_SOCKET" && sleep 60']
`)
	path := filepath.Join(o.dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	socket.SetReadDeadline(time.Now().Add(time.Minute))
	hear := func() string {
		buf := make([]byte, 4096)
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	cmd := o.command("up", "-q")
	cmd.Env = append(cmd.Env, notifyEnv+"="+path)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if got := hear(); got != "STATUS=starting services" {
		t.Errorf("first the manager hears %q", got)
	}
	if got := hear(); !strings.HasPrefix(got, "READY=1\nSTATUS=") {
		t.Errorf("then the manager hears %q", got)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if got := hear(); got != "STOPPING=1" {
		t.Errorf("at the end the manager hears %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("up: %v\n%s", err, said.String())
	}
}
