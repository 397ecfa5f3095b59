package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestRoutes(t *testing.T) {
	s := start(t, Limits{}, nil)
	for _, tt := range []struct {
		path   string
		status int
		text   string
	}{
		{"/", 200, "from static"},
		{"/index.html", 200, "from static"},
		{"/zoobar/media/lion_awake.jpg", 200, "from static"},
		{"/zoobar/media/never", 200, "from static"}, // the first match wins
		{"/zoobar/index.cgi", 200, "from dynamic"},
		{"/zoobar/index.cgi/users?user=a%26b", 200, "from dynamic"},
		{"/zoobar/index.cgi/a%2Fb", 200, "from dynamic"},
		{"/zoobar/index%2ecgi/x", 200, "from dynamic"}, // matched decoded
		{"/zoobar/indexxcgi", 404, ""},
		{"/zoobar/index.cgix", 404, ""},
		{"/x/zoobar/index.cgi", 404, ""},
		{"/index.html/", 404, ""},
		{"//zoobar/index.cgi", 404, ""},
		{"/zoobar//index.cgi", 404, ""},
		{"/favicon.ico%0a", 400, ""},
		{"/zoobar/media/%00", 400, ""},
		{"/zoobar/media/..", 400, ""},
		{"/zoobar/media/../index.cgi", 400, ""},
		{"/zoobar/media/%2e%2e/index.cgi", 400, ""},
		{"/zoobar/media/.%2E%2Findex.cgi", 400, ""},
		{"/zoobar/media/..%5cindex.cgi", 400, ""},
		{"/zoobar/media/./x", 400, ""},
		{"/zoobar/media/%7f", 400, ""},
		{"/zoobar/media/...", 200, "from static"},
		{"/zoobar/media/%252e%252e/x", 200, "from static"}, // decoded once: a name with percents
		{"/zoobar/media/%ff%fe", 200, "from static"},
		{"/zoobar/media/%zz", 400, ""},
		{"zoobar/index.cgi", 400, ""},
		{"*", 400, ""},
		{"http://elsewhere/zoobar/index.cgi", 400, ""},
	} {
		t.Run(tt.path, func(t *testing.T) {
			got := send(t, s.outside, get(tt.path))
			if got.status() != tt.status || tt.text != "" && got.text != tt.text {
				t.Errorf("GET %s = %d %q, want %d %q", tt.path, got.status(), got.text, tt.status, tt.text)
			}
		})
	}
}

// What was matched is what is sent: the target reaches the service as written.
func TestTargetIsPassedOn(t *testing.T) {
	s := start(t, Limits{}, nil)
	for _, target := range []string{
		"/zoobar/index.cgi/a%2Fb%20c?x=1;y=%zz&z=+",
		"/zoobar/index%2ecgi",
		"/zoobar/index.cgi?",
	} {
		send(t, s.outside, get(target))
		seen := s.dynamic.requests()
		if got := seen[len(seen)-1]; got.RequestURI != target || got.Host != "zoobar.example" {
			t.Errorf("GET %s reaches the service as %s for host %s", target, got.RequestURI, got.Host)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := start(t, Limits{HeaderBytes: 16 << 10, BodyBytes: 1000}, nil)
	const dyn = "/zoobar/index.cgi"
	for _, tt := range []struct {
		name, raw string
		status    int
	}{
		{"a method that opens a tunnel", "CONNECT bank:8081 HTTP/1.1\r\nHost: bank:8081\r\n\r\n", 405},
		{"a method that reflects headers", "TRACE " + dyn + " HTTP/1.1\r\nHost: a\r\n\r\n", 405},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"a version from the future", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two hosts", get("/", "Host: b"), 400},
		{"a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		{"a long target", get(dyn + "?" + strings.Repeat("x", maxURI)), 414},
		{"a target that fills the header", get("/" + strings.Repeat("x", 64<<10)), 431},
		{"a long header", get(dyn, "A: "+strings.Repeat("x", 64<<10)), 431},
		{"many headers", get(dyn, strings.Repeat("A: b\r\n", 10_000)+"A: b"), 431},
		{"a large body", post(dyn, strings.Repeat("x", 1001)), 413},
		{"a large body that says nothing of its size", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat("64\r\n"+strings.Repeat("x", 100)+"\r\n", 11) + "0\r\n\r\n", 413},
		{"a body just small enough", post(dyn, strings.Repeat("x", 1000)), 200},
		{"a chunk that is none", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"two different lengths", post(dyn, "body", "Content-Length: 5"), 400},
		{"a list of lengths", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nbody", 400},
		{"a negative length", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
		{"a length with a sign", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody", 400},
		{"an unknown coding", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
		{"two codings", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
		{"a space before the colon", get(dyn, "Cofferdam-Caller : bank"), 400},
		{"a line without a colon", get(dyn, "Cofferdam-Caller"), 400},
		{"a control character in a header", get(dyn, "A: b\x00c"), 400},
		{"a bare carriage return in a header", get(dyn, "A: b\rCofferdam-Caller: bank"), 400},
		{"no request at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, s.outside, tt.raw)
			if got.status() != tt.status {
				t.Errorf("got %d %q (%v), want %d", got.status(), got.text, got.err, tt.status)
			}
		})
	}
}

func TestOrdinaryRequests(t *testing.T) {
	s := start(t, Limits{}, nil)
	s.dynamic.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		io.WriteString(w, "made")
	}
	const dyn = "/zoobar/index.cgi"
	for _, tt := range []struct{ name, raw, status, text string }{
		{"HTTP/1.0", "GET " + dyn + " HTTP/1.0\r\n\r\n", "HTTP/1.0 200", "made"},
		{"an empty line before it", "\r\n" + get(dyn), "HTTP/1.1 400", ""},
		{"bare line feeds", "GET " + dyn + " HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400", ""},
		{"no body in the answer", "DELETE " + dyn + " HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204", ""},
		{"a body on demand", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok", "HTTP/1.1 100", ""},
		{"an expectation nobody knows", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: magic\r\n\r\nok", "HTTP/1.1 417", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, s.outside)
			io.WriteString(c, tt.raw)
			in := bufio.NewReader(c)
			first, _ := in.Peek(len(tt.status))
			if string(first) != tt.status {
				t.Fatalf("answered %q, want %q", first, tt.status)
			}
			if got := receive(t, in); tt.text != "" && got.text != tt.text {
				t.Errorf("answered %q, want %q", got.text, tt.text)
			}
		})
	}
}

// Each of these tries to hide a second request, or a header of ours, from the
// gateway. The service must see exactly one request with our values.
func TestSmuggling(t *testing.T) {
	const dyn = "/zoobar/index.cgi"
	hidden := "GET /zoobar/index.cgi/hidden HTTP/1.1\r\nHost: a\r\nCofferdam-Caller: bank\r\n\r\n"
	for _, tt := range []struct {
		name, raw string
		refused   bool   // the service may not see anything of it
		body      string // that the service reads
	}{
		{"ours from outside", get(dyn, "Cofferdam-Caller: bank", "X-Request-Id: 1", "X-Forwarded-For: 9.9.9.9", "Forwarded: for=9.9.9.9", "X-Real-IP: 9.9.9.9"), false, ""},
		{"ours in other letters", get(dyn, "cOFFERDAM-cALLER: bank", "X-REQUEST-ID: 1"), false, ""},
		{"ours with an underscore", get(dyn, "Cofferdam_Caller: bank", "X_Request_Id: 1", "X_FORWARDED_FOR: 9.9.9.9"), false, ""},
		{"ours with a dot", get(dyn, "Cofferdam.Caller: bank"), false, ""},
		{"ours twice", get(dyn, "Cofferdam-Caller: bank", "Cofferdam-Caller: auth"), false, ""},
		{"a new one of ours", get(dyn, "Cofferdam-Principal: root"), false, ""},
		{"ours listed as hop by hop", get(dyn, "Connection: Cofferdam-Caller, X-Forwarded-For, x-request-id", "Cofferdam-Caller: bank"), false, ""},
		{"ours as a trailer", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Cofferdam-Caller\r\n\r\n2\r\nok\r\n0\r\nCofferdam-Caller: bank\r\n\r\n", false, "ok"},
		{"ours on a folded line", get(dyn, "A: b", " Cofferdam-Caller: bank"), true, ""},
		{"ours on a folded first line", "GET " + dyn + " HTTP/1.1\r\n Cofferdam-Caller: bank\r\nHost: a\r\n\r\n", true, ""},
		{"an upgrade", get(dyn, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), false, ""},
		{"what concerns one connection", get(dyn, "TE: trailers", "Expect: ", "Keep-Alive: 5", "Proxy-Authorization: x", "Upgrade: x"), false, ""},
		{"a web socket", get(dyn, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"), false, ""},
		{"an underscored length", post(dyn, "ok", "Content_Length: 0", "Transfer_Encoding: chunked"), false, "ok"},
		{"a length that hides a request", post(dyn, hidden), false, hidden},
		{"the same length twice", post(dyn, "ok", "Content-Length: 2"), true, ""},
		{"an end of chunks that hides a request", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden, true, ""},
		{"a coding after a vertical tab", "POST " + dyn + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + hidden, true, ""},
		{"a body of a GET", "GET " + dyn + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", false, "ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, Limits{}, nil)
			got := send(t, s.outside, tt.raw)
			seen := s.dynamic.requests()
			if tt.refused {
				if len(seen) != 0 || got.status() < 400 {
					t.Fatalf("answered %d, and the service saw %d requests", got.status(), len(seen))
				}
				return
			}
			if len(seen) != 1 || got.status() != 200 {
				t.Fatalf("answered %d %q, and the service saw %d requests, want 1", got.status(), got.text, len(seen))
			}
			if body := s.dynamic.bodies()[0]; body != tt.body {
				t.Errorf("the service read %q, want %q", body, tt.body)
			}
			r := seen[0]
			if err := authentic(r.Header, callerOutside, got.Header.Get(headerID)); err != nil {
				t.Errorf("%v in %v", err, r.Header)
			}
			if got := r.Header["X-Forwarded-For"]; len(got) != 1 || got[0] != "127.0.0.1" {
				t.Errorf("X-Forwarded-For = %q", got)
			}
			for name, k := range kinds {
				if got := r.Header.Get(name); got != "" && k != isOurs && k != isHost && k != isLength {
					t.Errorf("%s reached the service", name)
				}
			}
			if len(r.Trailer) != 0 {
				t.Errorf("trailer %v, header %v reached the service", r.Trailer, r.Header)
			}
		})
	}
}

// authentic tells whether h names exactly one caller and one id, ours, under
// every reading of a header's name.
func authentic(h http.Header, caller, id string) error {
	want := map[string]string{"cofferdam-caller": caller, "x-request-id": id}
	seen := 0
	for name, values := range h {
		folded := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
		value, known := want[folded]
		if !known {
			if strings.HasPrefix(folded, "cofferdam-") {
				return fmt.Errorf("%s reached the service", name)
			}
			continue
		}
		if len(values) != 1 || values[0] != value {
			return fmt.Errorf("%s = %q, want %q", name, values, value)
		}
		seen++
	}
	if seen != len(want) {
		return fmt.Errorf("%d headers of ours, want %d", seen, len(want))
	}
	return nil
}

// A length and chunks together: who stands before the gateway may go by one and who stands behind it
// by the other. It is refused, and nothing after it on the connection is taken for a request.
func TestLengthAndChunks(t *testing.T) {
	for _, order := range []string{
		"Content-Length: 300\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nContent-Length: 3",
	} {
		s := start(t, Limits{}, nil)
		c := dial(t, s.outside)
		hidden := get("/zoobar/index.cgi/hidden")
		fmt.Fprintf(c, "POST /zoobar/index.cgi HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n2\r\nok\r\n0\r\n\r\n%s", order, hidden)
		in := bufio.NewReader(c)
		first, second := receive(t, in), receive(t, in)
		if first.status() != 400 || !first.Close || second.Response != nil {
			t.Errorf("%q: answered %d (close %v), then %d", order, first.status(), first.Close, second.status())
		}
		if n := len(s.dynamic.requests()); n != 0 {
			t.Errorf("%q: the service saw %d requests", order, n)
		}
	}
}

func TestSlowClients(t *testing.T) {
	s := start(t, Limits{TimeoutMS: 300}, func(c net.Conn) { io.Copy(io.Discard, c) })
	t.Run("not the client but the service", func(t *testing.T) {
		if got := send(t, s.outside, post("/raw", "body")); got.status() != 504 {
			t.Errorf("a whole body and no answer: %d, %v, want 504", got.status(), got.err)
		}
	})
	t.Run("header", func(t *testing.T) {
		c := dial(t, s.outside)
		begin := time.Now()
		go func() {
			for _, b := range get("/", "A: "+strings.Repeat("x", 1000)) {
				if _, err := c.Write([]byte{byte(b)}); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		got := receive(t, bufio.NewReader(c))
		if took := time.Since(begin); got.status() == 200 || took > 5*time.Second {
			t.Errorf("a header byte by byte: %d after %v", got.status(), took)
		}
	})
	t.Run("body", func(t *testing.T) {
		c := dial(t, s.outside)
		io.WriteString(c, strings.TrimSuffix(post("/zoobar/index.cgi", strings.Repeat("x", 100)), "x"))
		if got := receive(t, bufio.NewReader(c)); got.status() != 408 {
			t.Errorf("a body that does not end: %d %q, want 408", got.status(), got.text)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		c := dial(t, s.outside)
		if got := receive(t, bufio.NewReader(c)); got.Response != nil || !errors.Is(got.err, io.ErrUnexpectedEOF) {
			t.Errorf("a silent client got %d, %v, want the end", got.status(), got.err)
		}
	})
}

func TestServiceFails(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
	for _, tt := range []struct {
		name   string
		raw    func(net.Conn)
		path   string
		status int
		broken bool // the body must not look complete
	}{
		{"nobody listens", nil, "/down", 503, false},
		{"it closes at once", func(c net.Conn) {}, "/raw", 502, false},
		{"it closes after the request", func(c net.Conn) { http.ReadRequest(bufio.NewReader(c)) }, "/raw", 502, false},
		{"it speaks something else", answering("220 mail.example ESMTP\r\n"), "/raw", 502, false},
		{"it sends a header too long", answering("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 2*maxResponseHeader) + "\r\nContent-Length: 0\r\n\r\n"), "/raw", 502, false},
		{"it switches protocols", answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "/raw", 502, false},
		{"it switches protocols by name", answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), "/raw", 502, false},
		{"it switches protocols to none", answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n"), "/raw", 502, false},
		{"it says nothing", func(c net.Conn) { io.Copy(io.Discard, c) }, "/raw", 504, false},
		{"the monitor answers for it", answering("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), "/raw", 503, false},
		{"it dies in mid-answer", answering(head + "some"), "/raw", 200, true},
		{"it dies in mid-chunk", answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nsome"), "/raw", 200, true},
		{"it hangs in mid-answer", func(c net.Conn) {
			answering(head + "some")(c)
			io.Copy(io.Discard, c)
		}, "/raw", 200, true},
		{"it dies late in its answer", answering("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 50_000)), "/raw", 200, true},
		{"it answers two responses", answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), "/raw", 200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, Limits{TimeoutMS: 700}, tt.raw)
			got := send(t, s.outside, get(tt.path))
			if got.status() != tt.status || (got.err != nil) != tt.broken {
				t.Fatalf("got %d %q, %v, want %d", got.status(), got.text, got.err, tt.status)
			}
			if tt.broken && !s.logs(errCutShort.Error()) {
				t.Errorf("the log does not say so: %s", s.log)
			}
			if tt.status < 400 {
				return
			}
			for _, secret := range []string{"8081", "127.0.0.1", "raw", "down", "dial", "EOF", "refused", "mail"} {
				if strings.Contains(got.text, secret) {
					t.Errorf("the page tells %q:\n%s", secret, got.text)
				}
			}
			if id := got.Header.Get(headerID); !strings.Contains(got.text, id) || !s.logs(id) {
				t.Errorf("the id %q is missing from the page or the log:\n%s", id, got.text)
			}
		})
	}
}

func answering(s string) func(net.Conn) {
	return func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, s)
	}
}

// A request of which nothing has reached an instance is held until there is one; one that may have been
// seen is sent again once, if it is safe.
func TestHold(t *testing.T) {
	const nobody = "HTTP/1.1 503 Service Unavailable\r\nCofferdam-Unreached: yes\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	body := func(n int) string { return strings.Repeat("x", n) }
	chunked := "POST /raw HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
	answered := func(c net.Conn, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%d %v", len(b), err)
	}
	unreached := func(c net.Conn, r *http.Request) {
		if r.ContentLength < maxKept {
			io.Copy(io.Discard, r.Body)
		}
		io.WriteString(c, nobody)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
	}
	ends := func(net.Conn, *http.Request) {}
	type does []func(net.Conn, *http.Request)
	for _, tt := range []struct {
		name, raw string
		does      does // on each connection, the last one on all further ones
		status    int
		text      string
		done      string
		times     int // that an instance was looked for, 0 for more than two
	}{
		{"GET, nobody for a while", get("/raw"), does{unreached, unreached, unreached, answered}, 200, "0 <nil>", "", 4},
		{"POST, nobody for a while", post("/raw", "ok"), does{unreached, unreached, answered}, 200, "2 <nil>", "", 3},
		{"POST of all that is kept", post("/raw", body(maxKept)), does{unreached, answered}, 200, fmt.Sprint(maxKept, " <nil>"), "", 2},
		{"POST of chunks", chunked, does{unreached, answered}, 200, "2 <nil>", "", 2},
		{"POST of more than is kept", post("/raw", body(maxKept+1)), does{unreached, answered}, 503, "Nothing was done", "no", 1},
		{"GET, nobody", get("/raw"), does{unreached}, 503, "Nothing was done", "no", 0},
		{"POST, nobody", post("/raw", "ok"), does{unreached}, 503, "Nothing was done", "no", 0},
		{"GET, it ends", get("/raw"), does{ends, answered}, 200, "0 <nil>", "", 2},
		{"GET, it ends and nobody is there for a while", get("/raw"), does{ends, unreached, unreached, answered}, 200, "0 <nil>", "", 4},
		{"GET, it ends twice", get("/raw"), does{ends, ends, answered}, 502, "may have been done, or not", "maybe", 2},
		{"GET with a body, it ends", "GET /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", does{ends, answered}, 200, "2 <nil>", "", 2},
		{"HEAD, it ends", "HEAD /raw HTTP/1.1\r\nHost: a\r\n\r\n", does{ends, answered}, 200, "", "", 2},
		{"POST, it ends", post("/raw", "ok"), does{ends, answered}, 502, "may have been done, or not", "maybe", 1},
		{"POST without a body, it ends", "POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", does{ends, answered}, 502, "may have been done, or not", "maybe", 1},
		{"DELETE, it ends", "DELETE /raw HTTP/1.1\r\nHost: a\r\n\r\n", does{ends, answered}, 502, "may have been done, or not", "maybe", 1},
		{"POST, nobody, then it ends", post("/raw", "ok"), does{unreached, ends, answered}, 502, "may have been done, or not", "maybe", 2},
		{"GET, it has begun to answer", get("/raw"), does{func(c net.Conn, _ *http.Request) { io.WriteString(c, "HTTP/1.1 2") }, answered}, 502, "may have been done", "maybe", 1},
		{"the service is broken", get("/raw"), does{func(c net.Conn, _ *http.Request) {
			io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}, answered}, 503, "Nothing was done", "no", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var times atomic.Int64
			s := start(t, Limits{TimeoutMS: 1500}, func(c net.Conn) {
				n := int(times.Add(1)) - 1
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					tt.does[min(n, len(tt.does)-1)](c, r)
				}
			})
			got := send(t, s.outside, tt.raw)
			if n := int(times.Load()); got.status() != tt.status || !strings.Contains(got.text, tt.text) || got.Header.Get(headerDone) != tt.done ||
				n != tt.times && (tt.times != 0 || n <= 2) {
				t.Errorf("got %d %q, done: %q, after %d attempts; want %+v", got.status(), got.text, got.Header.Get(headerDone), n, tt)
			}
		})
	}
}

// A service that was sent a whole request and says nothing for too long is reset, which tells the
// monitor so; one whose client has not sent all, or has gone, is not.
func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name, raw string
		gone      bool // the client, before anything comes
		reset     bool
	}{
		{"says nothing", get("/raw"), false, true},
		{"says nothing to a body", post("/raw", strings.Repeat("x", 2*maxKept)), false, true},
		{"has not been sent all", "POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 2*maxKept), false, false},
		{"to a client that has gone", get("/raw"), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ended := make(chan error, 1)
			s := start(t, Limits{TimeoutMS: 1000, AnswerMS: 300}, func(c net.Conn) {
				_, err := io.Copy(io.Discard, c)
				ended <- err
			})
			c, err := net.Dial("tcp", s.outside)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, tt.raw)
			if tt.gone {
				time.Sleep(100 * time.Millisecond)
				c.Close()
			}
			if err := <-ended; errors.Is(err, syscall.ECONNRESET) != tt.reset {
				t.Errorf("the service's connection ends with %v; a reset is %v", err, tt.reset)
			}
			if tt.reset {
				res, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || res.StatusCode != 504 || res.Header.Get(headerDone) != "maybe" {
					t.Errorf("the client gets %+v, %v", res, err)
				}
			}
		})
	}
}

func TestResponsesAreCleaned(t *testing.T) {
	s := start(t, Limits{}, nil)
	s.dynamic.answer = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "forged")
		w.Header().Set("Cofferdam-Caller", "leak")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusTeapot)
	}
	got := send(t, s.outside, get("/zoobar/index.cgi"))
	if got.status() != http.StatusTeapot || len(got.Header["Set-Cookie"]) != 2 {
		t.Errorf("the service's answer arrives as %d %v", got.status(), got.Header)
	}
	if id := got.Header["X-Request-Id"]; len(id) != 1 || id[0] == "forged" || got.Header.Get(headerCaller) != "" {
		t.Errorf("headers of ours: %v", got.Header)
	}
}

func TestRequestIDs(t *testing.T) {
	s := start(t, Limits{}, nil)
	seen := make(map[string]bool)
	for range 50 {
		got := send(t, s.outside, get("/zoobar/index.cgi", "X-Request-Id: mine"))
		id := got.Header.Get(headerID)
		if len(id) < 26 || seen[id] {
			t.Fatalf("id %q is short or was given before", id)
		}
		seen[id] = true
	}
	for _, r := range s.dynamic.requests() {
		if !seen[r.Header.Get(headerID)] {
			t.Errorf("the service was given id %q, the client another", r.Header.Get(headerID))
		}
	}
}

func TestConnectionCap(t *testing.T) {
	s := start(t, Limits{Connections: 4, PerPeer: 4}, nil)
	for range 3 {
		dial(t, s.outside) // and say nothing
	}
	// The fourth is served, and asked to leave, for the place is crowded.
	c := dial(t, s.outside)
	io.WriteString(c, get("/"))
	if got := receive(t, bufio.NewReader(c)); got.status() != 200 || !got.Close {
		t.Fatalf("the fourth of four connections got %d, close %v", got.status(), got.Close)
	}
	last := dial(t, s.outside)
	held := dial(t, s.outside)
	io.WriteString(held, get("/"))
	held.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if got := receive(t, bufio.NewReader(held)); got.Response != nil {
		t.Fatalf("a connection over the cap was served: %d", got.status())
	}
	last.Close()
	held.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got := receive(t, bufio.NewReader(held)); got.status() != 200 {
		t.Errorf("when there is room again: %d, %v", got.status(), got.err)
	}
}

func TestLog(t *testing.T) {
	s := start(t, Limits{TimeoutMS: 1000}, nil)
	send(t, s.outside, get("/zoobar/index.cgi/%1b%5b31m?password=hunter2"))
	send(t, s.outside, get("/zoobar/index.cgi/"+strings.Repeat("a", 2000)+"?password=hunter2"))
	send(t, s.outside, get("/down"))
	s.logs(`"status":503`)
	out := s.log.String()
	var statuses []int
	for line := range strings.Lines(out) {
		var entry struct {
			Caller, Peer, Path string
			Status             int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("log line %q: %v", line, err)
		}
		if entry.Caller != callerOutside || entry.Peer == "" || len(entry.Path) > maxLogged+4 {
			t.Errorf("log line %q", line)
		}
		statuses = append(statuses, entry.Status)
	}
	if fmt.Sprint(statuses) != "[400 200 503]" {
		t.Errorf("statuses in the log: %v", statuses)
	}
	if strings.Contains(out, "hunter2") || strings.Contains(out, "\x1b") {
		t.Errorf("the log tells a query or holds a control character:\n%s", out)
	}
}

func TestStopLetsRequestsFinish(t *testing.T) {
	g, err := New(Config{Routes: []Route{{Path: `/.*`, To: "localhost"}}, Services: map[string]int{"localhost": slowService(t)}}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	outside := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { g.Serve(ctx, outside, nil); close(done) }()
	c := dial(t, outside.Addr().String())
	io.WriteString(c, get("/"))
	time.Sleep(100 * time.Millisecond)
	cancel()
	if got := receive(t, bufio.NewReader(c)); got.status() != 200 || got.text != "slow" {
		t.Errorf("a request in progress got %d %q", got.status(), got.text)
	}
	<-done
	if c, err := net.Dial("tcp", outside.Addr().String()); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
}

func slowService(t *testing.T) int {
	l := listen(t)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(300 * time.Millisecond)
		io.WriteString(w, "slow")
	}))
	return l.Addr().(*net.TCPAddr).Port
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct{ name, config, want string }{
		{"nothing", ``, "empty"},
		{"an unknown key", `{"listen": 1}`, "unknown field"},
		{"something after it", `{} {}`, "follows"},
		{"a route to nobody", `{"routes":[{"path":"/","to":"bank"}]}`, `no service "bank"`},
		{"a route that is no expression", `{"services":{"a":1},"routes":[{"path":"(","to":"a"}]}`, "missing closing )"},
		{"a route that undoes the anchors", `{"services":{"a":1},"routes":[{"path":"/)|(.*","to":"a"}]}`, "unexpected )"},
		{"a port", `{"services":{"a":65536}}`, "port 65536"},
		{"a name", `{"services":{"a.b":1}}`, "not a name"},
		{"our own name", `{"services":{"gateway":1}}`, "not a name"},
		{"a limit", `{"limits":{"timeout_ms":-1}}`, "negative"},
		{"all is well", `{"outside":true,"services":{"a":1},"routes":[{"path":"/","to":"a"}],"bridge":8080,"limits":{"header_bytes":1,"body_bytes":1,"timeout_ms":1,"connections":1}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseConfig([]byte(tt.config))
			if err == nil {
				_, err = New(c, io.Discard)
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s: %v, want %q", tt.config, err, tt.want)
			}
		})
	}
}
