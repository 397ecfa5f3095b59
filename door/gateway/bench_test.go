package gateway

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// BenchmarkRequest is one request after the other over a connection that is kept, with a client and a service
// that allocate nothing: the gateway's own part, of which the allocations count.
func BenchmarkRequest(b *testing.B) {
	end := []byte("\r\n\r\n")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nthere")
	s := start(b, Limits{}, func(c net.Conn) {
		head := make([]byte, 4096)
		for got := 0; ; {
			n, err := c.Read(head[got:])
			if err != nil {
				return
			}
			if got += n; bytes.HasSuffix(head[:got], end) {
				got = 0
				c.Write(answer)
			}
		}
	})
	c := dial(b, s.outside)
	c.SetDeadline(time.Time{})
	request := []byte(get("/raw", "User-Agent: curl/8", "Accept: */*"))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		for got := 0; !bytes.HasSuffix(buf[:got], []byte("there")); {
			n, err := c.Read(buf[got:])
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
		if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
			b.Fatalf("%q", buf[:64])
		}
	}
}
