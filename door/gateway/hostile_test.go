package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Clients that do what they should not: each is refused or ends within its time, nothing that it hides is
// served, and somebody else is served all the while.
func TestHostileClients(t *testing.T) {
	const hidden = "GET /raw/hidden HTTP/1.1\r\nHost: a\r\n\r\n"
	head := func(lines ...string) string {
		return "POST /raw/x HTTP/1.1\r\nHost: a\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
	}
	chunked := "Transfer-Encoding: chunked"
	var seen, conns atomic.Int64
	s := start(t, Limits{TimeoutMS: 800, BodyBytes: 1 << 20}, keeps(&conns, func(c net.Conn, r *http.Request) string {
		if strings.Contains(r.URL.Path, "hidden") {
			seen.Add(1)
		}
		return tag(c, r)
	}))
	for _, tt := range []struct{ name, raw string }{
		{"a length and chunks", head("Content-Length: 4", chunked) + "0\r\n\r\n" + hidden},
		{"chunks and a length", head(chunked, "Content-Length: 4") + "0\r\n\r\n" + hidden},
		{"chunks in HTTP/1.0", strings.Replace(head(chunked), "1.1", "1.0", 1) + "0\r\n\r\n" + hidden},
		{"chunks twice", head(chunked, chunked) + "0\r\n\r\n" + hidden},
		{"chunks by another name", head("Transfer-Encoding: x, chunked") + "0\r\n\r\n" + hidden},
		{"chunks with a space before the colon", head("Transfer-Encoding : chunked", "Content-Length: 0") + hidden},
		{"chunks on a folded line", head("A: b", " Transfer-Encoding: chunked", "Content-Length: 0") + hidden},
		{"chunks after a line feed", head("A: b\nTransfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n" + hidden},
		{"chunks after a carriage return", head("A: b\rTransfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n" + hidden},
		{"a chunk with an extension", head(chunked) + "1;a=b\r\nx\r\n0\r\n\r\n" + hidden},
		{"a chunk with a line feed in its extension", head(chunked) + "1;\nx\r\n0\r\n\r\n" + hidden},
		{"a chunk that ends in a line feed", head(chunked) + "1\nx\r\n0\r\n\r\n" + hidden},
		{"a chunk that is longer than it says", head(chunked) + "1\r\nxx\r\n0\r\n\r\n" + hidden},
		{"a chunk of negative length", head(chunked) + "-1\r\nx\r\n0\r\n\r\n" + hidden},
		{"a chunk in hexadecimal", head(chunked) + "0x1\r\nx\r\n0\r\n\r\n" + hidden},
		{"a chunk of all lengths", head(chunked) + "ffffffffffffffff\r\nx\r\n0\r\n\r\n" + hidden},
		{"a chunk with an underscore", head(chunked) + "1_0\r\n0123456789abcdef\r\n0\r\n\r\n" + hidden},
		{"two lengths", head("Content-Length: 0", fmt.Sprint("Content-Length: ", len(hidden))) + hidden},
		{"a length in two", head("Content-Length: 0, 9") + hidden},
		{"a length with a sign", head("Content-Length: +0") + hidden},
		{"a length in hexadecimal", head("Content-Length: 0x0") + hidden},
		{"a length that overflows", head("Content-Length: 18446744073709551616") + hidden},
		{"a length with a zero byte", head("Content-Length: 0\x00") + hidden},
		{"no host", "POST /raw/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + hidden},
		{"another host in front", "POST http://b/raw/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + hidden},
		{"a space in the target", "GET /raw/x /raw/hidden HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"a tab in the first line", "GET\t/raw/hidden\tHTTP/1.1\r\nHost: a\r\n\r\n"},
		{"an upgrade, and then something else", get("/raw/x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x", "Content-Length: 4, 4") + hidden},
		{"a tunnel", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + hidden},
		{"chunks without end", head(chunked) + strings.Repeat("1\r\nx\r\n", 1<<20+2)},
		{"a trailer without end", head(chunked) + "0\r\n" + strings.Repeat("A: b\r\n", 4000)},
		{"a body that does not come", head("Content-Length: 100") + "x"},
		{"half a head", "GET /raw/hidden HTTP/1.1\r\nHost: a\r\n"},
		{"the end of a head in a byte at a time", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			c := dial(t, s.outside)
			go func() {
				if tt.raw != "" {
					io.WriteString(c, tt.raw)
					return
				}
				for _, b := range []byte(strings.Repeat("A: b\r\n", 1000)) {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			in := bufio.NewReader(c)
			if got := receive(t, in); got.Response != nil && (got.status() < 400 || !got.Close) {
				t.Errorf("answered %d %q, close %v", got.status(), got.text, got.Close)
			} else if got = receive(t, in); got.Response != nil {
				t.Errorf("and then %d %q", got.status(), got.text)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			other := dial(t, s.outside)
			io.WriteString(other, get("/raw/other"))
			if got := receive(t, bufio.NewReader(other)); got.text != "/raw/other" {
				t.Errorf("somebody else got %d %q, %v", got.status(), got.text, got.err)
			}
		})
	}
	if seen.Load() != 0 {
		t.Errorf("%d requests that were hidden were served", seen.Load())
	}
}

// Who ends its side before it has an answer has gone: so it was, and nobody can tell it from who has.
func TestHalfClosed(t *testing.T) {
	gone := make(chan error, 1)
	s := start(t, Limits{TimeoutMS: 20_000}, func(c net.Conn) {
		_, err := io.Copy(io.Discard, c)
		gone <- err
	})
	c := dial(t, s.outside)
	io.WriteString(c, get("/raw"))
	time.Sleep(50 * time.Millisecond)
	c.(*net.TCPConn).CloseWrite()
	if got := receive(t, bufio.NewReader(c)); got.Response != nil {
		t.Errorf("answered %d", got.status())
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("its service still works for it")
	}
	if !s.logs(`"status":499`) {
		t.Errorf("the log does not say so: %s", s.log)
	}
}
