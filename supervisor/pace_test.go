package supervisor_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cofferdam/supervisor"
)

// linger is a server of TCP without the SDK. It reads lines, says which one it has read, and
// does what it says.
func linger() error {
	l, err := net.Listen("tcp", "127.0.0.1:4711")
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go lingerAt(c)
	}
}

var lingering sync.Mutex // taken for each line

func lingerAt(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 16)
	for {
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			continue // of no interest
		}
		if err != nil {
			return
		}
		how := strings.TrimSpace(string(line))
		lingering.Lock()
		fmt.Fprintln(c, how)
		switch how {
		case "stop":
			syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			select {}
		case "deadlock":
			lingering.Lock()
		case "spin":
			for { //nolint:staticcheck // this is what it is for
			}
		case "slow":
			lingering.Unlock()
			for one := []byte{0}; err == nil && one[0] != '\n'; _, err = c.Read(one) {
				time.Sleep(200 * time.Millisecond)
			}
			fmt.Fprintln(c, "done")
			lingering.Lock()
		case "flood":
			lingering.Unlock()
			for err == nil {
				_, err = c.Write(make([]byte, 64<<10))
			}
			return
		case "sockets": // many of its own, and then nothing
			for n := 0; err == nil; n++ {
				_, err = net.Listen("tcp", "127.0.0.1:0")
			}
			fmt.Fprintln(c, "no more")
			lingering.Lock()
		}
		lingering.Unlock()
	}
}

// The same in Python, one connection at a time.
const lingerPython = `
import os, signal, socket, threading
l = socket.create_server(("127.0.0.1", 4711))
while True:
    c, _ = l.accept()
    with c, c.makefile("rb", buffering=0) as lines:
        for line in lines:
            c.sendall(line)
            how = line.strip()
            if how == b"stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif how == b"deadlock":
                lock = threading.Lock()
                lock.acquire()
                lock.acquire()
            elif how == b"spin":
                while True:
                    pass
`

// talk says lines to the server, one when that before was heard, and what it has heard when the
// server has gone, or when it has heard all.
func talk(lines []string) error {
	c, err := net.Dial("tcp", "server:4711")
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(c)
	var heard []string
	for _, line := range lines {
		switch line {
		case "reset":
			c.(*net.TCPConn).SetLinger(0)
			return nil
		case "half":
			c.(*net.TCPConn).CloseWrite()
			rest, _ := io.ReadAll(in)
			fmt.Printf("%s then %q\n", strings.Join(heard, " "), rest)
			return nil
		case "wait":
			time.Sleep(5 * time.Second)
			continue
		case "endless":
			c.SetDeadline(time.Now().Add(5 * time.Second))
			n, err := io.Copy(c, endless{})
			fmt.Println("endless:", n > 0, err != nil)
			return nil
		}
		if _, err := fmt.Fprintln(c, line); err != nil {
			break
		}
		text, err := in.ReadString('\n')
		if err != nil {
			heard = append(heard, "cut")
			break
		}
		heard = append(heard, strings.TrimSpace(text))
	}
	fmt.Println(strings.Join(heard, " "))
	return nil
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func startLinger(t *testing.T, language, written, deadline string) *app {
	t.Helper()
	command := "{{program}linger]"
	if language == "Python" {
		const python = "/usr/bin/python3"
		if _, err := os.Stat(python); err != nil {
			t.Skip("needs python3: ", err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "linger.py"), []byte(lingerPython), 0o644); err != nil {
			t.Fatal(err)
		}
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			os.Chmod(d, 0o755)
		}
		command = fmt.Sprintf("{runtime: host, files: [{from: %s, to: /app}], command: [%s, /app/linger.py]", dir, python)
	}
	line, port := "", "4711"
	if written == "line" {
		line = ", deadline: " + deadline
	} else {
		port = "{port: 4711, deadline: " + deadline + "}"
	}
	return start(t, `
  client: {{program}deaf], stop_grace_period: 100ms, uses: [{connect: server`+line+`}]}
  server: `+command+`, tcp: `+port+`, restart: {intensity: 100, backoff: 1ms, backoff_max: 1ms}, stop_grace_period: 100ms}
`)
}

// A server that does not read what it is sent is found, killed and replaced, whatever it is
// that ails it, and the next connection is served.
func TestServersThatDoNotRead(t *testing.T) {
	for _, language := range []string{"Go", "Python"} {
		for how, deadline := range map[string]string{"stop": "line", "deadlock": "port", "spin": "line", "sockets": "port"} {
			if language == "Python" && how == "sockets" {
				continue
			}
			t.Run(language+"/"+how, func(t *testing.T) {
				a := startLinger(t, language, deadline, "1s")
				lines, want := []string{"hello", how, "more"}, "hello "+how+" cut"
				if how == "sockets" {
					want = "hello sockets no more cut"
					lines = append(lines, "")
				}
				if got := a.exec("client", append([]string{"talk"}, lines...)...); got != want {
					t.Errorf("who makes it %s hears %q, want %q", how, got, want)
				}
				if got := a.exec("client", "talk", "hello"); got != "hello" {
					t.Errorf("the next one hears %q", got)
				}
				st := a.await("server", supervisor.Ready)
				if st.Instance != "server-2" || st.LastExit == nil || st.LastExit.Cause != "policy" || !strings.Contains(st.LastExit.Detail, "unresponsive: of what client-1 has sent to port 4711, ") {
					t.Errorf("then there is %s, and the last exit %+v", st.Instance, st.LastExit)
				}
			})
		}
	}
}

// Who reads, and be it slowly, is left alone, whatever its clients do.
func TestServersThatRead(t *testing.T) {
	a := startLinger(t, "Go", "port", "3s")
	var all sync.WaitGroup
	for _, lines := range [][]string{
		{"slow", strings.Repeat("x", 40)}, // which takes longer than the deadline
		{"hello", "wait", "hello"},        // who says nothing
		{"hello", "half"},
		{"flood", "wait"}, // who reads nothing
		{"hello", "reset"},
		{"endless"},
	} {
		all.Go(func() { t.Logf("%.20q: %.60q", lines, a.exec("client", append([]string{"talk"}, lines...)...)) })
	}
	all.Wait()
	if got := a.exec("client", "talk", "hello"); got != "hello" {
		t.Errorf("at last: %q", got)
	}
	if st := a.status("server"); st.Restarts != 0 {
		t.Errorf("it was replaced: %+v\n%s", st, a.audit())
	}
}
