package auth_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"cofferdam/examples/zoobar/auth"
	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/zoobartest"
)

// service is an Auth with a bank that always opens the account.
func service(t *testing.T, peers *fakePeers) *auth.Auth {
	t.Helper()
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "cred.db"), auth.Schema)
	return auth.New(db, peers, auth.Options{Iterations: 10})
}

// fakePeers is a bank, and a honeychecker that can be away.
type fakePeers struct {
	bank, honeychecker error // what they answer instead

	mu       sync.Mutex
	opened   []string
	position map[string]int
	alarms   []string
}

func (p *fakePeers) CallJSON(_ context.Context, call string, args, result any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch call {
	case calls.BankRegister:
		p.opened = append(p.opened, args.(calls.User).Username)
		return p.bank
	case calls.HoneySet:
		if p.position == nil {
			p.position = make(map[string]int)
		}
		s := args.(calls.Sugar)
		p.position[s.Username] = s.Position
		return p.honeychecker
	case calls.HoneyCheck:
		if p.honeychecker != nil {
			return p.honeychecker
		}
		s := args.(calls.Sugar)
		at, ok := p.position[s.Username]
		*result.(*bool) = ok && at == s.Position
		if !*result.(*bool) {
			p.alarms = append(p.alarms, s.Username)
		}
		return nil
	}
	return errors.New("auth called " + call)
}

// away says what the honeychecker answers from now on.
func (p *fakePeers) away(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.honeychecker = err
}

func (p *fakePeers) alarmed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.alarms)
}

func register(t *testing.T, a *auth.Auth, name, password string) string {
	t.Helper()
	token, err := a.Register(t.Context(), name, password)
	if err != nil {
		t.Fatalf("Register(%q) = %v", name, err)
	}
	return token
}

func login(t *testing.T, a *auth.Auth, name, password string) string {
	t.Helper()
	token, err := a.Login(t.Context(), name, password)
	if err != nil {
		t.Fatalf("Login(%q) = %v", name, err)
	}
	return token
}

func valid(t *testing.T, a *auth.Auth, name, token string) bool {
	t.Helper()
	ok, err := a.CheckToken(t.Context(), name, token)
	if err != nil {
		t.Fatalf("CheckToken(%q) = %v", name, err)
	}
	return ok
}

func TestTokensAreRotated(t *testing.T) {
	a := service(t, &fakePeers{})
	first := register(t, a, "alice", "secret")
	if len(first) != 64 || !valid(t, a, "alice", first) {
		t.Fatalf("token %q of the registration is not valid", first)
	}
	second := login(t, a, "alice", "secret")
	if valid(t, a, "alice", first) {
		t.Error("the token of the login before is still valid")
	}
	if !valid(t, a, "alice", second) {
		t.Error("the token of the last login is not valid")
	}
	for _, tt := range []struct{ name, token string }{
		{"bob", second}, {"alice", ""}, {"", ""}, {"alice", second + "0"}, {"ALICE", second},
	} {
		if valid(t, a, tt.name, tt.token) {
			t.Errorf("CheckToken(%q, %.8q…) = true", tt.name, tt.token)
		}
	}
}

func TestRefusals(t *testing.T) {
	bank := &fakePeers{}
	a := service(t, bank)
	token := register(t, a, "alice", "secret")
	longest := strings.Repeat("p", auth.MaxPasswordBytes)
	for _, tt := range []struct{ what, name, password string }{
		{"name taken", "alice", "other"},
		{"no name", "", "x"},
		{"no password", "bob", ""},
		{"header in the name", "bob\r\nX: y", "x"},
		{"long password", "bob", longest + "p"},
	} {
		if token := register(t, a, tt.name, tt.password); token != "" {
			t.Errorf("%s: Register(%q) = %q, want none", tt.what, tt.name, token)
		}
	}
	if len(bank.opened) != 1 {
		t.Errorf("accounts were opened for %q, want alice only", bank.opened)
	}
	for _, tt := range []struct{ what, name, password string }{
		{"wrong password", "alice", "Secret"},
		{"no password", "alice", ""},
		{"long password", "alice", longest + "p"},
		{"unknown user", "bob", "secret"},
		{"unknown user without password", "bob", ""},
	} {
		if token := login(t, a, tt.name, tt.password); token != "" {
			t.Errorf("%s: Login(%q) = %q, want none", tt.what, tt.name, token)
		}
	}
	if !valid(t, a, "alice", token) {
		t.Error("a failed login has ended the session")
	}
	if register(t, a, "carol", longest) == "" || login(t, a, "carol", longest) == "" {
		t.Error("a password of the greatest length is refused")
	}
}

// A registration that stops at any step has no lasting half (defect i).
func TestRegistrationHeals(t *testing.T) {
	bank := &fakePeers{bank: errors.New("bank is down")}
	a := service(t, bank)
	if token, err := a.Register(t.Context(), "alice", "secret"); err == nil || token != "" {
		t.Fatalf("Register without a bank = %q, %v, want an error", token, err)
	}
	if token := login(t, a, "alice", "secret"); token != "" {
		t.Error("half a registration can log in")
	}
	bank.bank = nil
	if register(t, a, "alice", "another") == "" {
		t.Error("the name is burnt by half a registration")
	}
	if login(t, a, "alice", "another") == "" {
		t.Error("cannot log in after the second attempt")
	}
}

func TestNameIsTakenOnce(t *testing.T) {
	a := service(t, &fakePeers{})
	var mu sync.Mutex
	tokens := 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			token, err := a.Register(context.Background(), "alice", "secret")
			if err != nil {
				t.Errorf("Register = %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if token != "" {
				tokens++
			}
		})
	}
	wg.Wait()
	if tokens != 1 {
		t.Errorf("%d of 4 registrations of one name succeeded, want 1", tokens)
	}
}

func TestNoSecretIsStored(t *testing.T) {
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "cred.db"), auth.Schema)
	peers := &fakePeers{}
	a := auth.New(db, peers, auth.Options{Iterations: 1000})
	register(t, a, "alice", "secret")
	register(t, a, "bob", "secret")
	token := login(t, a, "alice", "secret")

	rows, err := db.Query(`SELECT password, token, hex(salt), iterations FROM cred ORDER BY username`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := make(map[string]bool)
	for rows.Next() {
		var password, stored, salt string
		var iterations int
		if err := rows.Scan(&password, &stored, &salt, &iterations); err != nil {
			t.Fatal(err)
		}
		hashes := strings.Split(password, " ")
		if len(hashes) != auth.Sweetwords {
			t.Errorf("%d hashes of words, want %d", len(hashes), auth.Sweetwords)
		}
		for _, hash := range hashes {
			if len(hash) != 64 || seen[hash] {
				t.Errorf("%q is not a hash of its own", hash)
			}
			seen[hash] = true
		}
		if len(salt) != 32 || seen[salt] {
			t.Errorf("salt %q is not 16 bytes of its own", salt)
		}
		if stored == token {
			t.Error("the token itself is stored")
		}
		if iterations != 1000 {
			t.Errorf("iterations = %d, want 1000", iterations)
		}
		seen[salt] = true
	}
	if err := rows.Err(); err != nil || len(seen) != 2*(auth.Sweetwords+1) {
		t.Errorf("read %d values, %v, want %d", len(seen), err, 2*(auth.Sweetwords+1))
	}
	// Old rows verify with their own number of iterations.
	if login(t, auth.New(db, peers, auth.Options{Iterations: 7}), "bob", "secret") == "" {
		t.Error("a password with 1000 iterations does not verify where 7 are the default")
	}
}
