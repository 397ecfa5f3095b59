package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestCookieIsHidden(t *testing.T) {
	for _, tt := range []struct{ lines, want string }{
		{"session=x", "[]"},
		{"a=b; session=x; c=d", "[a=b; c=d]"},
		{"session=x; a=b", "[a=b]"},
		{"a=b;session=x", "[a=b]"},
		{"a=b; session=x|session=y; c=d|session", "[a=b c=d]"},
		{"a=session=x", "[a=session=x]"},
		{"a=b;  session = x ;c=d", "[a=b;c=d]"},
		{"Session=x; sessions=y", "[Session=x; sessions=y]"},
		{"; ;", "[; ;]"},
	} {
		var r request
		for _, line := range strings.Split(tt.lines, "|") {
			r.fields = append(r.fields, field{"cookie", line})
		}
		r.hideCookie("session")
		if got := fmt.Sprint(r.values("Cookie")); got != tt.want {
			t.Errorf("%q becomes %s, want %s", tt.lines, got, tt.want)
		}
		if value, shown, err := cookie(r.values("Cookie"), "session"); shown || err != nil {
			t.Errorf("%q still shows %q, %v", tt.lines, value, err)
		}
	}
}

func TestCookieIsKept(t *testing.T) {
	var r response
	for _, line := range []string{"session=x; Path=/", "a=b", " session =x", "=session=x", "session", "Session=x", "session=; Max-Age=0"} {
		r.fields = append(r.fields, field{"set-cookie", line})
	}
	r.keepCookie("session")
	if got := fmt.Sprint(r.values("Set-Cookie")); got != "[a=b Session=x]" {
		t.Errorf("left: %s", got)
	}
}

// A service that has no business with sessions sees none and makes none: who has
// somebody's cookie is taken for him.
func TestSessionsAreNobodyElsesBusiness(t *testing.T) {
	s := startWith(t, Config{
		Routes: []Route{
			{Path: `/mine`, To: "dynamic", Asks: true, Session: true, Nobody: "static"},
			{Path: `/all`, To: "dynamic", Asks: true},
			{Path: `/open`, To: "dynamic"},
		},
		Says:         true,
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session"},
	}, nil, func(asked string) (string, error) {
		if strings.Contains(asked, "over") {
			return `{"principal":""}`, nil
		}
		return `{"principal":"alice"}`, nil
	})
	set := func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"session=mallory", "other=1"}
	}
	s.dynamic.answer, s.static.answer = set, set
	for _, tt := range []struct {
		path, cookie string
		service      *service
		sees         bool
	}{
		{"/mine", "token", s.dynamic, true},
		{"/mine", "over", s.static, true},
		{"/all", "token", s.dynamic, false},
		{"/open", "token", s.dynamic, false},
	} {
		got := send(t, s.outside, get(tt.path, "Cookie: a=b; session="+tt.cookie))
		seen := tt.service.requests()
		cookies := seen[len(seen)-1].Header.Get("Cookie")
		if !strings.Contains(cookies, "a=b") || strings.Contains(cookies, "session") != tt.sees {
			t.Errorf("%s with %s: the service sees %q", tt.path, tt.cookie, cookies)
		}
		if all := got.Header["Set-Cookie"]; (len(all) == 2) != tt.sees || all[len(all)-1] != "other=1" {
			t.Errorf("%s with %s: the browser is told %q", tt.path, tt.cookie, all)
		}
	}
}

// Whatever comes in: what was hidden is not shown, and nothing else is touched.
func FuzzHideCookie(f *testing.F) {
	f.Add("a=b; session=x; c=d", "session")
	f.Add(" session\t=x;;", "session")
	f.Fuzz(func(t *testing.T, line, name string) {
		if name == "" || strings.ContainsAny(name, "=; \t") || name != strings.TrimSpace(name) {
			return
		}
		r := request{framing: framing{fields: []field{{"Cookie", line}}}}
		r.hideCookie(name)
		left := r.values("Cookie")
		if value, shown, err := cookie(left, name); shown || err != nil {
			t.Errorf("%q without %q shows %q, %v", line, name, value, err)
		}
		for pair := range strings.SplitSeq(line, ";") {
			key, _, _ := strings.Cut(pair, "=")
			if pair = strings.TrimSpace(pair); pair != "" && strings.TrimSpace(key) != name && !strings.Contains(strings.Join(left, ";"), pair) {
				t.Errorf("%q without %q loses %q", line, name, pair)
			}
		}
	})
}
