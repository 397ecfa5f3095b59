package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// outside plays the Internet: a server of DNS, over TCP, and what answers HTTP at
// whatever addresses it is told to. It counts.
type outside struct {
	zone map[string][]string // name → addresses or "alias NAME"; "then" parts answers to questions in turn

	mu    sync.Mutex
	asked map[string]int // questions by name, of both kinds
	met   map[string]int // connections by "address for Host"
}

func newOutside(zone map[string][]string) *outside {
	return &outside{zone: zone, asked: make(map[string]int), met: make(map[string]int)}
}

func (o *outside) count(m map[string]int, key string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	m[key]++
	return m[key]
}

func (o *outside) questions(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[name]
}

// serveDNS answers on l until it is closed.
func (o *outside) serveDNS(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			for {
				var size [2]byte
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				msg := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, msg); err != nil {
					return
				}
				reply, err := o.reply(msg)
				if err != nil {
					return
				}
				c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			}
		}()
	}
}

func (o *outside) reply(msg []byte) ([]byte, error) {
	var in dnsmessage.Message
	if err := in.Unpack(msg); err != nil {
		return nil, err
	}
	q := in.Questions[0]
	out := dnsmessage.Message{Header: dnsmessage.Header{ID: in.ID, Response: true, RecursionAvailable: true}, Questions: in.Questions}
	name := strings.TrimSuffix(q.Name.String(), ".")
	turn := (o.count(o.asked, name) - 1) / 2 // A and AAAA are one
	known := false
	for range 16 {
		var values []string
		if values, known = o.zone[name]; !known {
			break
		}
		values = turnOf(values, turn)
		next := ""
		for _, v := range values {
			head := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name + "."), Class: dnsmessage.ClassINET, TTL: 0}
			if alias, ok := strings.CutPrefix(v, "alias "); ok {
				next = alias
				out.Answers = append(out.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(alias + ".")}})
				continue
			}
			addr := netip.MustParseAddr(v)
			switch {
			case addr.Is4() && q.Type == dnsmessage.TypeA:
				out.Answers = append(out.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: addr.As4()}})
			case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
				out.Answers = append(out.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if !known {
		out.RCode = dnsmessage.RCodeNameError
	}
	return out.Pack()
}

// turnOf is the part of values between the words "then" that is due.
func turnOf(values []string, turn int) []string {
	parts := strings.Split(strings.Join(values, "\n"), "\nthen\n")
	return strings.Split(parts[min(turn, len(parts)-1)], "\n")
}

// serveHTTP answers on l: where it was reached; /to/URL redirects there, /big/N
// is N bytes, /slow never ends.
func (o *outside) serveHTTP(l net.Listener) {
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
		o.count(o.met, at+" for "+r.Host)
		switch head, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); head {
		case "to":
			w.Header().Set("Location", rest)
			w.WriteHeader(http.StatusFound)
		case "big":
			var n int64
			fmt.Sscan(rest, &n)
			io.CopyN(w, zeros{}, n)
		case "slow":
			for {
				if _, err := fmt.Fprintln(w, "more"); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		default:
			fmt.Fprintf(w, "at %s for %s\n", at, r.Host)
		}
	}))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// internet is a program for tests: it is the outside in a network namespace of its
// own, at each of its arguments, and answers DNS on the first.
func internet() {
	o := newOutside(internetZone)
	for i, addr := range os.Args[1:] {
		for _, port := range []string{"80", "53"} {
			if port == "53" && i > 0 {
				continue
			}
			l, err := net.Listen("tcp", net.JoinHostPort(addr, port))
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			if port == "53" {
				go o.serveDNS(l)
			} else {
				go o.serveHTTP(l)
			}
		}
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// internetZone is what the names of the tests lead to. 9.9.9.0/24 and
// 2620:fe::/48 are the outside there, and 9.9.9.1 is the host itself.
var internetZone = map[string][]string{
	"example.com":         {"9.9.9.9"},
	"good.example":        {"9.9.9.9"},
	"six.example":         {"2620:fe::9"},
	"alias.example":       {"alias good.example"},
	"rebind-root.example": {"9.9.9.9", "then", "127.0.0.1"},
	"rebind-user.example": {"9.9.9.9", "then", "127.0.0.1"},
	"inner.example":       {"127.0.0.1"},
	"hidden.example":      {"alias inner.example"},
	"site.example":        {"10.0.0.1"},
	"shared.example":      {"100.64.0.1"},
	"unique.example":      {"fd00::1"},
	"link.example":        {"169.254.1.1"},
	"meta.example":        {"169.254.169.254"},
	"mapped.example":      {"::ffff:127.0.0.1"},
	"nat.example":         {"64:ff9b::7f00:1"},
	"nothing.example":     {"0.0.0.0"},
	"all.example":         {"224.0.0.1", "255.255.255.255"},
	"self.example":        {"9.9.9.1"},
	"mixed.example":       {"127.0.0.1", "9.9.9.9"},
	"loop.example":        {"alias pool.example"},
	"pool.example":        {"alias loop.example"},
	"ungranted.example":   {"9.9.9.9"},
}

// prober is a program for tests, inside: it does what its arguments say.
//
//	wait                    until it is stopped
//	raw ADDRESS TEXT…       connects, sends the texts (\x escapes), shows the answer
//	idle ADDRESS TEXT       the same, sends one byte a second, shows how it ended
//	udp ADDRESS             sends a datagram, shows how that went
//	get ADDRESS HOST PATH   asks for PATH, shows the status line and how many bytes
func prober() {
	args := os.Args[1:]
	switch args[0] {
	case "wait":
		for { // a select of nothing is a deadlock to the runtime, and ends the program
			time.Sleep(time.Hour)
		}
	case "udp":
		c, err := net.Dial("udp", args[1])
		if err == nil {
			_, err = c.Write([]byte("x"))
		}
		fmt.Println(err)
		return
	}
	c, err := net.DialTimeout("tcp", args[1], 10*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	switch args[0] {
	case "raw":
		for _, text := range args[2:] {
			c.Write([]byte(unescape(text)))
			time.Sleep(50 * time.Millisecond)
		}
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		got, err := io.ReadAll(c)
		fmt.Printf("%q %v\n", got, err)
	case "get":
		fmt.Fprintf(c, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", args[3], args[2])
		got, err := io.ReadAll(c)
		line, _, _ := strings.Cut(string(got), "\r\n")
		_, body, _ := strings.Cut(string(got), "\r\n\r\n")
		fmt.Printf("%s %d %v\n", line, len(body), err)
	case "idle":
		began := time.Now()
		go func() {
			for _, b := range []byte(strings.Repeat(unescape(args[2]), 100)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		got, _ := io.ReadAll(c)
		fmt.Printf("%q within a minute: %t\n", got, time.Since(began) < time.Minute)
	}
}

// unescape reads \xHH.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if strings.HasPrefix(s[i:], `\x`) && len(s) >= i+4 {
			fmt.Sscanf(s[i+2:i+4], "%02x", &c)
			i += 3
		} else {
			c = s[i]
		}
		b.WriteByte(c)
	}
	return b.String()
}
