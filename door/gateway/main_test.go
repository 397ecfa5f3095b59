package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asGateway in the environment turns the test binary into the role.
const asGateway = "TEST_AS_GATEWAY"

func TestMain(m *testing.M) {
	if os.Getenv(asGateway) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := Main(ctx, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// role starts a process of its own that runs Main with c, and ends it with the test.
func role(t *testing.T, c Config, extra ...*os.File) (pid int) {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{asGateway + "=1", ConfigEnv + "=" + string(config)}
	cmd.ExtraFiles = extra
	out := &syncBuffer{}
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the role ended with %v: %s", err, out)
		}
		for line := range strings.Lines(out.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("the role logged %q, which is no JSON", line)
			}
		}
	})
	return cmd.Process.Pid
}

// sides are what a gateway stands between: a service and its port, and the address that people
// know with the socket behind it.
func sides(t *testing.T) (static *service, port int, outside string, socket *os.File) {
	t.Helper()
	static = &service{}
	_, text, _ := net.SplitHostPort(serve(t, "static", static, false))
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	if socket, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return static, port, l.Addr().String(), socket
}

func TestRole(t *testing.T) {
	static, number, outside, socket := sides(t)
	free := listen(t)
	bridge := free.Addr().(*net.TCPAddr).Port
	free.Close()
	role(t, Config{
		Outside:  true,
		Bridge:   bridge,
		Services: map[string]int{"localhost": number},
		Routes:   []Route{{Path: "/", To: "localhost"}},
	}, socket)

	if got := send(t, outside, get("/")); got.text != "from static" {
		t.Errorf("from outside: %d %q", got.status(), got.text)
	}
	// Serving people, it serves the bridge or is about to.
	var got answer
	for range 100 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", bridge))
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		defer c.Close()
		fmt.Fprintf(c, "COFFERDAM bank localhost %d\n%s", number, get("/x"))
		got = receive(t, bufio.NewReader(c))
		break
	}
	if got.text != "from static" {
		t.Fatalf("over the bridge: %d %q", got.status(), got.text)
	}
	if caller := static.requests()[1].Header.Get(headerCaller); caller != "bank" {
		t.Errorf("over the bridge the service was told the caller %q", caller)
	}
}

func TestRoleIsTold(t *testing.T) {
	for _, tt := range []struct{ name, config, want string }{
		{"nothing", "", ConfigEnv},
		{"no socket at descriptor 3", `{"outside":true}`, "descriptor 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = []string{asGateway + "=1", ConfigEnv + "=" + tt.config}
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			cmd.ExtraFiles = []*os.File{null}
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("the role ended with %v: %s; want it to name %q", err, out, tt.want)
			}
		})
	}
}
