package calls

import (
	"fmt"
	"net/url"
	"strings"
)

// CookieName is part of the application's contract.
const CookieName = "PyZoobarLogin"

// Session is what a cookie says: who, and the proof of it.
type Session struct {
	User, Token string
}

// Cookie is username, "#", token. Characters of the name that a cookie
// cannot hold, and the percent sign, are percent-encoded; most names have none
// and stand there as they are.
func (s Session) Cookie() string {
	var b strings.Builder
	for _, c := range []byte(s.User) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"%,;\`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String() + "#" + s.Token
}

// ParseSession undoes Cookie. The last "#" ends the name, which may have
// others.
func ParseSession(cookie string) (Session, bool) {
	i := strings.LastIndexByte(cookie, '#')
	if i < 0 {
		return Session{}, false
	}
	name, err := url.PathUnescape(cookie[:i]) // which, unlike a query's, leaves "+" alone
	if err != nil || name == "" || cookie[i+1:] == "" {
		return Session{}, false
	}
	return Session{User: name, Token: cookie[i+1:]}, true
}
