package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"cofferdam/sdk"
)

// maxPrincipal is the longest name of a principal, in bytes.
const maxPrincipal = 256

// Authenticate is who tells which principal a request from outside comes from.
type Authenticate struct {
	Call   string `json:"call"`   // service.method
	Cookie string `json:"cookie"` // the only one that it is shown

	// Login is the path to which somebody is sent who wants what is for nobody, "" if
	// there is none.
	Login string `json:"login,omitempty"`
}

// What is asked, and what is answered: a name, or "" for nobody.
type (
	question struct {
		Cookies map[string]string `json:"cookies"`
	}
	verdict struct {
		Principal *string `json:"principal"`
	}
)

// authenticator asks. It remembers nothing of what it was told: a session that
// was ended is over with the next request.
type authenticator struct {
	Authenticate
	call func(ctx context.Context, name string, body []byte) ([]byte, error)
}

// errTwice says that a request shows a cookie with two values, of which its
// service could take the other.
var errTwice = errors.New("the cookie stands there twice, with two values")

// principal is whom a request with these cookies comes from, "" for nobody. An error other than errTwice
// means that nobody knows.
func (a *authenticator) principal(ctx context.Context, cookies []string) (string, error) {
	value, shown, err := cookie(cookies, a.Cookie)
	if err != nil || !shown {
		return "", err
	}
	body, err := json.Marshal(question{map[string]string{a.Cookie: value}})
	if err != nil {
		return "", err
	}
	answer, err := a.call(ctx, a.Call, body)
	if err != nil {
		return "", fmt.Errorf("authenticate: %w", err)
	}
	name, err := parseVerdict(answer)
	if err != nil {
		return "", fmt.Errorf("authenticate: %s answers %.64q: %w", a.Call, answer, err)
	}
	return name, nil
}

// parseVerdict accepts {"principal": "alice"} and {"principal": ""}.
func parseVerdict(b []byte) (string, error) {
	var v verdict
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("something follows")
	}
	switch {
	case v.Principal == nil:
		return "", errors.New("no principal")
	case len(*v.Principal) > maxPrincipal || strings.ContainsRune(*v.Principal, 0):
		return "", fmt.Errorf("not a name of at most %d bytes", maxPrincipal)
	case strings.ContainsRune(*v.Principal, utf8.RuneError):
		// Bytes that are no text come out as this, and two names as one.
		return "", errors.New("not a name in UTF-8")
	}
	return *v.Principal, nil
}

// line is a connection to the monitor that is made when it is first needed, and
// again when it has ended.
type line struct {
	mu     sync.Mutex
	client *sdk.Client
}

func (l *line) call(ctx context.Context, name string, body []byte) ([]byte, error) {
	c, err := l.connected(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := c.Call(ctx, name, body)
	if errors.Is(err, sdk.ErrClosed) {
		l.mu.Lock()
		if l.client == c {
			l.client = nil
		}
		l.mu.Unlock()
	}
	return answer, err
}

func (l *line) connected(ctx context.Context) (*sdk.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		c, err := sdk.Connect(ctx)
		if err != nil {
			return nil, err
		}
		l.client = c
	}
	return l.client, nil
}
