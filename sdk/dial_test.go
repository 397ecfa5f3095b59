package sdk

import (
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"

	"cofferdam/wire"
)

func TestDialFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, name := range []string{"alice", "böb", strings.Repeat("p", wire.MaxPrincipal)} {
		c, err := DialFor(testContext(t), l.Addr().String(), name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "rest")
		c.Close()
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(far)
		far.Close()
		if want := "COFFERDAM for " + hex.EncodeToString([]byte(name)) + "\nrest"; string(got) != want || err != nil {
			t.Errorf("for %q the other end gets %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "a\x00", "\xff", strings.Repeat("p", wire.MaxPrincipal+1)} {
		if c, err := DialFor(testContext(t), l.Addr().String(), name); err == nil {
			c.Close()
			t.Errorf("for %.10q it connects", name)
		}
	}
}
