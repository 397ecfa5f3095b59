package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cofferdam/examples/isabelle/server"
)

// TestMain is also the program that the server starts: one that says what it is sent,
// in capitals, makes a directory when it is told to, and ends when it is told to.
func TestMain(m *testing.M) {
	if os.Getenv("INNER") == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("starting ...")
	fmt.Printf("server \"isabelle\" = %s (password \"12\")\n", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer c.Close()
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				switch word, rest, _ := strings.Cut(lines.Text(), " "); word {
				case "mkdir":
					if err := os.Mkdir(filepath.Join(os.Getenv("SESSIONS"), rest), 0o700); err != nil {
						fmt.Fprintln(c, err)
					}
				case "exit":
					os.Exit(3)
				}
				fmt.Fprintln(c, strings.ToUpper(lines.Text()))
			}
			fmt.Fprintln(c, "THAT WAS ALL")
		}()
	}
}

type lab struct {
	*server.Server
	dir, at string
}

func start(t *testing.T) *lab {
	t.Helper()
	dir := t.TempDir()
	sessions := filepath.Join(dir, "sessions")
	ctx, cancel := context.WithCancel(context.Background())
	s, err := server.Start(ctx, server.Options{
		Command: []string{os.Args[0]}, Env: append(os.Environ(), "INNER=1", "SESSIONS="+sessions), Sessions: sessions, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(func() {
		l.Close()
		cancel()
		s.Wait()
	})
	return &lab{s, dir, l.Addr().String()}
}

// say connects, says something and no more, and returns the name of the instance and all that comes.
func (l *lab) say(t *testing.T, text string) (name, rest string) {
	t.Helper()
	c, err := net.Dial("tcp", l.at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(c)
	name, err = in.ReadString('\n')
	if err != nil || !strings.HasPrefix(name, "instance ") {
		t.Fatalf("the first line is %q, %v", name, err)
	}
	io.WriteString(c, text)
	c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatalf("after %q: %v", b, err)
	}
	return name, string(b)
}

// TestLead: a connection is led on, after the password that nobody outside knows, and
// each end hears that the other has said all.
func TestLead(t *testing.T) {
	l := start(t)
	own := filepath.Join(l.dir, "own")
	first, rest := l.say(t, own+"\nhello\nmkdir a\n")
	if rest != "12\nHELLO\nMKDIR A\nTHAT WAS ALL\n" {
		t.Errorf("it is led on as %q", rest)
	}
	if info, err := os.Stat(filepath.Join(own, "a")); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("the directory of a session is not for who is outside: %v, %v", info, err)
	}
	if info, err := os.Stat(own); err != nil || info.Mode()&os.ModeSticky == 0 {
		t.Errorf("the directory for sessions: %v, %v", info, err)
	}
	// It may be mounted somewhere else the next time.
	other := filepath.Join(l.dir, "other")
	second, _ := l.say(t, other+"\nmkdir b\n")
	if _, err := os.Stat(filepath.Join(other, "b")); err != nil {
		t.Error(err)
	}
	if first != second {
		t.Errorf("one instance is called %q and %q", first, second)
	}
	if third, _ := start(t).say(t, own+"\n"); third == first {
		t.Errorf("two instances are called %q", third)
	}
}

func TestRefused(t *testing.T) {
	l := start(t)
	file := filepath.Join(l.dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ first, want string }{
		{"relative", "bad directory for sessions"}, {"", "bad directory for sessions"}, {l.dir + "/no/such", "no directory for sessions"}, {file + "/x", "no directory for sessions"},
	} {
		if _, rest := l.say(t, tt.first+"\n"); !strings.Contains(rest, `ERROR {"kind":"error"`) || !strings.Contains(rest, tt.want) {
			t.Errorf("%q is answered %q", tt.first, rest)
		}
	}
	if _, rest := l.say(t, "no line"); rest != "" {
		t.Errorf("no line is answered %q", rest)
	}
}

// TestEnds: it ends with its server, and does not begin without one.
func TestEnds(t *testing.T) {
	l := start(t)
	l.say(t, filepath.Join(l.dir, "own")+"\nexit\n")
	if err := l.Wait(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("Wait: %v", err)
	}
	for _, command := range [][]string{{"/bin/true"}, {"/bin/echo", "server \"x\" = 10.0.0.1:1 (password \"p\")"}, {"/no/such"}} {
		if _, err := server.Start(context.Background(), server.Options{Command: command}); err == nil {
			t.Errorf("%q is taken for a server", command)
		}
	}
}
