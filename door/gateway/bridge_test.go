package gateway

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestBridge(t *testing.T) {
	s := start(t, Limits{}, nil)
	c := dial(t, s.bridge)
	in := bufio.NewReader(c)
	io.WriteString(c, "COFFERDAM bank dynamic 8081\n")
	for i := range 3 { // every request on the connection is the caller's
		io.WriteString(c, get(fmt.Sprintf("/any/where/%d", i), "Cofferdam-Caller: gateway", "X-Forwarded-For: 9.9.9.9", "X-Request-Id: 1"))
		got := receive(t, in)
		if got.status() != 200 || got.text != "from dynamic" {
			t.Fatalf("request %d got %d %q", i, got.status(), got.text)
		}
		r := s.dynamic.requests()[i]
		if err := authentic(r.Header, "bank", got.Header.Get(headerID)); err != nil {
			t.Errorf("%v in %v", err, r.Header)
		}
		if r.Header.Get("X-Forwarded-For") != "" || r.Host != "zoobar.example" {
			t.Errorf("the service was told of a client outside: %v", r.Header)
		}
	}
}

func TestPreface(t *testing.T) {
	s := start(t, Limits{TimeoutMS: 500}, nil)
	for _, tt := range []struct {
		name, preface string
		status        int // 0 is the end of the connection
	}{
		{"a service", "COFFERDAM bank dynamic 8081\n", 200},
		{"the longest names", "COFFERDAM " + strings.Repeat("a", 32) + " dynamic 8081\n", 200},
		{"none", "", 0},
		{"a service that is not there", "COFFERDAM bank nobody 8081\n", 404},
		{"another port", "COFFERDAM bank dynamic 22\n", 404},
		{"the caller that means outside", "COFFERDAM gateway dynamic 8081\n", 0},
		{"small letters", "cofferdam bank dynamic 8081\n", 0},
		{"a name too long", "COFFERDAM " + strings.Repeat("a", 33) + " dynamic 8081\n", 0},
		{"a name that is an address", "COFFERDAM bank 127.0.0.1 8081\n", 0},
		{"an empty name", "COFFERDAM  dynamic 8081\n", 0},
		{"a word more", "COFFERDAM bank dynamic 8081 x\n", 0},
		{"a word less", "COFFERDAM bank dynamic\n", 0},
		{"a carriage return", "COFFERDAM bank dynamic 8081\r\n", 0},
		{"port 0", "COFFERDAM bank dynamic 0\n", 0},
		{"a port with a zero", "COFFERDAM bank dynamic 08081\n", 0},
		{"a port with a sign", "COFFERDAM bank dynamic +8081\n", 0},
		{"a port too large", "COFFERDAM bank dynamic 73617\n", 0},
		{"a number that nobody asked for", "COFFERDAM bank dynamic 8081 7 -\n", 404},
		{"no end", strings.Repeat("x", 4096), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := send(t, s.bridge, tt.preface+get("/")); got.status() != tt.status {
				t.Errorf("after the preface %q: %d %q, want %d", tt.preface, got.status(), got.text, tt.status)
			}
		})
	}
	t.Run("slowly", func(t *testing.T) {
		c := dial(t, s.bridge)
		io.WriteString(c, "COFFERDAM ba")
		begin := time.Now()
		if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(begin) > 5*time.Second {
			t.Errorf("half a preface: %v after %v, want the end within the time for a header", err, time.Since(begin))
		}
	})
	t.Run("in pieces", func(t *testing.T) {
		c := dial(t, s.bridge)
		for _, piece := range []string{"COFFER", "DAM bank dyna", "mic 8081", "\nGE", "T / HTTP/1.1\r\nHost: a\r\n\r\n"} {
			io.WriteString(c, piece)
			time.Sleep(10 * time.Millisecond)
		}
		if got := receive(t, bufio.NewReader(c)); got.status() != 200 {
			t.Errorf("got %d, want 200", got.status())
		}
	})
}

// A preface that is accepted can be written in one way only.
func FuzzParsePreface(f *testing.F) {
	f.Add("COFFERDAM bank dynamic 8081\n")
	f.Add("COFFERDAM a b 65535\n\n")
	f.Add("COFFERDAM a b 1 18446744073709551615 616c696365\n")
	f.Add("COFFERDAM a b 1 7 -")
	f.Fuzz(func(t *testing.T, line string) {
		p, err := parsePreface(line)
		if err != nil {
			return
		}
		again := fmt.Sprintf("COFFERDAM %s %s %d", p.caller, p.callee, p.port)
		if p.number != 0 {
			again += fmt.Sprintf(" %d %s", p.number, writePrincipal(p.principal))
		}
		if strings.TrimSuffix(line, "\n") != again {
			t.Errorf("parsePreface(%q) reads it as %q", line, again)
		}
	})
}
