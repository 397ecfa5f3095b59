package dynamic

import (
	"fmt"
	"net/url"
	"strings"

	"cofferdam/examples/zoobar/calls"
)

func (p *page) login() error {
	next := p.r.FormValue("nexturl")
	if !onSite(next) {
		next = Prefix + "/"
	}
	var warning string
	var s calls.Session
	var err error
	switch {
	case p.r.PostForm.Has("submit_registration"):
		s, warning, err = p.register()
	case p.r.PostForm.Has("submit_login"):
		s, warning, err = p.logIn()
	}
	if err != nil {
		return err
	}
	if s.User != "" {
		p.setSession(s)
		p.redirect(next)
		return nil
	}
	return p.render("login", "Login", struct{ Username, Next, Warning string }{
		p.r.FormValue("login_username"), next, warning,
	})
}

// register makes an account, or says why not.
func (p *page) register() (_ calls.Session, warning string, err error) {
	switch {
	case p.r.PostForm.Get("login_username") == "":
		return calls.Session{}, "You must supply a username to register.", nil
	case p.r.PostForm.Get("login_password") == "":
		return calls.Session{}, "You must supply a password to register.", nil
	}
	return p.authenticate(calls.AuthRegister, "Registration failed.")
}

// logIn finds an account, or says why not.
func (p *page) logIn() (_ calls.Session, warning string, err error) {
	switch {
	case p.r.PostForm.Get("login_username") == "":
		return calls.Session{}, "You must supply a username to log in.", nil
	case p.r.PostForm.Get("login_password") == "":
		return calls.Session{}, "You must supply a password to log in.", nil
	}
	return p.authenticate(calls.AuthLogin, "Invalid username or password.")
}

func (p *page) authenticate(call, refusal string) (_ calls.Session, warning string, err error) {
	who := calls.Credentials{
		Username: p.r.PostForm.Get("login_username"),
		Password: p.r.PostForm.Get("login_password"),
	}
	var t calls.Token
	if err := p.site.peers.CallJSON(p.r.Context(), call, who, &t); err != nil {
		return calls.Session{}, "", fmt.Errorf("%s: %w", call, err)
	}
	if t.Token == "" {
		return calls.Session{}, refusal, nil
	}
	if err := p.welcome(who.Username); err != nil {
		return calls.Session{}, "", err
	}
	return calls.Session{User: who.Username, Token: t.Token}, "", nil
}

func (p *page) logout() error {
	p.setSession(calls.Session{})
	p.redirect(Prefix + "/login")
	return nil
}

// loginURL is the login page that leads back to next.
func loginURL(next string) string {
	return Prefix + "/login?nexturl=" + url.QueryEscape(next)
}

// onSite tells whether next is a path on this site. Anything that some browser
// might take for another host is not: "//host", "/\host", and the same with
// characters in between that browsers drop.
func onSite(next string) bool {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || len(next) > 2048 {
		return false
	}
	for _, c := range []byte(next) {
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return false // a real URL has these percent-encoded
		}
	}
	u, err := url.Parse(next)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil
}
