package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// secrets is a gateway one of whose services answers what is not for everybody.
func secrets(t testing.TB, raw func(net.Conn)) *site {
	return startWith(t, Config{Routes: []Route{
		{Path: `/secret(/.*)?`, To: "dynamic", Secret: true},
		{Path: `/raw(/.*)?`, To: "raw", Secret: true},
		{Path: `/.*`, To: "static"},
	}}, raw, nil)
}

// talkative is what a page could use to make a browser tell somebody else.
var talkative = map[string]string{
	"Set-Cookie":                          "leak=1; Path=/",
	"Link":                                "<//evil.example/leak>; rel=preconnect",
	"Refresh":                             "0; url=//evil.example/leak",
	"Content-Security-Policy":             "default-src *; report-uri //evil.example/leak",
	"Content-Security-Policy-Report-Only": "default-src 'none'; report-uri //evil.example/leak",
	"Report-To":                           `{"endpoints":[{"url":"https://evil.example/leak"}]}`,
	"Reporting-Endpoints":                 `a="https://evil.example/leak"`,
	"Nel":                                 `{"report_to":"a","max_age":9}`,
	"Alt-Svc":                             `h3="evil.example:443"`,
	"Etag":                                `"leak"`,
	"Last-Modified":                       "Thu, 01 Jan 1970 00:00:01 GMT",
	"Cache-Control":                       "public, max-age=9999",
	"Access-Control-Allow-Origin":         "*",
	"Strict-Transport-Security":           "max-age=9",
	"Speculation-Rules":                   `"//evil.example/leak"`,
	"Sourcemap":                           "//evil.example/leak",
	"Referrer-Policy":                     "unsafe-url",
	"X-Frame-Options":                     "ALLOWALL",
	"X-New-Thing":                         "//evil.example/leak",
}

func TestSecretAnswersAreSealed(t *testing.T) {
	s := secrets(t, nil)
	s.dynamic.answer = func(w http.ResponseWriter, r *http.Request) {
		for name, value := range talkative {
			w.Header().Set(name, value)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Trailer", "Set-Cookie")
		io.WriteString(w, "the secret")
		w.(http.Flusher).Flush()
		w.Header().Set("Set-Cookie", "leak=2")
		w.Header().Set(http.TrailerPrefix+"Link", "<//evil.example/leak>; rel=preconnect")
	}
	s.static.answer = s.dynamic.answer

	got := send(t, s.outside, get("/secret"))
	if got.status() != 200 || got.text != "the secret" || got.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %q %v", got.status(), got.text, got.Header)
	}
	for name, value := range talkative {
		if strings.Contains(strings.Join(got.Header[name], "\n"), value) {
			t.Errorf("it reached the browser: %s: %s", name, value)
		}
	}
	for name, value := range sealed {
		if all := got.Header[name]; len(all) != 1 || all[0] != value {
			t.Errorf("%s: %q, want %q", name, all, value)
		}
	}
	for name := range got.Header {
		if _, ours := sealed[name]; !ours && !kept[name] && name != "X-Request-Id" {
			t.Errorf("%s: %q reached the browser", name, got.Header[name])
		}
	}
	if len(got.Trailer) != 0 {
		t.Errorf("trailers reached the browser: %v", got.Trailer)
	}

	// What is for everybody is as its service wants it.
	got = send(t, s.outside, get("/open"))
	if got.Header.Get("Set-Cookie") != talkative["Set-Cookie"] || got.Header.Get("Content-Security-Policy") != talkative["Content-Security-Policy"] {
		t.Errorf("a public answer: %v", got.Header)
	}
}

// Who answers nobody has nothing to keep from anybody, whoever else has.
func TestNobodysAnswersAreNotSealed(t *testing.T) {
	s := startWith(t, Config{
		Routes:       []Route{{Path: `/.*`, To: "dynamic", Asks: true, Nobody: "static", Secret: true}},
		Says:         true,
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session"},
	}, nil, func(string) (string, error) { return `{"principal":"alice"}`, nil })
	s.static.answer = func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
	s.dynamic.answer = s.static.answer
	if got := send(t, s.outside, get("/")); got.status() != 303 || len(got.Cookies()) != 1 {
		t.Errorf("nobody: %d %v", got.status(), got.Header)
	}
	if got := send(t, s.outside, get("/", "Cookie: session=1")); got.status() != 403 || len(got.Cookies()) != 0 {
		t.Errorf("alice: %d %v", got.status(), got.Header)
	}
}

// A browser goes by itself to where it is sent, with what is in the address: and
// who is asked there may be somebody who may not know.
func TestSecretAnswersRedirectNobody(t *testing.T) {
	s := secrets(t, nil)
	for _, to := range []string{"/open?leak", "//evil.example/leak", "https://evil.example/leak", "/secret/again", "", "?leak", "/\\evil.example"} {
		for _, status := range []int{200, 201, 302, 303, 307} {
			s.dynamic.answer = func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Location"] = []string{to}
				w.WriteHeader(status)
				io.WriteString(w, "the secret")
			}
			got := send(t, s.outside, get("/secret"))
			if got.status() != 403 || len(got.Header["Location"]) > 0 || strings.Contains(got.text, "the secret") {
				t.Errorf("%d to %q: %d %q %v", status, to, got.status(), got.text, got.Header)
			}
		}
	}
	if !s.logs(errRedirects.Error()) {
		t.Errorf("the log does not say why: %s", s.log)
	}
}

// What a service says before its answer was looked at by nobody.
func TestNothingComesBeforeTheAnswer(t *testing.T) {
	s := secrets(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: <//evil.example/leak>; rel=preconnect\r\nSet-Cookie: leak=1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	got := send(t, s.outside, get("/raw"))
	if got.status() != 200 || got.text != "ok" || len(got.Header["Link"]) > 0 || got.Header.Get("X-Request-Id") == "" {
		t.Errorf("%d %q %v", got.status(), got.text, got.Header)
	}
}
