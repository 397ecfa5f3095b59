package namespace_test

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"

	"cofferdam/executor"
)

// What an environment may reach changes while it runs: names come and go, and a listener
// that is opened meanwhile is one inside.
func TestReach(t *testing.T) {
	g := newGuest(t, false, func(s *executor.Spec) {
		s.Hosts = []executor.Host{{Name: "bank", Addr: netip.MustParseAddr("127.0.1.1")}}
	})
	shop := executor.Host{Name: "shop", Addr: netip.MustParseAddr("127.0.1.2")}
	at := netip.MustParseAddrPort("127.0.1.2:8081")
	bank := executor.Host{Name: "bank", Addr: netip.MustParseAddr("127.0.1.1")}
	more, err := g.p.Reach(context.Background(), []executor.Host{bank, shop}, []netip.AddrPort{at})
	if err != nil || len(more) != 1 {
		t.Fatalf("Reach = %v, %v", more, err)
	}
	go func() {
		c, err := more[0].Accept()
		if err == nil {
			io.WriteString(c, "hello\n")
			c.Close()
		}
	}()
	if got := g.run("getent hosts shop && getent hosts bank && exec 3<>/dev/tcp/127.0.1.2/8081 2>/dev/null; cat /etc/hosts"); !strings.Contains(got, "127.0.1.2 ") || !strings.Contains(got, "127.0.1.1 ") {
		t.Errorf("inside: %q, want both names", got)
	}
	const dial = `import socket; print(socket.create_connection(("shop", 8081)).recv(9))`
	if got := g.run("python3 -c '" + dial + "'"); !strings.Contains(got, "hello") {
		t.Errorf("a connection to the new listener: %q", got)
	}
	if _, err := g.p.Reach(context.Background(), []executor.Host{bank}, nil); err != nil {
		t.Fatal(err)
	}
	if got := g.run("getent hosts bank; getent hosts shop || echo gone"); !strings.HasSuffix(got, "gone") || !strings.Contains(got, "127.0.1.1") {
		t.Errorf("inside: %q, want the one name", got)
	}
	// Nobody inside can say otherwise.
	for _, script := range []string{"echo 127.0.1.9 evil >>/etc/hosts", "rm /etc/hosts", "mv /etc/hosts /etc/x", "umount /etc/hosts", "mount --bind /proc/mounts /etc/hosts"} {
		if got := g.run(script + " && echo did"); strings.HasSuffix(got, "did") {
			t.Errorf("%s: %q", script, got)
		}
	}
	for _, bad := range []string{"10.0.0.1:80", "8.8.8.8:53"} {
		if _, err := g.p.Reach(context.Background(), nil, []netip.AddrPort{netip.MustParseAddrPort(bad)}); err == nil {
			t.Errorf("a listener on %s", bad)
		}
	}
	g.p.Kill(executor.CausePolicy, "")
	<-g.p.Done()
	if _, err := more[0].Accept(); err == nil {
		t.Error("the listener outlives its environment")
	}
	if _, err := g.p.Reach(context.Background(), nil, nil); err == nil {
		t.Error("Reach of what has ended")
	}
}
