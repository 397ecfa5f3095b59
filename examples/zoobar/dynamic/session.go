package dynamic

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"cofferdam/examples/zoobar/calls"
)

// cookieName is part of the application's contract.
const cookieName = "PyZoobarLogin"

// session is what a cookie says: who, and the proof of it.
type session struct {
	user, token string
}

// identify finds out who is asking. A cookie that makes no sense is no cookie,
// and neither is one whose token auth does not know as the current one.
func (p *page) identify() error {
	cookie, err := p.r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	claimed, ok := parseCookie(cookie.Value)
	if !ok {
		return nil
	}
	var valid bool
	check := calls.TokenCheck{Username: claimed.user, Token: claimed.token}
	if err := p.site.peers.CallJSON(p.r.Context(), calls.AuthCheckToken, check, &valid); err != nil {
		return fmt.Errorf("check token: %w", err)
	}
	if !valid {
		return nil
	}
	known, err := p.site.knows(p.r.Context(), claimed.user)
	if known {
		p.session = claimed
	}
	return err
}

// setSession gives the visitor a cookie; the zero session takes it away.
func (p *page) setSession(s session) {
	value := ""
	if s.user != "" {
		value = formatCookie(s)
	}
	http.SetCookie(p.w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// formatCookie is username, "#", token. Characters of the name that a cookie
// cannot hold, and the percent sign, are percent-encoded; most names have none
// and stand there as they are.
func formatCookie(s session) string {
	var b strings.Builder
	for _, c := range []byte(s.user) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"%,;\`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String() + "#" + s.token
}

// parseCookie undoes formatCookie. The last "#" ends the name, which may have
// others.
func parseCookie(value string) (session, bool) {
	i := strings.LastIndexByte(value, '#')
	if i < 0 {
		return session{}, false
	}
	name, err := url.PathUnescape(value[:i]) // which, unlike a query's, leaves "+" alone
	if err != nil || name == "" || value[i+1:] == "" {
		return session{}, false
	}
	return session{user: name, token: value[i+1:]}, true
}

// knows tells whether username has been here.
func (s *Site) knows(ctx context.Context, username string) (bool, error) {
	var one int
	err := s.db.QueryRowContext(ctx, `SELECT 1 FROM person WHERE username = ?`, username).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find person: %w", err)
	}
	return true, nil
}

// welcome makes username known. It happens at every login, not only at the
// registration: one that stopped half way is completed by the next login.
func (s *Site) welcome(ctx context.Context, username string) error {
	if _, err := s.db.ExecContext(ctx, `INSERT INTO person(username) VALUES(?) ON CONFLICT DO NOTHING`, username); err != nil {
		return fmt.Errorf("add person: %w", err)
	}
	return nil
}
