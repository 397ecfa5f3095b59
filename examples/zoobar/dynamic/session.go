package dynamic

import (
	"fmt"
	"net/http"

	"cofferdam/examples/zoobar/calls"
)

// identify finds out who is asking. A cookie that makes no sense is no cookie,
// and neither is one whose token auth does not know as the current one.
func (p *page) identify() error {
	if p.site.nobody {
		return nil
	}
	cookie, err := p.r.Cookie(calls.CookieName)
	if err != nil {
		return nil
	}
	claimed, ok := calls.ParseSession(cookie.Value)
	if !ok {
		return nil
	}
	var valid bool
	check := calls.TokenCheck{Username: claimed.User, Token: claimed.Token}
	if err := p.site.peers.CallJSON(p.r.Context(), calls.AuthCheckToken, check, &valid); err != nil {
		return fmt.Errorf("check token: %w", err)
	}
	if !valid {
		return nil
	}
	known, err := p.knows(claimed.User)
	if known {
		p.session = claimed
	}
	return err
}

// setSession gives the visitor a cookie; the zero session takes it away.
func (p *page) setSession(s calls.Session) {
	value := ""
	if s.User != "" {
		value = s.Cookie()
	}
	http.SetCookie(p.w, &http.Cookie{
		Name: calls.CookieName, Value: value, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// knows tells whether username has been here.
func (p *page) knows(username string) (known bool, err error) {
	err = p.site.peers.CallJSON(p.r.Context(), calls.RosterKnows, calls.User{Username: username}, &known)
	return known, err
}

// welcome makes username known. It happens at every login, not only at the
// registration: one that stopped half way is completed by the next login.
func (p *page) welcome(username string) error {
	return p.site.peers.CallJSON(p.r.Context(), calls.RosterWelcome, calls.User{Username: username}, nil)
}
