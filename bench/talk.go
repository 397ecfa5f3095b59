package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"cofferdam/bench/own"
)

// peers is the program of the module bench/peers.
var peers = filepath.Join(tools, "peers")

// moduleVersion is that of a module which the program at path was built with.
func moduleVersion(path, module string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return ""
	}
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return ""
}

// talker is a peer that carries messages: programs of bench/peers, of which the last
// one asks and prints what it found.
type talker struct {
	name, how, module string
	servers           []string // roles, in the order in which they are started
	asks              string   // the role of who asks
}

var (
	grpcPeer = talker{name: "gRPC", how: "unary, over a Unix socket; two processes", module: "google.golang.org/grpc", servers: []string{"grpc-serve"}, asks: "grpc-call"}
	natsPeer = talker{name: "NATS", how: "request-reply; three processes, as ours", module: "github.com/nats-io/nats-server/v2", servers: []string{"nats-server", "nats-serve"}, asks: "nats-call"}
)

func (t talker) contestant(size int) contestant {
	return contestant{
		name: t.name, how: t.how,
		version: func() string { return moduleVersion(peers, t.module) },
		open: func() (runner, error) {
			if _, err := os.Stat(peers); err != nil {
				return runner{}, fmt.Errorf("%w (%s; scripts/bench builds it)", errMissing, peers)
			}
			dir, err := os.MkdirTemp("/tmp", "bench-peers-")
			if err != nil {
				return runner{}, err
			}
			var running []*exec.Cmd
			stop := func() {
				for i := len(running) - 1; i >= 0; i-- {
					running[i].Process.Kill()
					running[i].Wait()
				}
				os.RemoveAll(dir)
			}
			for _, role := range t.servers {
				cmd := exec.Command(peers, role, dir)
				if err := startReady(cmd); err != nil {
					stop()
					return runner{}, fmt.Errorf("%s: %w", role, err)
				}
				running = append(running, cmd)
			}
			return runner{close: stop, run: func(count int) (own.Reading, error) {
				cmd := exec.Command(peers, t.asks, dir, strconv.Itoa(size), strconv.Itoa(count))
				cmd.Stderr = os.Stderr
				return own.Read(cmd)
			}}, nil
		},
	}
}

// startReady starts a server that says "ready" on its standard output once it is.
func startReady(cmd *exec.Cmd) error {
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	word := make([]byte, 6)
	if n, _ := out.Read(word); !bytes.HasPrefix(word[:n], []byte("ready")) {
		cmd.Process.Kill()
		return errors.Join(fmt.Errorf("it said %q", strings.TrimSpace(string(word[:n]))), cmd.Wait())
	}
	return nil
}
