package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// tools is where scripts/bench puts peers that it has built.
var tools = abs("bin/bench")

// abs is where a path of this repository leads, wherever a process works.
func abs(path string) string {
	p, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return p
}

// judge is go-judge: a server with a pool of containers, each of which it uses again
// after it has cleaned it, that is asked over HTTP. It is measured as it comes, with as
// many containers as are asked for at once.
func judge(p program, at pace) contestant {
	path := filepath.Join(tools, "go-judge")
	return contestant{
		name: "go-judge", how: "go-judge -parallelism AT_ONCE, POST /run over kept connections",
		version: func() string { return moduleVersion(path, "github.com/criyle/go-judge") },
		open: func() (runner, error) {
			if _, err := os.Stat(path); err != nil {
				return runner{}, fmt.Errorf("%w (%s; scripts/bench builds it)", errMissing, path)
			}
			addr, err := freePort()
			if err != nil {
				return runner{}, err
			}
			server := exec.Command(path, "-http-addr", addr, "-silent", "-parallelism", strconv.Itoa(at.workers))
			var said bytes.Buffer
			server.Stdout, server.Stderr = &said, &said
			if err := server.Start(); err != nil {
				return runner{}, err
			}
			stop := func() { stopServer(server) }
			if err := waitFor(addr); err != nil {
				stop()
				return runner{}, fmt.Errorf("%w: %s", err, &said)
			}
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			return at.runner(func() error { return askJudge(client, addr, p) }, stop), nil
		},
	}
}

func askJudge(client *http.Client, addr string, p program) error {
	type object = map[string]any
	body, err := json.Marshal(object{"cmd": []object{{
		"args": p.args, "env": []string{"PATH=/usr/bin:/bin"},
		"files":    []object{{"content": ""}, {"name": "stdout", "max": 10240}, {"name": "stderr", "max": 10240}},
		"cpuLimit": 10 * time.Second, "clockLimit": 20 * time.Second, "memoryLimit": 256 << 20, "procLimit": 64,
	}}})
	if err != nil {
		return err
	}
	answer, err := client.Post("http://"+addr+"/run", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	var results []struct {
		Status string
		Files  map[string]string
	}
	if err := json.Unmarshal(text, &results); err != nil {
		return fmt.Errorf("go-judge answered %q: %w", text, err)
	}
	if len(results) != 1 || results[0].Status != "Accepted" || results[0].Files["stdout"] != p.want {
		return fmt.Errorf("go-judge answered %s", text)
	}
	return nil
}

// freePort is an address of this host at which nobody listens just now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// waitFor waits until somebody listens at addr.
func waitFor(addr string) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// stopServer ends a server politely, so that it takes away what it made; or else.
func stopServer(cmd *exec.Cmd) {
	cmd.Process.Signal(os.Interrupt)
	defer time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() }).Stop()
	cmd.Wait()
}
