package canary

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// bait is what the canary must not reach: listeners and a file of the host,
// there for this purpose.
type bait struct {
	told      told
	dir       string
	listeners []net.Listener
	shown     *net.UnixListener // the one that is shown inside, and answers nobody
}

// told is all that the canary is told. It does not know the token: whoever has
// it has been there.
type told struct {
	TCP      string            `json:"tcp"`      // address of a listener on the loopback
	Abstract string            `json:"abstract"` // name of an abstract Unix socket
	Socket   string            `json:"socket"`   // path of a Unix socket
	File     string            `json:"file"`
	Write    string            `json:"write"`  // where to make a file
	Spaces   map[string]string `json:"spaces"` // namespaces of the trusted process
	Layers   int               `json:"layers"` // of Landlock that it could still put on
}

// prefix of the directory, which a killed predecessor may have left.
const prefix = "canary-"

// lay puts the bait out below dir.
func lay(dir string) (_ *bait, err error) {
	sweep(dir)
	b := &bait{}
	defer func() {
		if err != nil {
			b.remove()
		}
	}()
	if b.dir, err = os.MkdirTemp(dir, prefix); err != nil {
		return nil, err
	}
	token := rand.Text()
	b.told = told{
		Abstract: "cofferdam-" + prefix + rand.Text(),
		Socket:   filepath.Join(b.dir, "socket"),
		File:     filepath.Join(b.dir, "file"),
		Write:    filepath.Join(b.dir, "written"),
		Spaces:   spaces(),
		Layers:   layers(),
	}
	if err := os.WriteFile(b.told.File, []byte(token), 0o644); err != nil {
		return nil, err
	}
	for _, at := range []struct{ network, addr string }{
		{"tcp", "127.0.0.1:0"}, {"unix", "@" + b.told.Abstract}, {"unix", b.told.Socket},
	} {
		l, err := net.Listen(at.network, at.addr)
		if err != nil {
			return nil, err
		}
		b.listeners = append(b.listeners, l)
		go answer(l, token)
	}
	b.told.TCP = b.listeners[0].Addr().String()
	if b.shown, err = net.ListenUnix("unix", &net.UnixAddr{Name: b.shownAt(), Net: "unix"}); err != nil {
		return nil, err
	}
	if err := os.Chmod(b.shownAt(), 0o666); err != nil {
		return nil, err
	}
	// Whoever is there is let in: nothing but where it is may keep the canary out.
	return b, os.Chmod(b.told.Socket, 0o666)
}

func (b *bait) shownAt() string { return filepath.Join(b.dir, "shown") }

// answer gives everybody the token.
func answer(l net.Listener, token string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.SetDeadline(time.Now().Add(time.Second))
		c.Write([]byte(token))
		c.Close()
	}
}

// controls tries everything outside, where the bait must be within reach.
func (b *bait) controls() ([]string, error) {
	outside := make([]string, len(probes))
	for i, p := range probes {
		if p.within {
			continue
		}
		outside[i] = p.try(&b.told)
		if p.bait && outside[i] != works {
			return nil, fmt.Errorf("%s: even outside the answer is %s, so that a refusal inside would prove nothing", p.name, outside[i])
		}
	}
	token, err := os.ReadFile(b.told.File)
	if err != nil {
		return nil, err
	}
	for _, l := range b.listeners {
		if err := greets(l.Addr(), string(token)); err != nil {
			return nil, fmt.Errorf("a listener of our own, %v: %w", l.Addr(), err)
		}
	}
	return outside, nil
}

// greets tells whether the listener at addr is ours and answers.
func greets(addr net.Addr, token string) error {
	c, err := net.DialTimeout(addr.Network(), addr.String(), time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	got := make([]byte, len(token))
	if n, err := c.Read(got); err != nil || string(got[:n]) != token {
		return errors.Join(fmt.Errorf("it does not answer as it should"), err)
	}
	return nil
}

// remove takes the bait in again.
func (b *bait) remove() {
	for _, l := range b.listeners {
		l.Close()
	}
	if b.shown != nil {
		b.shown.Close()
	}
	if b.dir != "" {
		os.RemoveAll(b.dir)
	}
}

// sweep removes what predecessors that were killed have left.
func sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), prefix) && time.Since(info.ModTime()) > 3*timeout {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}
