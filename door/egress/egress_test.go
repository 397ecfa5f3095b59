package egress

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"cofferdam/address"
	"cofferdam/wire"
)

const patience = 10 * time.Second

// newDoor serves a door and returns how the monitor connects to it.
func newDoor(t *testing.T, resolvers ...netip.AddrPort) func(preface string) *net.TCPConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- New(Config{Resolvers: resolvers}, slog.New(slog.DiscardHandler)).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return func(preface string) *net.TCPConn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, preface)
		return c.(*net.TCPConn)
	}
}

// answer plays the monitor's side of a question: it reads it, and sends the code
// with what the other side says at once.
func answer(t *testing.T, remote net.Conn, code wire.Code, early string) string {
	t.Helper()
	f, err := wire.NewReader(remote).Next()
	if err != nil || f.Op != wire.OpCall || string(f.NameBytes) != "open" {
		t.Fatalf("the door asks %+v, %v", f, err)
	}
	reply := wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: f.ID, Code: code}})
	remote.Write(append(reply, early...))
	return string(f.Body)
}

func want(t *testing.T, c io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

func TestTunnel(t *testing.T) {
	connect := newDoor(t)
	for i, tt := range []struct{ name, ask, between, more, ok string }{
		{"connect", "CONNECT Host.Example.:443 HTTP/1.1\r\nHost: whatever\r\n\r\n", "", "", "HTTP/1.1 200 Connection established\r\n\r\n"},
		{"socks", "\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\x0cHOST.example\x01\xbb", "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
	} {
		for order := range 2 { // either may come first
			t.Run(fmt.Sprint(tt.name, order), func(t *testing.T) {
				num := 2*i + order
				var client, remote *net.TCPConn
				if order == 0 {
					remote = connect(fmt.Sprintf("COFFERDAM remote %d\n", num))
					client = connect(fmt.Sprintf("COFFERDAM client %d\n", num))
				} else {
					client = connect(fmt.Sprintf("COFFERDAM client %d\n", num))
					time.Sleep(10 * time.Millisecond)
					remote = connect(fmt.Sprintf("COFFERDAM remote %d\n", num))
				}
				io.WriteString(client, tt.ask)
				if tt.more != "" {
					want(t, client, tt.between)
					io.WriteString(client, tt.more)
				}
				io.WriteString(client, "eager") // does not wait for the answer
				if got := answer(t, remote, wire.OK, "banner"); got != "host.example:443" {
					t.Errorf("the door asks for %q", got)
				}
				want(t, client, tt.ok+"banner")
				want(t, remote, "eager")
				io.WriteString(client, "x")
				client.CloseWrite()
				want(t, remote, "x")
				if n, err := remote.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("the end does not come through: %d, %v", n, err)
				}
				io.WriteString(remote, "last")
				remote.Close()
				want(t, client, "last")
				if _, err := client.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the end does not come back: %v", err)
				}
			})
		}
	}
}

func TestRefusals(t *testing.T) {
	connect := newDoor(t)
	for i, tt := range []struct {
		code        wire.Code
		http, socks string
	}{
		{wire.Denied, "HTTP/1.1 403 Forbidden\r\n", "\x05\x02"},
		{wire.Unavailable, "HTTP/1.1 502 Bad Gateway\r\n", "\x05\x04"},
		{wire.Busy, "HTTP/1.1 503 Service Unavailable\r\n", "\x05\x01"},
		{wire.Malformed, "HTTP/1.1 503 Service Unavailable\r\n", "\x05\x01"},
	} {
		for j, ask := range []string{"CONNECT a.example:1 HTTP/1.1\r\n\r\n", "\x05\x01\x00\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50"} {
			num := 2*i + j
			remote := connect(fmt.Sprintf("COFFERDAM remote %d\n", num))
			client := connect(fmt.Sprintf("COFFERDAM client %d\n", num))
			io.WriteString(client, ask)
			answer(t, remote, tt.code, "not for the client")
			if j == 0 {
				want(t, client, tt.http)
			} else {
				want(t, client, "\x05\x00"+tt.socks)
			}
			if rest, _ := io.ReadAll(client); bytes.Contains(rest, []byte("not for the client")) {
				t.Errorf("after %v the client got %q", tt.code, rest)
			}
		}
	}
}

// Who is not the monitor, as far as the first line shows, gets nothing.
func TestPrefaces(t *testing.T) {
	connect := newDoor(t)
	for _, preface := range []string{
		"\n", "COFFERDAM\n", "COFFERDAM client\n", "COFFERDAM client x\n", "COFFERDAM client -1\n", "COFFERDAM  client 1\n", "cofferdam client 1\n",
		"COFFERDAM client 1 2\n", "COFFERDAM other 1\n", "GET / HTTP/1.1\n", "COFFERDAM client " + strings.Repeat("1", 600) + "\n", "\x05\x01\x00\n",
	} {
		if got, _ := io.ReadAll(connect(preface)); len(got) != 0 {
			t.Errorf("%q is answered with %q", preface, got)
		}
	}
}

// Many that offer one number, and a client that takes it: one gets through.
func TestPairsAreUsedOnce(t *testing.T) {
	connect := newDoor(t)
	first := connect("COFFERDAM remote 7\n")
	time.Sleep(20 * time.Millisecond)
	second := connect("COFFERDAM remote 7\n")
	if got, err := io.ReadAll(second); len(got) != 0 || err != nil {
		t.Errorf("a number that is taken: %q, %v", got, err)
	}
	client := connect("COFFERDAM client 7\n")
	io.WriteString(client, "CONNECT a.example:1 HTTP/1.1\r\n\r\n")
	answer(t, first, wire.OK, "")
	want(t, client, "HTTP/1.1 200")
}

func TestSpell(t *testing.T) {
	for _, tt := range []struct{ host, port, want string }{
		{"a.example", "80", "a.example:80"},
		{"A.Example.", "80", "a.example:80"},
		{"1.2.3.4", "80", "1.2.3.4:80"},
		{"::ffff:1.2.3.4", "80", "1.2.3.4:80"},
		{"2620:FE:0::FE", "80", "[2620:fe::fe]:80"},
		{"a.example..", "80", `"a.example..:80"`},
		{"a.example\x00b", "80", `"a.example\x00b:80"`},
		{"\u212a.example", "80", `"\u212a.example:80"`},
		{"fe80::1%lo", "80", `"fe80::1%lo:80"`},
		{"127.1", "80", `"127.1:80"`},
		{"a.example", "080", `"a.example:080"`},
		{"a.example", "0", `"a.example:0"`},
		{"a.example", "80 ", `"a.example:80 "`},
		{"", "", `":"`},
	} {
		if got := spell(tt.host, tt.port); got != tt.want {
			t.Errorf("spell(%q, %q) = %s, want %s", tt.host, tt.port, got, tt.want)
		}
	}
}

// Whatever a program says, what is asked for is an endpoint in its one spelling,
// or in quotes, and fits into the question.
func FuzzReadRequest(f *testing.F) {
	f.Add([]byte("CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\nrest"))
	f.Add([]byte("CONNECT [::1]:443 HTTP/1.0\n\n"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x09a.example\x00\x50"))
	f.Add([]byte("\x05\x02\x00\x02\x05\x01\x00\x04aaaaaaaaaaaaaaaa\x00\x50"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x0ba.example\x00b\x00\x50"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var said bytes.Buffer
		req, err := readRequest(&said, bufio.NewReaderSize(bytes.NewReader(b), maxHead))
		if said.Len() > 256 {
			t.Errorf("the answer to %q has %d bytes", b, said.Len())
		}
		if err != nil {
			return
		}
		if len(req.endpoint) > address.MaxName+len(":65535") {
			t.Errorf("%q asks for %d bytes", b, len(req.endpoint))
		}
		if req.endpoint[0] == '"' {
			return
		}
		if e, err := address.ParseEndpoint(req.endpoint); err != nil || e.String() != req.endpoint {
			t.Errorf("%q asks for %q: %v", b, req.endpoint, err)
		}
	})
}

// script is a server of DNS that answers each question by a function.
func script(t *testing.T, reply func(q dnsmessage.Message) []byte) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
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
					msg := make([]byte, int(size[0])<<8|int(size[1]))
					if _, err := io.ReadFull(c, msg); err != nil {
						return
					}
					var q dnsmessage.Message
					if err := q.Unpack(msg); err != nil {
						t.Errorf("the question is malformed: %v", err)
						return
					}
					out := reply(q)
					if out == nil {
						return
					}
					c.Write(append([]byte{byte(len(out) >> 8), byte(len(out))}, out...))
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func a(name string, ttl uint32, addr ...byte) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl},
		Body:   &dnsmessage.AResource{A: [4]byte(addr)},
	}
}

func alias(name, to string, ttl uint32) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl},
		Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(to)},
	}
}

// answers is a good reply to questions for A, and an empty one to others.
func answers(rs ...dnsmessage.Resource) func(dnsmessage.Message) []byte {
	return changed(func(*dnsmessage.Message) {}, rs...)
}

func changed(change func(*dnsmessage.Message), rs ...dnsmessage.Resource) func(dnsmessage.Message) []byte {
	return func(q dnsmessage.Message) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true}, Questions: q.Questions}
		if q.Questions[0].Type == dnsmessage.TypeA {
			m.Answers = rs
		}
		change(&m)
		out, err := m.Pack()
		if err != nil {
			panic(err)
		}
		return out
	}
}

func TestLookup(t *testing.T) {
	long := []dnsmessage.Resource{}
	for i := range maxChain + 1 {
		long = append(long, alias(fmt.Sprintf("n%d.example.", i), fmt.Sprintf("n%d.example.", i+1), 60))
	}
	last := fmt.Sprintf("n%d.example.", maxChain+1)
	many := []dnsmessage.Resource{}
	for i := range 40 {
		many = append(many, a("n0.example.", 60, 1, 2, 3, byte(i)))
	}
	for _, tt := range []struct {
		name  string
		reply func(dnsmessage.Message) []byte
		want  string // addresses and TTL, or the error
	}{
		{"one", answers(a("n0.example.", 60, 1, 2, 3, 4)), "[1.2.3.4] 1m0s"},
		{"capitals", answers(a("N0.EXAMPLE.", 60, 1, 2, 3, 4)), "[1.2.3.4] 1m0s"},
		{"the least TTL", answers(alias("n0.example.", "n1.example.", 5), a("n1.example.", 60, 1, 2, 3, 4)), "[1.2.3.4] 5s"},
		{"a TTL beyond any", answers(a("n0.example.", 1<<31, 1, 2, 3, 4)), "[1.2.3.4] 0s"},
		{"somebody else's", answers(a("other.example.", 60, 1, 2, 3, 4)), "no address"},
		{"an alias to nowhere", answers(alias("n0.example.", "n1.example.", 5), a("n2.example.", 60, 1, 2, 3, 4)), "no address"},
		{"a long chain", answers(append(append([]dnsmessage.Resource{}, long[:maxChain]...), a(fmt.Sprintf("n%d.example.", maxChain), 60, 1, 2, 3, 4))...), "[1.2.3.4] 1m0s"},
		{"too long a chain", answers(append(append([]dnsmessage.Resource{}, long...), a(last, 60, 1, 2, 3, 4))...), "more than 8 aliases in a row"},
		{"a circle", answers(alias("n0.example.", "n1.example.", 5), alias("n1.example.", "n0.example.", 5)), "more than 8 aliases in a row"},
		{"many", answers(many...), "[1.2.3.0 1.2.3.1 1.2.3.2 1.2.3.3 1.2.3.4 1.2.3.5 1.2.3.6 1.2.3.7] 1m0s"},
		{"none", answers(), "no address"},
		{"no such name", changed(func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }), "no address"},
		{"a failure", changed(func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }), "the resolver says RCodeServerFailure"},
		{"another id", changed(func(m *dnsmessage.Message) { m.ID++ }, a("n0.example.", 60, 1, 2, 3, 4)), "not the answer to what was asked"},
		{"a question", changed(func(m *dnsmessage.Message) { m.Response = false }, a("n0.example.", 60, 1, 2, 3, 4)), "not the answer to what was asked"},
		{"another name", changed(func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("n9.example.") }, a("n0.example.", 60, 1, 2, 3, 4)), "not the answer to what was asked"},
		{"two questions", changed(func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }, a("n0.example.", 60, 1, 2, 3, 4)), "not the answer to what was asked"},
		{"cut short", changed(func(m *dnsmessage.Message) { m.Truncated = true }, a("n0.example.", 60, 1, 2, 3, 4)), "an answer that was cut short"},
		{"nothing", func(dnsmessage.Message) []byte { return nil }, "EOF"},
		{"noise", func(dnsmessage.Message) []byte { return []byte("noise") }, "unpacking header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d net.Dialer
			r := &Resolver{Servers: []netip.AddrPort{script(t, tt.reply)}, Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
				return d.DialContext(ctx, "tcp", to.String())
			}}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			got, err := r.Lookup(ctx, "n0.example")
			text := fmt.Sprint(got.Addrs, " ", got.TTL)
			if err != nil {
				text = err.Error()
			}
			if !strings.HasPrefix(text, tt.want) {
				t.Errorf("Lookup = %s, want %s", text, tt.want)
			}
		})
	}
}

// A resolver that fails, or says nothing, is not the end.
func TestLookupAsksTheNext(t *testing.T) {
	silent := make(chan struct{})
	defer close(silent)
	servers := []netip.AddrPort{
		script(t, changed(func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeRefused })),
		script(t, func(dnsmessage.Message) []byte { <-silent; return nil }),
		script(t, answers(a("n0.example.", 60, 1, 2, 3, 4))),
	}
	connect := newDoor(t, servers...)
	c := connect("COFFERDAM resolve n0.example\n")
	f, err := wire.NewReader(c).Next()
	if err != nil || f.Code != wire.OK {
		t.Fatalf("resolve: %+v, %v", f, err)
	}
	if got, err := wire.ParseAnswer(f.Body); err != nil || len(got.Addrs) != 1 || got.TTL != time.Minute {
		t.Errorf("resolve = %+v, %v", got, err)
	}
	for name, code := range map[string]wire.Code{"n1.example": wire.Failed, "localhost": wire.Failed, "a..b": wire.Failed} {
		c := newDoor(t, servers[2])("COFFERDAM resolve " + name + "\n")
		if f, err := wire.NewReader(c).Next(); err != nil || f.Code != code {
			t.Errorf("resolve %s: %v, %v, want %v", name, f.Code, err, code)
		}
	}
	if f, err := wire.NewReader(newDoor(t)("COFFERDAM resolve n0.example\n")).Next(); err != nil || f.Code != wire.Unavailable {
		t.Errorf("resolve with nobody to ask: %v, %v", f.Code, err)
	}
}

// Whatever a server says, an answer is within its bounds and comes from a message
// that has our question.
func FuzzParseReply(f *testing.F) {
	q, err := question("n0.example", dnsmessage.TypeA)
	if err != nil {
		f.Fatal(err)
	}
	ask := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{q}}
	f.Add(answers(a("n0.example.", 60, 1, 2, 3, 4))(ask))
	f.Add(answers(alias("n0.example.", "n1.example.", 5), a("n1.example.", 60, 1, 2, 3, 4))(ask))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseReply(b, 7, q)
		if err != nil {
			return
		}
		if len(got.Addrs) == 0 || len(got.Addrs) > wire.MaxAddresses/2 || got.TTL < 0 {
			t.Errorf("parseReply(%x) = %+v", b, got)
		}
		if _, err := wire.ParseAnswer(got.Append(nil)); err != nil {
			t.Errorf("parseReply(%x) = %+v, which does not go through the wire: %v", b, got, err)
		}
		if b[0] != 0 || b[1] != 7 || b[2]&0x80 == 0 {
			t.Errorf("parseReply(%x) accepts another's answer", b)
		}
	})
}
