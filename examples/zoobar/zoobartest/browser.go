package zoobartest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Prefix of the application's pages.
const Prefix = "/zoobar/index.cgi"

// Browser is one visitor, with cookies, who follows redirects.
type Browser struct {
	t      testing.TB
	base   string
	client *http.Client
}

// NewBrowser returns a visitor of the site at base who is nobody yet.
func NewBrowser(t testing.TB, base string) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{t: t, base: base, client: &http.Client{Jar: jar, Timeout: 30 * time.Second}}
}

// Get returns a page; path is below [Prefix]. Anything but 200 ends the test.
func (b *Browser) Get(path string) string {
	b.t.Helper()
	page, err := b.TryGet(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return page
}

// Post sends a form and returns the page that comes of it.
func (b *Browser) Post(path string, form url.Values) string {
	b.t.Helper()
	page, err := b.TryPost(path, form)
	if err != nil {
		b.t.Fatal(err)
	}
	return page
}

// TryGet is Get for any goroutine.
func (b *Browser) TryGet(path string) (string, error) {
	response, err := b.client.Get(b.base + Prefix + path)
	return body(response, err)
}

// TryPost is Post for any goroutine.
func (b *Browser) TryPost(path string, form url.Values) (string, error) {
	response, err := b.client.PostForm(b.base+Prefix+path, form)
	return body(response, err)
}

func body(response *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: %s: %s", response.Request.Method, response.Request.URL, response.Status, text)
	}
	return string(text), nil
}

// Register makes an account and returns the page after it.
func (b *Browser) Register(name, password string) string {
	b.t.Helper()
	return b.enter("submit_registration", name, password)
}

// Login logs in and returns the page after it.
func (b *Browser) Login(name, password string) string {
	b.t.Helper()
	return b.enter("submit_login", name, password)
}

func (b *Browser) enter(button, name, password string) string {
	b.t.Helper()
	return b.Post("/login", url.Values{
		"login_username": {name}, "login_password": {password},
		button: {"x"}, "nexturl": {Prefix + "/"},
	})
}

// Transfer sends zoobars and returns the page after it.
func (b *Browser) Transfer(recipient, zoobars string) string {
	b.t.Helper()
	return b.Post("/transfer", TransferForm(recipient, zoobars))
}

// TransferForm is what the page of transfers sends.
func TransferForm(recipient, zoobars string) url.Values {
	return url.Values{"recipient": {recipient}, "zoobars": {zoobars}, "submission": {"Send"}}
}

// SaveProfile sets the visitor's own profile.
func (b *Browser) SaveProfile(text string) string {
	b.t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n") // as browsers do
	return b.Post("/", url.Values{"profile_update": {text}, "profile_submit": {"Save"}})
}

// View shows the page of a user.
func (b *Browser) View(user string) string {
	b.t.Helper()
	return b.Get("/users?user=" + url.QueryEscape(user))
}

// Cookie is what the browser would send as the login.
func (b *Browser) Cookie() string {
	u, err := url.Parse(b.base)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == "PyZoobarLogin" {
			return c.Value
		}
	}
	return ""
}
