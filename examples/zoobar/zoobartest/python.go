package zoobartest

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// standIn has the names of the real cofferdam.py that api.py uses, and speaks
// lines of JSON to [NewPython].
//
//go:embed standin.py
var standIn []byte

// NewPython runs the template sandbox as a plain python3 process: the real
// bootstrap and api, the state of each owner in a directory of its own, and
// none of the walls.
func NewPython(t *testing.T, m *Monitor) func(context.Context, sdk.SpawnOptions) (sdk.Exit, error) {
	t.Helper()
	state := t.TempDir()
	var mu sync.Mutex
	owners := make(map[string]string) // the directory of each
	return func(ctx context.Context, o sdk.SpawnOptions) (sdk.Exit, error) {
		mu.Lock()
		data, ok := owners[o.Principal]
		if !ok {
			d, err := os.MkdirTemp(state, "owner-")
			if err != nil {
				mu.Unlock()
				return sdk.Exit{}, err
			}
			data, owners[o.Principal] = d, d
		}
		mu.Unlock()
		return runPython(ctx, m, data, o)
	}
}

func runPython(ctx context.Context, m *Monitor, data string, o sdk.SpawnOptions) (sdk.Exit, error) {
	dir, err := os.MkdirTemp("", "zoobar-")
	if err != nil {
		return sdk.Exit{}, err
	}
	defer os.RemoveAll(dir)
	if err := lay(dir, o.Files); err != nil {
		return sdk.Exit{}, err
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		return sdk.Exit{}, err
	}
	defer socket.Close()
	bound, err := calls.ParseBound(o.Bound)
	if err != nil {
		return sdk.Exit{}, err
	}
	go answer(ctx, socket, m.AsSandbox(bound))

	ctx, cancel := context.WithTimeout(ctx, o.Wall)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-I", "-B", "-u", filepath.Join(dir, "bootstrap.py"))
	cmd.Dir = data
	cmd.Env = []string{"COFFERDAM_SOCKET=" + filepath.Join(dir, "socket"), "PATH=/usr/bin:/bin"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return sdk.Exit{}, err
	}
	return sdk.Exit{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}, nil
}

// lay writes the sandbox's files into dir, and makes them find each other there.
func lay(dir string, files []sdk.File) error {
	all := map[string][]byte{"cofferdam.py": standIn}
	for _, name := range []string{"bootstrap.py", "api.py"} {
		text, err := os.ReadFile(filepath.Join(sourceDir(), "sandbox", name))
		if err != nil {
			return err
		}
		s := strings.ReplaceAll(string(text), `"/zoobar"`, `"`+dir+`"`)
		all[name] = []byte(strings.ReplaceAll(s, `"/run/`, `"`+dir+`/`))
	}
	for _, f := range files {
		all[filepath.Base(f.Path)] = f.Data
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// answer carries the calls of one run: a line [call, arguments] is answered by
// a line [error, result].
func answer(ctx context.Context, socket net.Listener, as *Peer) {
	for {
		conn, err := socket.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				var request [2]json.RawMessage
				var call string
				if json.Unmarshal(lines.Bytes(), &request) != nil || json.Unmarshal(request[0], &call) != nil {
					return
				}
				reply := [2]any{nil, nil}
				if result, err := as.Call(ctx, call, request[1]); err != nil {
					reply[0] = err.Error()
				} else {
					reply[1] = json.RawMessage(result)
				}
				if json.NewEncoder(conn).Encode(reply) != nil {
					return
				}
			}
		}()
	}
}
