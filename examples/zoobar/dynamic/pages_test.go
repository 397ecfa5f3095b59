package dynamic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/zoobartest"
	"cofferdam/sdk"
)

const prefix = zoobartest.Prefix

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	page   string
}

// request is one request without redirects.
func request(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(page)}
}

func TestLoginPage(t *testing.T) {
	app := zoobartest.New(t)
	b := zoobartest.NewBrowser(t, app.URL)
	page := b.Get("/login")
	for _, want := range []string{
		"<title>Login - Zoobar Foundation</title>", "Zoobar Foundation for ", `name="loginform"`,
		`<input type="hidden" name="nexturl"`, `name="login_username"`, `name="login_password"`,
		`name="submit_registration"`, `name="submit_login"`,
	} {
		zoobartest.Contains(t, page, want)
	}
	zoobartest.NotContains(t, page, "Log out")

	b.Register("taken", "secret")
	for _, tt := range []struct{ button, name, password, want string }{
		{"submit_registration", "", "x", "You must supply a username to register."},
		{"submit_registration", "x", "", "You must supply a password to register."},
		{"submit_registration", "taken", "x", "Registration failed."},
		{"submit_registration", "a;b", "x", "Registration failed."},
		{"submit_registration", "x", strings.Repeat("p", 4097), "Registration failed."},
		{"submit_login", "", "x", "You must supply a username to log in."},
		{"submit_login", "x", "", "You must supply a password to log in."},
		{"submit_login", "taken", "wrong", "Invalid username or password."},
		{"submit_login", "unknown", "wrong", "Invalid username or password."},
		{"submit_login", "taken", strings.Repeat("p", 4097), "Invalid username or password."},
	} {
		page := zoobartest.NewBrowser(t, app.URL).Post("/login", url.Values{
			"login_username": {tt.name}, "login_password": {tt.password}, tt.button: {"x"},
		})
		zoobartest.Contains(t, page, tt.want)
		zoobartest.NotContains(t, page, "Log out")
	}
	// With both buttons it is a registration.
	page = zoobartest.NewBrowser(t, app.URL).Post("/login", url.Values{
		"login_username": {"taken"}, "login_password": {"secret"}, "submit_login": {"x"}, "submit_registration": {"x"},
	})
	zoobartest.Contains(t, page, "Registration failed.")
}

func TestLoginIsRequired(t *testing.T) {
	app := zoobartest.New(t)
	for _, tt := range []struct{ path, want string }{
		{"/", prefix + "/login?nexturl=%2Fzoobar%2Findex.cgi%2F"},
		{"/users?user=a%26b", prefix + "/login?nexturl=%2Fzoobar%2Findex.cgi%2Fusers%3Fuser%3Da%2526b"},
		{"/transfer", prefix + "/login?nexturl=%2Fzoobar%2Findex.cgi%2Ftransfer"},
	} {
		got := request(t, "GET", app.URL+prefix+tt.path, "")
		if to := got.header.Get("Location"); got.status != http.StatusFound || to != tt.want {
			t.Errorf("%s = %d %q, want 302 %q", tt.path, got.status, to, tt.want)
		}
	}
	if got := request(t, "GET", app.URL+prefix+"/zoobarjs", ""); got.page != "" {
		t.Errorf("zoobarjs without a login is %q, want nothing", got.page)
	}
}

func TestCookie(t *testing.T) {
	app := zoobartest.New(t)
	for i, name := range []string{
		"test1", "a#b", "a+b", "a%41", "a/b", "Jörg 雪", ` "q" \ `, "a,b=c&d", "<b>",
	} {
		b := zoobartest.NewBrowser(t, app.URL)
		b.Register(name, "pass")
		cookie := b.Cookie()
		if i == 0 && !strings.HasPrefix(cookie, "test1#") {
			t.Errorf("the cookie of test1 is %q", cookie)
		}
		zoobartest.Contains(t, b.Get("/transfer"), "Log out ")
		b.SaveProfile("profile of " + fmt.Sprint(i))
		zoobartest.Contains(t, b.View(name), "profile of "+fmt.Sprint(i))
	}

	b := zoobartest.NewBrowser(t, app.URL)
	b.Login("test1", "pass")
	token := strings.TrimPrefix(b.Cookie(), "test1#")
	for _, tt := range []struct {
		cookie string
		ok     bool
	}{
		{"test1#" + token, true},
		{"t%65st1#" + token, true}, // as a browser may have stored it
		{"", false},
		{"#", false},
		{"test1", false},
		{"test1#", false},
		{"#" + token, false},
		{"test2#" + token, false},
		{"test1#" + token + "0", false},
		{"test1%#" + token, false},
		{"test1##" + token, false},
	} {
		got := request(t, "GET", app.URL+prefix+"/", "", "Cookie", "PyZoobarLogin="+tt.cookie)
		if ok := got.status == http.StatusOK; ok != tt.ok {
			t.Errorf("cookie %q: %d %s", tt.cookie, got.status, got.page)
		}
	}

	got := request(t, "GET", app.URL+prefix+"/logout", "")
	set := got.header.Get("Set-Cookie")
	if !strings.HasPrefix(set, "PyZoobarLogin=;") || got.header.Get("Location") != prefix+"/login" {
		t.Errorf("logout sets %q and leads to %q", set, got.header.Get("Location"))
	}
	for _, attribute := range []string{"HttpOnly", "SameSite=Lax", "Path=/"} {
		zoobartest.Contains(t, set, attribute)
	}
}

func TestNextURL(t *testing.T) {
	app := zoobartest.New(t)
	zoobartest.NewBrowser(t, app.URL).Register("test1", "pass")
	home := prefix + "/"
	for _, tt := range []struct{ next, want string }{
		{"", home},
		{prefix + "/users?user=a%26b", prefix + "/users?user=a%26b"},
		{"/index.html", "/index.html"},
		{"http://evil.example/", home},
		{"//evil.example/", home},
		{"///evil.example/", home},
		{`/\evil.example/`, home},
		{`\\evil.example/`, home},
		{"/\t/evil.example/", home},
		{"/\r\nX-Header: x", home},
		{"javascript:alert(1)", home},
		{"evil.example", home},
		{" //evil.example", home},
		{"/%zz", home},
	} {
		form := url.Values{"login_username": {"test1"}, "login_password": {"pass"}, "submit_login": {"x"}}
		got := request(t, "POST", app.URL+prefix+"/login?nexturl="+url.QueryEscape(tt.next), form.Encode())
		if to := got.header.Get("Location"); got.status != http.StatusFound || to != tt.want {
			t.Errorf("nexturl %q leads to %d %q, want %q", tt.next, got.status, to, tt.want)
		}
	}
}

func TestNothingIsReflected(t *testing.T) {
	app := zoobartest.New(t)
	const evil = `"><script>alert(1)</script>`
	b := zoobartest.NewBrowser(t, app.URL)
	b.Register(evil, "pass")
	b.SaveProfile("</textarea>" + evil)
	for what, page := range map[string]string{
		"login":    zoobartest.NewBrowser(t, app.URL).Post("/login", url.Values{"login_username": {evil}, "login_password": {"x"}, "submit_login": {"x"}}),
		"nexturl":  zoobartest.NewBrowser(t, app.URL).Get("/login?nexturl=" + url.QueryEscape("/"+evil)),
		"index":    b.Get("/"),
		"no user":  b.View(evil + evil),
		"user":     b.View(evil),
		"transfer": b.Transfer(evil+evil, evil),
		"echo":     b.Get("/echo?s=" + url.QueryEscape(evil)),
	} {
		if strings.Contains(page, "<script>alert") {
			t.Errorf("%s reflects a script:\n%s", what, page)
		}
	}
}

func TestIndexPage(t *testing.T) {
	app := zoobartest.New(t)
	b := zoobartest.NewBrowser(t, app.URL)
	page := b.Register("test1", "pass")
	for _, want := range []string{
		"<title>Balance - Zoobar Foundation</title>", "<b>Balance:</b> 10 zoobars", `name="profileform"`,
		`<textarea name="profile_update" rows="20" cols="80">`, `name="profile_submit" value="Save"`, "<b>Home</b>",
	} {
		zoobartest.Contains(t, page, want)
	}
	page = b.SaveProfile("\nfirst & <last>")
	zoobartest.Contains(t, page, "\r\nfirst &amp; &lt;last&gt;</textarea>")
}

func TestUsersPage(t *testing.T) {
	app := zoobartest.New(t)
	b := zoobartest.NewBrowser(t, app.URL)
	b.Register("test1", "pass")
	zoobartest.Contains(t, b.View("nobody"), `<p class="warning">Cannot find that user.</p>`)
	zoobartest.Contains(t, b.View(""), `<p class="warning">Cannot find that user.</p>`)
	page := b.Get("/users")
	zoobartest.Contains(t, page, "<title>Users - Zoobar Foundation</title>")
	zoobartest.NotContains(t, page, "Cannot find")

	b.SaveProfile("I am <i>one</i>")
	page = b.View("test1")
	for _, want := range []string{
		`<div id="profileheader">`, `<div id="profile"><b>I am &lt;i&gt;one&lt;/i&gt;</b></div>`,
		`<span id="zoobars" class="10">`, `<table class="log"`, "Time", "Sender", "Recipient", "Amount",
	} {
		zoobartest.Contains(t, page, want)
	}
}

// A form that a program prints has nowhere to go but the page that it is on, and
// an image shows nothing but the site's pictures.
func TestProfileForms(t *testing.T) {
	app := zoobartest.New(t)
	b := zoobartest.NewBrowser(t, app.URL)
	b.Register("test1", "pass")
	here := strings.TrimPrefix(app.URL, "http://")
	for _, tt := range []struct{ path, host, want string }{
		{"/users?user=test1", here, "; img-src " + here + "/zoobar/media/; form-action " + here + prefix + "/users; "},
		{"/%75sers", "zoobar.example", "; img-src zoobar.example/zoobar/media/; form-action zoobar.example" + prefix + "/users; "},
		{"/users", "[::1]:80", "; img-src 'none'; form-action 'none'; "},
		{"/users", "a;script-src", "; img-src 'none'; form-action 'none'; "},
		{"/transfer", here, "; img-src 'self'; form-action 'self'; "},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", prefix+tt.path, nil)
		r.Host = tt.host
		r.Header.Set("Cookie", "PyZoobarLogin="+b.Cookie())
		w := httptest.NewRecorder()
		app.Site.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Security-Policy"); w.Code != http.StatusOK || !strings.Contains(got, tt.want) {
			t.Errorf("%s at %s: status %d, policy %q, want %q in it", tt.path, tt.host, w.Code, got, tt.want)
		}
	}
}

// What a program prints is HTML, but the page allows no scripts in it: none is
// named by the number that is new on each page.
func TestProfileOutput(t *testing.T) {
	app := zoobartest.New(t)
	app.Spawn = func(context.Context, sdk.SpawnOptions) (sdk.Exit, error) {
		return sdk.Exit{Stdout: []byte("<i>hi</i><script>alert(1)</script>")}, nil
	}
	b := zoobartest.NewBrowser(t, app.URL)
	b.Register("test1", "pass")
	b.SaveProfile("#!python\nprint()")
	zoobartest.Contains(t, b.View("test1"), `<div id="profile"><b><i>hi</i><script>alert(1)</script></b></div>`)

	seen := make(map[string]bool)
	for range 3 {
		got := request(t, "GET", app.URL+prefix+"/users?user=test1", "", "Cookie", "PyZoobarLogin="+b.Cookie())
		policy := got.header.Get("Content-Security-Policy")
		_, nonce, _ := strings.Cut(policy, "script-src 'nonce-")
		nonce, _, _ = strings.Cut(nonce, "'")
		if len(nonce) < 20 || seen[nonce] || strings.Contains(policy, "unsafe") {
			t.Errorf("policy %q", policy)
		}
		seen[nonce] = true
		zoobartest.Contains(t, got.page, `<script nonce="`+nonce+`">`)
	}

	app.Spawn = func(context.Context, sdk.SpawnOptions) (sdk.Exit, error) {
		return sdk.Exit{}, errors.New("no <sandbox> today")
	}
	zoobartest.Contains(t, b.View("test1"), "Exception: start sandbox: no &lt;sandbox&gt; today")
}

func TestTransferPage(t *testing.T) {
	app := zoobartest.New(t)
	b := zoobartest.NewBrowser(t, app.URL)
	b.Register("test1", "pass")
	zoobartest.NewBrowser(t, app.URL).Register("test2", "pass")
	page := b.Get("/transfer")
	for _, want := range []string{
		"<title>Transfer - Zoobar Foundation</title>", `name="transferform"`, `<span id="myZoobars">`,
		`size="5"`, `size="10"`, `name="submission" value="Send"`, prefix + "/zoobarjs",
	} {
		zoobartest.Contains(t, page, want)
	}
	zoobartest.NotContains(t, page, `class="warning"`)

	for _, tt := range []struct{ recipient, zoobars, want string }{
		{"test2", "3", `<span class="warning">Sent 3 zoobars</span>`},
		{"test2", "007", `<span class="warning">Sent 7 zoobars</span>`},
		{"test2", "1", "Transfer to test2 failed"}, // nothing left
		{"test2", "0", "Transfer to test2 failed"},
		{"test2", "-1", "Transfer to test2 failed"},
		{"test2", "+1", "Transfer to test2 failed"},
		{"test2", "1.0", "Transfer to test2 failed"},
		{"test2", "1e0", "Transfer to test2 failed"},
		{"test2", "", "Transfer to test2 failed"},
		{"test2", "١", "Transfer to test2 failed"},
		{"test2", "__import__('os')", "Transfer to test2 failed"},
		{"test2", "99999999999999999999", "Transfer to test2 failed"},
		{"nobody", "1", "Transfer to nobody failed"},
		{"test1", "1", "Transfer to test1 failed"},
		{"", "1", "Transfer to  failed"},
	} {
		page := b.Transfer(tt.recipient, tt.zoobars)
		zoobartest.Contains(t, page, tt.want)
		if strings.Contains(tt.want, "failed") {
			zoobartest.NotContains(t, page, "Sent ")
		}
	}
	if body := b.Get("/zoobarjs"); !strings.HasPrefix(body, "var myZoobars = 0;") {
		t.Errorf("zoobarjs = %q", body)
	}
	zoobartest.Contains(t, b.View("test2"), `<span id="zoobars" class="20">`)
}

// Whatever a peer answers, the page does not say that zoobars were sent
// (defect h), and no page that needs the peer pretends to be right.
func TestPeersThatFail(t *testing.T) {
	app := zoobartest.New(t)
	b := zoobartest.NewBrowser(t, app.URL)
	b.Register("test1", "pass")
	zoobartest.NewBrowser(t, app.URL).Register("test2", "pass")
	cookie := "PyZoobarLogin=" + b.Cookie()
	for _, failure := range []error{sdk.ErrDenied, sdk.ErrUnavailable, sdk.ErrInterrupted, sdk.ErrDeadline, errors.New("x")} {
		app.Before = func(_, call string) error {
			if strings.HasPrefix(call, "bank.") {
				return failure
			}
			return nil
		}
		page := b.Transfer("test2", "1")
		zoobartest.Contains(t, page, "Transfer to test2 failed")
		zoobartest.NotContains(t, page, "Sent ")
		want := http.StatusInternalServerError
		if errors.Is(failure, sdk.ErrUnavailable) {
			want = http.StatusServiceUnavailable
		}
		if got := request(t, "GET", app.URL+prefix+"/", "", "Cookie", cookie); got.status != want {
			t.Errorf("index with %v = %d %s, want %d", failure, got.status, got.page, want)
		}
	}
}

// A registration that stopped after auth is completed by the next login
// (defect i).
func TestRegistrationHeals(t *testing.T) {
	app := zoobartest.New(t)
	var token calls.Token
	who := calls.Credentials{Username: "half", Password: "pass"}
	if err := app.As("dynamic").CallJSON(t.Context(), calls.AuthRegister, who, &token); err != nil || token.Token == "" {
		t.Fatalf("register = %v, %v", token, err)
	}
	got := request(t, "GET", app.URL+prefix+"/", "", "Cookie", "PyZoobarLogin=half#"+token.Token)
	if got.status != http.StatusFound {
		t.Errorf("half a registration is logged in: %d", got.status)
	}
	b := zoobartest.NewBrowser(t, app.URL)
	zoobartest.Contains(t, b.Login("half", "pass"), "<b>Balance:</b> 10 zoobars")
	zoobartest.Contains(t, b.View("half"), `<span id="zoobars" class="10">`)
}

func TestEchoPage(t *testing.T) {
	app := zoobartest.New(t)
	page := zoobartest.NewBrowser(t, app.URL).Get("/echo?s=hi")
	zoobartest.Contains(t, page, "<pre>You said &#34;hi&#34; from dynamic</pre>")
	zoobartest.Contains(t, page, "<title>Echo - Zoobar Foundation</title>")
}

func TestRequests(t *testing.T) {
	app := zoobartest.New(t)
	for _, tt := range []struct {
		what, method, path, body string
		header                   []string
		want                     int
	}{
		{"no slash", "GET", prefix, "", nil, 302},
		{"no page", "GET", prefix + "/nothing", "", nil, 404},
		{"not ours", "GET", "/etc/passwd", "", nil, 404},
		{"method", "PUT", prefix + "/login", "", nil, 405},
		{"transfer by GET is no transfer", "POST", prefix + "/users", "", nil, 405},
		{"bad form", "POST", prefix + "/login", "a=%zz", nil, 400},
		{"much", "POST", prefix + "/login", strings.Repeat("a", 300<<10), nil, 413},
		{"from another site", "POST", prefix + "/login", "a=b", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"from another origin", "POST", prefix + "/login", "a=b", []string{"Origin", "http://evil.example"}, 403},
		{"from here", "POST", prefix + "/login", "a=b", []string{"Sec-Fetch-Site", "same-origin"}, 200},
	} {
		got := request(t, tt.method, app.URL+tt.path, tt.body, tt.header...)
		if got.status != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.what, got.status, got.page, tt.want)
		}
		if strings.HasPrefix(tt.path, prefix) && tt.want != 403 && got.header.Get("X-XSS-Protection") != "0" {
			t.Errorf("%s: no X-XSS-Protection: 0", tt.what)
		}
	}
}
