package spawner

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace/link"
	"cofferdam/internal/linux"

	"golang.org/x/sys/unix"
)

// An environment can end while somebody asks for a socket in it. Its network may be another one's
// by the time that is made.
func TestNoSocketAfterTheEnd(t *testing.T) {
	v, n := openNetworks(t)
	addr := netip.MustParseAddrPort("127.0.0.1:1234")
	for name, ask := range map[string]func(i *instance) ([]int, error){
		"dial":      func(i *instance) ([]int, error) { return i.dial(&link.Dial{Count: 1}) },
		"sock_diag": func(i *instance) ([]int, error) { return i.dial(&link.Dial{Diag: true}) },
		"listen":    func(i *instance) ([]int, error) { return i.reach(&link.Reach{Listen: []netip.AddrPort{addr}}) },
	} {
		t.Run(name, func(t *testing.T) {
			fd, err := n.make()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			i := &instance{server: &server{visitor: v}, blank: &blank{net: fd}}
			before := refersTo(fd)
			busy, done := make(chan struct{}), make(chan error)
			v.work <- func() { <-busy }
			go func() {
				fds, err := ask(i)
				linux.CloseFDs(fds)
				if err == nil {
					err = fmt.Errorf("%d sockets", len(fds))
				}
				done <- err
			}()
			for refersTo(fd) == before { // it has found the environment alive
				time.Sleep(time.Millisecond)
			}
			i.mu.Lock()
			i.ended = true
			i.mu.Unlock()
			close(busy)
			if err := <-done; !errors.Is(err, executor.ErrStopped) {
				t.Errorf("in the network of who comes next: %v", err)
			}
		})
	}
}

// refersTo is how many of our descriptors refer to what fd does.
func refersTo(fd int) (n int) {
	want, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	all, _ := os.ReadDir("/proc/self/fd")
	for _, d := range all {
		if got, _ := os.Readlink("/proc/self/fd/" + d.Name()); got == want {
			n++
		}
	}
	return n
}

// No volume comes to an environment whose end is told before everything of it is given back.
func TestNoVolumeAfterTheEnd(t *testing.T) {
	i := &instance{server: &server{}}
	if !i.seeOff() {
		t.Fatal("there is nothing to be given back")
	}
	if err := i.keep(&placed{image: &image{}}); !errors.Is(err, executor.ErrStopped) || len(i.images) > 0 {
		t.Errorf("%v: it has %d volumes, which nobody gives back", err, len(i.images))
	}
}

// A program that is executed in an environment while that ends finds where it was born: the
// blank has given it back by then.
func TestNestIsKnownToTheEnd(t *testing.T) {
	k := &blank{nest: &nest{}}
	i := &instance{}
	i.use(k, nil)
	k.nest = nil
	if i.nest == nil {
		t.Error("there is nothing to make a process in")
	}
}
