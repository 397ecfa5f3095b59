package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/sdk"
	"cofferdam/supervisor"
)

const doorsApp = `version: 1
name: doors
allow_degraded: [cgroup, disk-quota]
gateway:
  tcp:
    - {listen: '127.0.0.1:0', to: manager, connections: 300, per_peer: 300}
    - {listen: '127.0.0.1:0', to: 'echo:7000', per_peer: 3, idle: 1s}
    - {listen: '127.0.0.1:0', to: 'echo:7002'}
services:
  manager: {command: [/app/tenant, manager], files: [tenant:/app/tenant], tcp: 4711,
    uses: [{connect: server, for: anyone}, {share: theories, into: server, for: anyone}]}
  echo: {command: [/app/tenant, repeat], files: [tenant:/app/tenant], tcp: [7000, 7001, {port: 7002, rate: 5/h}]}
  thief: {command: [/app/tenant, manager], files: [tenant:/app/tenant], tcp: 4711, instances: per-principal,
    uses: [{connect: server}]}
  server: {command: [/app/tenant, server], files: [tenant:/app/tenant], tcp: 4711, instances: per-principal,
    idle: 1s, max_instances: 3, stop_grace_period: 200ms, volumes: [{name: 'of-{principal}', to: /data, size: 1M}]}
shares: [{name: theories, from: theories}]
`

// manage lets in whoever says a name, leads on to that one's server, and mounts for it. A
// first line is "NAME", "NAME DIRECTORY", or "! TEXT" for a connection that begins with
// that text.
func manage(c *sdk.Client) error {
	return serveTCP("127.0.0.1:4711", func(c1 net.Conn) error {
		r := bufio.NewReader(c1)
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		name, dir, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		var far net.Conn
		if name == "!" {
			if far, err = net.Dial("tcp", "server:4711"); err == nil {
				io.WriteString(far, dir+"\n")
			}
		} else {
			far, err = sdk.DialFor(context.Background(), "server:4711", name)
		}
		if err != nil {
			return err
		}
		defer far.Close()
		answers := bufio.NewReader(far)
		if name != "!" && dir != "" {
			// Once it has spoken it is the one that the connection leads to.
			greeting, err := answers.ReadString('\n')
			if err != nil {
				return err
			}
			io.WriteString(c1, greeting)
			at, err := c.Mount(context.Background(), dir, sdk.MountOptions{Into: "server", Principal: name, Client: name})
			if err != nil {
				at = err.Error()
			}
			fmt.Fprintln(c1, at)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(c1, answers)
			c1.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(far, r)
		far.(*net.TCPConn).CloseWrite()
		<-done
		return nil
	})
}

// server says who it is and does what it is told.
func server(c *sdk.Client) error {
	return serveTCP("127.0.0.1:4711", func(nc net.Conn) error {
		self := c.Self()
		fmt.Fprintf(nc, "%s for %s\n", self.Instance, self.Principal)
		for in := bufio.NewScanner(nc); in.Scan(); {
			word, rest, _ := strings.Cut(in.Text(), " ")
			switch word {
			case "cat":
				text, err := os.ReadFile(rest)
				fmt.Fprintf(nc, "%s %v\n", text, err)
			case "keep":
				fmt.Fprintln(nc, os.WriteFile("/data/note", []byte(rest), 0o600))
			case "die":
				os.Exit(3)
			default:
				fmt.Fprintln(nc, in.Text())
			}
		}
		return nil
	})
}

func serveTCP(at string, serve func(net.Conn) error) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := serve(c); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
}

// doors are the addresses of the host at which the gateway of s listens.
func (s *site) doors() (all []string) {
	s.t.Helper()
	out, errs, code := s.run("ps", "--format", "json")
	if code != 0 {
		s.t.Fatalf("ps: %s", errs)
	}
	var services []supervisor.Status
	if err := json.Unmarshal([]byte(out), &services); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	for _, st := range services {
		for _, l := range st.Listens {
			all = append(all, l.At)
		}
	}
	return all
}

// visitor is somebody who comes by a door.
type visitor struct {
	*net.TCPConn
	in *bufio.Reader
}

func visit(t *testing.T, at, first string) *visitor {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, first)
	return &visitor{c.(*net.TCPConn), bufio.NewReader(c)}
}

// line is the next, or why there is none.
func (v *visitor) line() string {
	line, err := v.in.ReadString('\n')
	if err != nil && line == "" {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return "it hangs"
		}
		return "the end"
	}
	return strings.TrimSpace(line)
}

func (v *visitor) asks(line string) string {
	io.WriteString(v, line+"\n")
	return v.line()
}

func TestDoors(t *testing.T) {
	for name, uid := range users() {
		t.Run(name, func(t *testing.T) { testDoors(t, uid) })
	}
}

func testDoors(t *testing.T, uid uint32) {
	s := newSite(t, "doors", doorsApp, uid)
	theories := filepath.Join(s.dir, "theories")
	if err := os.MkdirAll(filepath.Join(theories, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(theories, "a", "Ex.thy"), []byte("theory Ex"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, errs, code := s.run("up", "-d")
	if strings.Contains(errs, "not supported by this host") {
		t.Skipf("needs isolation: %s", errs)
	}
	if code != 0 {
		t.Fatalf("up: %d\n%s", code, errs)
	}
	at := s.doors()
	if len(at) != 3 {
		t.Fatalf("ps shows %q", at)
	}
	if out, _, _ := s.run("ps"); !strings.Contains(out, "listens: "+at[0]+" to manager:4711") {
		t.Errorf("ps says nothing of %s:\n%s", at[0], out)
	}

	t.Run("each reaches its own", func(t *testing.T) {
		alice, bob := visit(t, at[0], "alice\n"), visit(t, at[0], "bob\n")
		a, b := alice.line(), bob.line()
		if !strings.HasSuffix(a, " for alice") || !strings.HasSuffix(b, " for bob") {
			t.Fatalf("alice reaches %q, bob %q", a, b)
		}
		if got := visit(t, at[0], "alice\n").line(); got != a {
			t.Errorf("alice reaches %q and then %q", a, got)
		}
		if got := alice.asks("keep mine"); got != "<nil>" {
			t.Errorf("keep: %s", got)
		}
		if got := bob.asks("cat /data/note"); !strings.Contains(got, "no such file") {
			t.Errorf("bob finds %q", got)
		}
		alice.CloseWrite()
		if got := alice.line(); got != "the end" {
			t.Errorf("after she has said all, alice hears %q", got)
		}
	})

	t.Run("lines that name nobody", func(t *testing.T) {
		for _, first := range []string{
			"! COFFERDAM for -", "! COFFERDAM for", "! COFFERDAM for ff", "! COFFERDAM for 616c696365 0", "! COFFERDAM over 1", "! ", "! hello",
			"! COFFERDAM for " + strings.Repeat("61", 257), "! " + strings.Repeat("x", 1<<16),
		} {
			if got := visit(t, at[0], first+"\n").line(); got != "the end" {
				t.Errorf("%.40q reaches %q", first, got)
			}
		}
		out, _, _ := s.run("audit", "-n", "-1", "--format", "jsonl")
		for _, want := range []string{`"detail":"for \"alice\""`, "not the name of a principal", "no line that says for whom it is"} {
			if !strings.Contains(out, want) {
				t.Errorf("the log does not have %s", want)
			}
		}
	})

	t.Run("mounts", func(t *testing.T) {
		dir := filepath.Join(theories, "a")
		carol := visit(t, at[0], "carol "+dir+"\n")
		if got := carol.line(); !strings.HasSuffix(got, " for carol") {
			t.Fatalf("carol reaches %q", got)
		}
		first := carol.line()
		if got := carol.asks("cat " + first + "/Ex.thy"); got != "theory Ex <nil>" {
			t.Errorf("carol reads %q at %q", got, first)
		}
		if got := carol.asks("cat " + dir + "/Ex.thy"); !strings.Contains(got, "no such file") {
			t.Errorf("at its path on the host there is %q", got)
		}
		again := visit(t, at[0], "carol "+dir+"\n")
		again.line()
		if got := again.line(); got != first {
			t.Errorf("mounted again it is at %q, not %q", got, first)
		}
		etc := visit(t, at[0], "carol /etc\n")
		etc.line()
		if got := etc.line(); !strings.Contains(got, "denied") {
			t.Errorf("/etc: %q", got)
		}
		// What dies takes its mounts along, and its connections end; in the
		// next one everything is anew.
		if got := carol.asks("die"); got != "the end" {
			t.Errorf("after it has died: %q", got)
		}
		again = visit(t, at[0], "carol "+dir+"\n")
		again.line()
		second := again.line()
		if second == first {
			t.Errorf("in the next instance it is at %q again", second)
		}
		if got := again.asks("cat " + second + "/Ex.thy"); got != "theory Ex <nil>" {
			t.Errorf("in the next instance: %q", got)
		}
	})

	t.Run("the record of one", func(t *testing.T) {
		wantRecords(t, s, "carol", `"start" server start`, `"decision" manager connect server:4711 allow`, `"decision" manager mount server:`+filepath.Join(theories, "a")+` allow`,
			`"decision" manager mount server:/etc deny`, `"mount" manager mount `+filepath.Join(theories, "a"), `"exit" server exit`)
	})

	t.Run("bounds", func(t *testing.T) {
		var open []*visitor
		for range 3 {
			v := visit(t, at[1], "hello\n")
			if got := v.line(); got != "hello" {
				t.Fatalf("echo: %q", got)
			}
			open = append(open, v)
		}
		if got := visit(t, at[1], "hello\n").line(); got != "the end" {
			t.Errorf("one more than per_peer: %q", got)
		}
		if got := open[0].line(); got != "the end" { // idle for a second
			t.Errorf("an idle one: %q", got)
		}
		time.Sleep(50 * time.Millisecond)
		if got := visit(t, at[1], "hello\n").line(); got != "hello" {
			t.Errorf("when there is room again: %q", got)
		}
	})

	t.Run("as often as the port says", func(t *testing.T) {
		for i := range 30 {
			want := "hello"
			if i >= 5 {
				want = "the end"
			}
			if got := visit(t, at[2], "hello\n").line(); got != want {
				t.Errorf("connection %d: %q, want %q", i, got, want)
			}
		}
		out, _, _ := s.run("audit", "-n", "-1", "--format", "jsonl")
		n := 0
		for line := range strings.Lines(out) {
			if strings.Contains(line, `"subject":"gateway"`) && strings.Contains(line, `"object":"echo:7002"`) && strings.Contains(line, "rate.connections: 5/h: more is refused") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("that it fired is on record %d times", n)
		}
	})

	t.Run("many", func(t *testing.T) {
		// More tenants than there are places: idle ones give way, one after the other.
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				for range 20 {
					c, err := net.Dial("tcp", at[0])
					if err != nil {
						t.Error(err)
						return
					}
					c.SetDeadline(time.Now().Add(60 * time.Second))
					fmt.Fprintf(c, "tenant%d\n", i%6)
					line, _ := bufio.NewReader(c).ReadString('\n')
					c.Close()
					if strings.HasSuffix(line, fmt.Sprintf(" for tenant%d\n", i%6)) {
						return
					}
					if line != "" {
						t.Errorf("tenant%d reaches %q", i%6, line)
						return
					}
				}
				t.Errorf("tenant%d never got its turn", i%6)
			})
		}
		all.Wait()
		out, _, _ := s.run("ps", "--format", "json")
		if n := strings.Count(out, `"instance":"server-`) + strings.Count(out, `"instance": "server-`); n > 3 {
			t.Errorf("%d instances of server, of which three may run:\n%s", n, out)
		}
	})

	if _, errs, code := s.run("down"); code != 0 {
		t.Errorf("down: %s", errs)
	}
	for _, a := range at {
		if c, err := net.Dial("tcp", a); err == nil {
			c.Close()
			t.Errorf("after down %s is open", a)
		}
	}
}
