package dynamic

import (
	"context"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/user"
)

func TestDelayIsBounded(t *testing.T) {
	for delay, want := range map[string]time.Duration{
		"5": 5 * time.Second, "10": 10 * time.Second, "11": maxDelay, "9223372036854775807": maxDelay,
		"": 0, "0": 0, "-1": 0, "x": 0, "1.5": 0, "99999999999999999999": 0,
	} {
		var slept time.Duration
		p := &page{
			r:    httptest.NewRequest("POST", "/?delay="+url.QueryEscape(delay), nil),
			site: &Site{sleep: func(_ context.Context, d time.Duration) { slept += d }},
		}
		if p.delay(); slept != want {
			t.Errorf("delay %q sleeps %v, want %v", delay, slept, want)
		}
	}
}

// What is set as a cookie comes back as the same session, through the rules of
// HTTP on both sides.
func FuzzCookie(f *testing.F) {
	for _, name := range []string{"test1", "a#b", "a%41+b", " \"q\"\\,", "Jörg 雪", "a/../b"} {
		f.Add(name, "0123456789abcdef")
	}
	f.Fuzz(func(t *testing.T, name, token string) {
		if user.CheckName(name) != nil || token == "" || strings.Trim(token, "0123456789abcdef") != "" {
			return // not what auth gives
		}
		w := httptest.NewRecorder()
		(&page{w: w}).setSession(calls.Session{User: name, Token: token})
		set := w.Result()
		defer set.Body.Close()
		r := httptest.NewRequest("GET", "/", nil)
		for _, c := range set.Cookies() {
			r.AddCookie(c)
		}
		c, err := r.Cookie(calls.CookieName)
		if err != nil {
			t.Fatalf("the cookie of %q is lost: %v", name, err)
		}
		if got, ok := calls.ParseSession(c.Value); !ok || got.User != name || got.Token != token {
			t.Errorf("%q, %q came back as %q, %q, %v by %q", name, token, got.User, got.Token, ok, c.Value)
		}
	})
}

// Whatever is believed to be on this site, a browser on it stays there.
func FuzzOnSite(f *testing.F) {
	for _, s := range []string{"/", "//evil", `/\evil`, "/a?b=//c", "/\t/evil", "http://evil", "/..//evil", "/%2f/evil"} {
		f.Add(s)
	}
	base := &url.URL{Scheme: "http", Host: "here.example", Path: "/zoobar/index.cgi/login"}
	f.Fuzz(func(t *testing.T, next string) {
		if !onSite(next) {
			return
		}
		// Browsers drop white space, and take a backslash for a slash.
		as := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.TrimSpace(next))
		to, err := base.Parse(as)
		if err != nil || to.Host != base.Host || to.Scheme != base.Scheme || strings.HasPrefix(as, "//") {
			t.Errorf("%q leads to %v, %v", next, to, err)
		}
	})
}
