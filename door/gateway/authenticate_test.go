package gateway

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// people is a gateway that knows somebody by his cookie: its value, after "is-", is the
// name. Other values have answers of their own.
func people(t testing.TB, login string) *site {
	return startWith(t, Config{
		Routes: []Route{
			{Path: `/mine(/.*)?`, To: "dynamic", Asks: true, Needs: true},
			{Number: 1, Path: `/all(/.*)?`, To: "static", Asks: true},
			{Number: 2, Path: `/open(/.*)?`, To: "static"},
			{Number: 3, Path: `/home(/.*)?`, To: "dynamic", Nobody: "static", Asks: true},
		},
		Says:         true,
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session", Login: login},
	}, nil, func(asked string) (string, error) {
		var q struct{ Cookies map[string]string }
		if err := json.Unmarshal([]byte(asked), &q); err != nil || len(q.Cookies) != 1 {
			return "", fmt.Errorf("asked %s: %v", asked, err)
		}
		value := q.Cookies["session"]
		if name, ok := strings.CutPrefix(value, "is-"); ok {
			answer, err := json.Marshal(map[string]string{"principal": name})
			return string(answer), err
		}
		switch value {
		case "over", "\xff":
			return `{"principal": ""}`, nil
		case "broken":
			return "", errors.New("the service is broken")
		}
		return value, nil
	})
}

func TestWhoeverIsRecognised(t *testing.T) {
	s := people(t, "")
	for _, tt := range []struct {
		name, path, cookie string
		status             int
		line, principal    string // of what reaches the service; "" if nothing is to
	}{
		{"somebody", "/mine", "session=is-alice", 200, "COFFERDAM for 616c696365 0", "alice"},
		{"somebody among others", "/mine", "a=b; session=is-alice; session2=is-bob", 200, "COFFERDAM for 616c696365 0", "alice"},
		{"somebody with an odd name", "/mine", "session=is-b b/é\"#", 200, "COFFERDAM for " + hex.EncodeToString([]byte(`b b/é"#`)) + " 0", "b%20b%2F%C3%A9%22%23"},
		{"a value with signs of its own", "/mine", "session=is-a=b", 200, "COFFERDAM for 613d62 0", "a%3Db"},
		{"the same value twice", "/mine", "session=is-alice; session=is-alice", 200, "COFFERDAM for 616c696365 0", "alice"},
		{"somebody where nobody would do", "/all", "session=is-alice", 200, "COFFERDAM for 616c696365 1", "alice"},
		{"nobody where nobody will do", "/all", "", 200, "COFFERDAM for - 1", ""},
		{"a session that is over", "/all", "session=over", 200, "COFFERDAM for - 1", ""},
		{"a cookie that is no text", "/all", "session=\xff", 200, "COFFERDAM for - 1", ""},
		{"another cookie", "/all", "Session=is-alice; xsession=is-alice", 200, "COFFERDAM for - 1", ""},
		{"somebody at home", "/home", "session=is-alice", 200, "COFFERDAM for 616c696365 3", "alice"},
		{"nobody at home", "/home", "", 200, "COFFERDAM for - 3", ""},
		{"at home, when nobody knows", "/home", "session=broken", 503, "", ""},
		{"where nobody is asked", "/open", "session=is-alice", 200, "COFFERDAM for - 2", ""},
		{"where a broken one is not asked", "/open", "session=broken", 200, "COFFERDAM for - 2", ""},
		{"nobody where somebody is needed", "/mine", "", 403, "", ""},
		{"a session that is over where one is needed", "/mine", "session=over", 403, "", ""},
		{"two values", "/all", "session=is-alice; session=is-bob", 400, "", ""},
		{"nobody knows", "/all", "session=broken", 503, "", ""},
		{"an answer that is none", "/all", "session=x", 503, "", ""},
		{"an answer without a name", "/all", "session={}", 503, "", ""},
		{"no name at all", "/all", `session={"principal":null}`, 503, "", ""},
		{"a name that is a number", "/all", `session={"principal":1}`, 503, "", ""},
		{"two answers", "/all", `session={"principal":"a"}{}`, 503, "", ""},
		{"an answer with more in it", "/all", `session={"principal":"a","admin":true}`, 503, "", ""},
		{"a name too long", "/all", "session=is-" + strings.Repeat("x", 257), 503, "", ""},
		{"the longest name", "/all", "session=is-" + strings.Repeat("x", 256), 200, "COFFERDAM for " + strings.Repeat("78", 256) + " 1", strings.Repeat("x", 256)},
		{"a name with a zero byte", "/all", `session={"principal":"a\u0000"}`, 503, "", ""},
		{"a name that is no text", "/all", `session={"principal":"\ud800"}`, 503, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			service := s.static
			if strings.HasPrefix(tt.path, "/mine") || tt.path == "/home" && tt.principal != "" {
				service = s.dynamic
			}
			before := len(service.requests())
			headers := []string{"Cofferdam-Principal: mallory", "Cofferdam_Principal: mallory", "Cofferdam-Caller: bank"}
			if tt.cookie != "" {
				headers = append(headers, "Cookie: "+tt.cookie)
			}
			got := send(t, s.outside, get(tt.path, headers...))
			if got.status() != tt.status {
				t.Fatalf("%d %q, want %d; %s", got.status(), got.text, tt.status, s.log)
			}
			seen := service.requests()[before:]
			if tt.line == "" {
				if len(seen) != 0 {
					t.Errorf("it reached the service: %v", seen[0].Header)
				}
				return
			}
			if line := service.lines()[before]; line != tt.line {
				t.Errorf("the connection begins with %q, want %q", line, tt.line)
			}
			want := []string{tt.principal}
			if tt.principal == "" {
				want = nil
			}
			for name, values := range seen[0].Header {
				if folded := strings.ReplaceAll(strings.ToLower(name), "_", "-"); folded == "cofferdam-principal" && fmt.Sprint(values) != fmt.Sprint(want) {
					t.Errorf("%s: %q, want %q", name, values, want)
				}
			}
			if got := seen[0].Header["Cofferdam-Principal"]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("the service is told of %q, want %q", got, want)
			}
		})
	}
}

// Two cookies in two headers are two all the same.
func TestTwoCookieHeaders(t *testing.T) {
	s := people(t, "")
	if got := send(t, s.outside, get("/all", "Cookie: session=is-alice", "Cookie: session=is-bob")); got.status() != 400 {
		t.Errorf("%d, want 400", got.status())
	}
}

func TestLogin(t *testing.T) {
	s := people(t, "/open/login")
	for _, method := range []string{"GET", "POST"} {
		got := send(t, s.outside, method+" /mine/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
		if got.status() != 303 || got.Header.Get("Location") != "/open/login" {
			t.Errorf("%s by nobody: %d to %q", method, got.status(), got.Header.Get("Location"))
		}
	}
	if got := send(t, s.outside, get("/mine", "Cookie: session=broken")); got.status() != 503 || got.Header.Get("Retry-After") == "" {
		t.Errorf("when nobody knows: %d", got.status())
	}
}

// Each request is asked about, and goes on a connection that is on behalf of who it is from: a session that has
// ended is over with the next one, whatever connection there is.
func TestNothingIsRemembered(t *testing.T) {
	var over atomic.Bool
	s := startWith(t, Config{
		Routes:       []Route{{Path: `/.*`, To: "dynamic", Asks: true}},
		Says:         true,
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session"},
	}, nil, func(asked string) (string, error) {
		switch {
		case over.Load():
			return `{"principal":""}`, nil
		case strings.Contains(asked, "bob"):
			return `{"principal":"bob"}`, nil
		}
		return `{"principal":"alice"}`, nil
	})
	c := dial(t, s.outside)
	in := bufio.NewReader(c)
	var want []string
	for i := range 12 {
		cookie, line, principal := "alice", "COFFERDAM for 616c696365 0", "alice"
		switch {
		case i >= 9:
			over.Store(true)
			line, principal = "COFFERDAM for - 0", ""
		case i%4 >= 2:
			cookie, line, principal = "bob", "COFFERDAM for 626f62 0", "bob"
		}
		if len(want) == 0 || want[len(want)-1] != line {
			want = append(want, line)
		}
		io.WriteString(c, get("/", "Cookie: session="+cookie))
		defer func() {
			if got := s.dynamic.requests()[i].Header.Get(headerPrincipal); got != principal {
				t.Errorf("request %d was of %q, want %q", i, got, principal)
			}
		}()
		if got := receive(t, in); got.status() != 200 {
			t.Fatalf("request %d: %d", i, got.status())
		}
	}
	if got := s.dynamic.lines(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("connections were for\n%q, want\n%q", got, want)
	}
}

// Between services it says which connection it carries, and for whom the caller runs.
func TestBridgeSaysWhose(t *testing.T) {
	s := people(t, "")
	for _, tt := range []struct {
		preface   string
		status    int
		line      string
		principal []string
	}{
		{"COFFERDAM bank dynamic 8081 17 616c696365\n", 200, "COFFERDAM over 17", []string{"alice"}},
		{"COFFERDAM bank dynamic 8081 18 -\n", 200, "COFFERDAM over 18", nil},
		{"COFFERDAM bank dynamic 8081\n", 404, "", nil},
		{"COFFERDAM bank dynamic 8081 0 -\n", 0, "", nil},
		{"COFFERDAM bank dynamic 8081 017 -\n", 0, "", nil},
		{"COFFERDAM bank dynamic 8081 17 616C696365\n", 0, "", nil},
		{"COFFERDAM bank dynamic 8081 17 \n", 0, "", nil},
		{"COFFERDAM bank dynamic 8081 17 ff\n", 0, "", nil},
		{"COFFERDAM bank dynamic 8081 17 " + strings.Repeat("61", 257) + "\n", 0, "", nil},
	} {
		before := len(s.dynamic.requests())
		got := send(t, s.bridge, tt.preface+get("/", "Cofferdam-Principal: mallory", "Cookie: session=is-bob"))
		if got.status() != tt.status {
			t.Errorf("after %q: %d, want %d", tt.preface, got.status(), tt.status)
		}
		if tt.line == "" {
			continue
		}
		if line, told := s.dynamic.lines()[before], s.dynamic.requests()[before].Header["Cofferdam-Principal"]; line != tt.line || fmt.Sprint(told) != fmt.Sprint(tt.principal) {
			t.Errorf("after %q the service is told %q and of %q", tt.preface, line, told)
		}
	}
}

// An answer is read in one way, and only as one that names somebody or nobody.
func FuzzParseVerdict(f *testing.F) {
	for _, s := range []string{`{"principal":"alice"}`, `{"principal":""}`, `{}`, `{"principal":"\ud83d"}`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		name, err := parseVerdict(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(map[string]string{"principal": name})
		if err != nil {
			t.Fatal(err)
		}
		if same, err := parseVerdict(again); err != nil || same != name {
			t.Errorf("parseVerdict(%q) = %q, which reads again as %q, %v", b, name, same, err)
		}
		if back, err := parsePrincipal(writePrincipal(name)); err != nil || back != name {
			t.Errorf("%q is told to the monitor as %q, %v", name, back, err)
		}
		if h := (http.Header{"P": {principalText(name)}}); h.Get("P") != "" && strings.ContainsAny(h.Get("P"), "\r\n \x00") {
			t.Errorf("%q is told to a service as %q", name, h.Get("P"))
		}
	})
}

func TestAuthenticateIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"nobody to ask":     {Routes: []Route{{Path: "/", To: "a", Asks: true}}, Says: true},
		"nothing to say":    {Routes: []Route{{Path: "/", To: "a", Asks: true}}, Authenticate: &Authenticate{Call: "a.b", Cookie: "c"}},
		"needs, not asked":  {Routes: []Route{{Path: "/", To: "a", Needs: true}}},
		"nobody, not asked": {Routes: []Route{{Path: "/", To: "a", Nobody: "a"}}},
		"nobody, nowhere":   {Routes: []Route{{Path: "/", To: "a", Nobody: "b", Asks: true}}, Says: true, Authenticate: &Authenticate{Call: "a.b", Cookie: "c"}},
		"no method":         {Authenticate: &Authenticate{Call: "a", Cookie: "c"}},
		"no cookie":         {Authenticate: &Authenticate{Call: "a.b"}},
		"login elsewhere":   {Authenticate: &Authenticate{Call: "a.b", Cookie: "c", Login: "//evil.example/"}},
		"login with a host": {Authenticate: &Authenticate{Call: "a.b", Cookie: "c", Login: "https://evil.example/"}},
	} {
		c.Services = map[string]int{"a": 1}
		if err := c.check(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
