package gateway

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"testing"
)

// Whatever comes in: what goes out, as the bytes that a service reads, is one
// request with one caller and one id, ours, and no header that anything could
// take for another; and its path led to that service.
func FuzzHandle(f *testing.F) {
	for _, raw := range []string{
		get("/zoobar/index.cgi", "Cofferdam-Caller: bank", "Cofferdam_Caller: bank"),
		get("/zoobar/media/%2e%2e/x?a=b", "Connection: Cofferdam-Caller, Host, close"),
		post("/zoobar/index.cgi", "body", "Expect: 100-continue", "TE: trailers", "Upgrade: x"),
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Cofferdam-Caller\r\n\r\n2\r\nok\r\n0\r\nCofferdam-Caller: x\r\n\r\n",
		"GET http://x//index.html HTTP/1.0\r\n a\r\nX-Request-ID: \x80\r\n\r\n",
	} {
		f.Add(raw, true)
		f.Add(raw, false)
	}
	g, err := New(Config{
		Routes:   testRoutes,
		Services: map[string]int{"static": 8081, "dynamic": 8082, "raw": 8083, "down": 8084},
		Limits:   Limits{BodyBytes: 1000},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string, outside bool) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		r.RemoteAddr = "192.0.2.1:1234"
		local := *g
		out := &wireTransport{}
		local.proxy = &httputil.ReverseProxy{
			Rewrite: g.proxy.Rewrite, Transport: out, ModifyResponse: g.proxy.ModifyResponse, ErrorHandler: g.proxy.ErrorHandler,
		}
		w := httptest.NewRecorder()
		caller := callerOutside
		if outside {
			local.outside(newCapped(nil, 1)).ServeHTTP(w, r)
		} else {
			caller = "bank"
			local.handle(w, r, caller, func(_ context.Context, x *exchange) int {
				x.service = "dynamic"
				return 0
			})
		}
		if out.sent == nil {
			if w.Code < 400 {
				t.Fatalf("%q: answered %d, and no service saw it", raw, w.Code)
			}
			return
		}
		head, _, _ := bytes.Cut(out.sent, []byte("\r\n\r\n"))
		lines := strings.Split(string(head), "\r\n")
		h := make(http.Header)
		for _, line := range lines[1:] {
			name, value, ok := strings.Cut(line, ":")
			if !ok || name != textproto.TrimString(name) || !plainName(name) {
				t.Fatalf("%q reaches the service with the line %q", raw, line)
			}
			h.Add(name, textproto.TrimString(value))
		}
		if err := authentic(h, caller, w.Header().Get(headerID)); err != nil {
			t.Errorf("%q reaches the service as %q: %v", raw, head, err)
		}
		for _, name := range []string{"Upgrade", "Te", "Trailer", "Expect"} {
			if h.Get(name) != "" {
				t.Errorf("%q reaches the service with %s: %q", raw, name, h.Get(name))
			}
		}
		if outside {
			seen, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out.sent)))
			if err != nil {
				t.Fatalf("%q reaches the service as %q: %v", raw, head, err)
			}
			if to := g.find(seen.URL.Path); to == nil || to.To != out.service || ambiguous(seen.URL.Path) {
				t.Errorf("%q reaches %q, but its path leads to %v", raw, out.service, to)
			}
		}
	})
}

// wireTransport keeps the bytes that a service would read.
type wireTransport struct {
	sent    []byte
	service string
}

func (w *wireTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var b bytes.Buffer
	r.Close = true // as DisableKeepAlives does
	if err := r.Write(&b); err != nil {
		return nil, err
	}
	w.sent, w.service = b.Bytes(), exchangeOf(r).service
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("ok")), Request: r}, nil
}

// ours is also what a service's name can never be mistaken for.
func FuzzScrub(f *testing.F) {
	f.Add("Connection", "A, Cofferdam-Caller", "a_b", "c")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		h := make(http.Header)
		h.Add(n1, v1)
		h.Add(n2, v2)
		scrub(h)
		for name := range h {
			if !plainName(name) || ours(http.CanonicalHeaderKey(name)) || hopByHop[http.CanonicalHeaderKey(name)] {
				t.Errorf("scrub leaves %q", name)
			}
		}
	})
}
