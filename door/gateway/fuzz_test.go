package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
)

// inputOf reads what a test has in place of a connection.
func inputOf(raw string) *input { return &input{c: strings.NewReader(raw)} }

// readRequest reads one request and its body as the gateway does; ok is false if it refuses it.
func readRequest(in *input) (r request, body string, ok bool) {
	text, err := in.head(16 << 10)
	if err != nil || r.parse(text) != 0 || !r.locate() {
		return r, "", false
	}
	b := newBody(in, &r.framing, -1)
	b.most = 1 << 20
	body, err = readBody(b)
	return r, body, err == nil
}

func readBody(b *body) (string, error) {
	var all strings.Builder
	for {
		piece, err := b.next()
		if err == io.EOF && b.ended {
			return all.String(), nil
		}
		if err != nil {
			return all.String(), err
		}
		all.Write(piece)
	}
}

var someRequests = []string{
	get("/zoobar/index.cgi", "Cofferdam-Caller: bank", "Cofferdam_Caller: bank"),
	get("/zoobar/media/%2e%2e/x?a=b", "Connection: Cofferdam-Caller, Host, close"),
	post("/zoobar/index.cgi", "body", "Expect: 100-continue", "TE: trailers", "Upgrade: x"),
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Cofferdam-Caller\r\n\r\n2\r\nok\r\n0\r\nCofferdam-Caller: x\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://x//index.html HTTP/1.0\r\n a\r\nX-Request-ID: \x80\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
	"GET /%zz HTTP/1.1\r\nHost : a\r\n\r\n",
	"GET /a\tb HTTP/1.1\r\nHost: [::1]:80\r\nA:\t b \r\n\r\n",
	"GET / HTTP/1.1\nHost: a\r\n\n",
}

// What is taken for a request net/http takes for one, and the same: no other reading of what is
// accepted is known.
func FuzzDifferential(f *testing.F) {
	for _, raw := range someRequests {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		in := inputOf(raw)
		r, body, ok := readRequest(in)
		if !ok {
			return
		}
		std := bufio.NewReader(strings.NewReader(raw))
		want, err := http.ReadRequest(std)
		if err != nil {
			t.Fatalf("%q is accepted, and net/http says %v", raw, err)
		}
		wantBody, err := io.ReadAll(want.Body)
		if err != nil {
			t.Fatalf("the body of %q is accepted, and net/http says %v", raw, err)
		}
		if r.method != want.Method || r.target != want.RequestURI || r.path != want.URL.Path || r.host != want.Host || body != string(wantBody) {
			t.Errorf("%q is %s %s (%s) for %s with %q; net/http: %s %s (%s) for %s with %q", raw,
				r.method, r.target, r.path, r.host, body, want.Method, want.RequestURI, want.URL.Path, want.Host, wantBody)
		}
		if r.close != want.Close {
			t.Errorf("%q: close is %v; net/http: %v", raw, r.close, want.Close)
		}
		n := 0
		for _, one := range r.fields {
			if !strings.Contains("\n"+strings.Join(want.Header.Values(one.name), "\n")+"\n", "\n"+one.value+"\n") {
				t.Errorf("%q: %s is %q; net/http: %q", raw, one.name, one.value, want.Header.Values(one.name))
			}
			n++
		}
		for name, all := range want.Header {
			if k := kindOf(name); k == isPlain || k == isOurs {
				n -= len(all)
			}
		}
		if n != 0 {
			t.Errorf("%q: %d more fields than net/http finds", raw, n)
		}
		// And both see the next request begin at the same byte.
		left, _ := io.ReadAll(std)
		for in.fill() == nil {
		}
		if string(in.waiting()) != string(left) {
			t.Errorf("after %q comes %q; net/http: %q", raw, in.waiting(), left)
		}
	})
}

// The same of answers.
func FuzzDifferentialAnswers(f *testing.F) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\nall of it",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
		"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		in := inputOf(raw)
		text, err := in.head(64 << 10)
		var r response
		if err != nil || r.parse(text) != nil || r.status < 200 || r.status == http.StatusNoContent || r.status == http.StatusNotModified {
			return
		}
		body, err := readBody(newBody(in, &r.framing, -1))
		if err != nil {
			return
		}
		std := bufio.NewReader(strings.NewReader(raw))
		want, err := http.ReadResponse(std, nil)
		if err != nil {
			t.Fatalf("%q is accepted, and net/http says %v", raw, err)
		}
		wantBody, err := io.ReadAll(want.Body)
		if err != nil || want.StatusCode != r.status || string(wantBody) != body {
			t.Errorf("%q is %d with %q; net/http: %d with %q, %v", raw, r.status, body, want.StatusCode, wantBody, err)
		}
	})
}

// Whatever comes in: what goes out, as the bytes that a service reads, is one
// request with one caller and one id, ours, and no header that anything could
// take for another; and its path led to that service.
func FuzzHandle(f *testing.F) {
	for _, raw := range someRequests {
		f.Add(raw, true)
		f.Add(raw, false)
	}
	g, err := New(Config{
		Routes:   testRoutes,
		Services: map[string]int{"static": 8081, "dynamic": 8082, "raw": 8083, "down": 8084},
		Limits:   Limits{BodyBytes: 1000},
	}, io.Discard)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string, outside bool) {
		in := inputOf(raw)
		r, body, ok := readRequest(in)
		if !ok || refuse(&r, &g.config.Limits) != 0 {
			return
		}
		caller := callerOutside
		c := &client{g: g, entry: g.entry(newCapped(nil, 1), nil), req: r, addr: "192.0.2.1", peer: "192.0.2.1/32"}
		c.x = exchange{id: "THEID", caller: caller}
		choose := c.choose
		if !outside {
			caller = "bank"
			c.x.caller, c.said = caller, preface{caller: caller, callee: "dynamic", port: 8082}
			choose = c.chooseBridged
		}
		if choose() != 0 {
			return
		}
		c.req.scrub()
		sent := c.appendRequest(nil, int64(len(body)))
		head, after, _ := bytes.Cut(sent, []byte("\r\n\r\n"))
		if len(after) != 0 {
			t.Fatalf("%q reaches the service as %q", raw, sent)
		}
		h := make(http.Header)
		for _, line := range strings.Split(string(head), "\r\n")[1:] {
			name, value, ok := strings.Cut(line, ":")
			if !ok || name != textproto.TrimString(name) || !plainName(name) {
				t.Fatalf("%q reaches the service with the line %q", raw, line)
			}
			h.Add(name, textproto.TrimString(value))
		}
		if err := authentic(h, caller, "THEID"); err != nil {
			t.Errorf("%q reaches the service as %q: %v", raw, head, err)
		}
		for _, name := range []string{"Upgrade", "Te", "Trailer", "Expect", "Connection", "Transfer-Encoding"} {
			if h.Get(name) != "" {
				t.Errorf("%q reaches the service with %s: %q", raw, name, h.Get(name))
			}
		}
		seen, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(append(sent, body...))))
		if err != nil {
			t.Fatalf("%q reaches the service as %q: %v", raw, head, err)
		}
		if got, err := io.ReadAll(seen.Body); err != nil || seen.Method == r.method && string(got) != body {
			t.Errorf("%q reaches the service with the body %q, %v", raw, got, err)
		}
		if outside {
			if to := g.find(seen.URL.Path); to == nil || to.To != c.x.service || ambiguous(seen.URL.Path) {
				t.Errorf("%q reaches %q, but its path leads to %v", raw, c.x.service, to)
			}
		}
	})
}

// What is ours is also what a service's name can never be mistaken for.
func FuzzScrub(f *testing.F) {
	f.Add("Connection", "A, Cofferdam-Caller", "a_b", "c")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		var r framing
		if r.parseFields(n1+":"+v1+"\r\n"+n2+":"+v2+"\r\n\r\n", nil) != 0 {
			return
		}
		r.scrub()
		for _, one := range r.fields {
			if !plainName(one.name) || kindOf(one.name) != isPlain || r.lists(one.name) {
				t.Errorf("scrub leaves %q", one.name)
			}
		}
	})
}
