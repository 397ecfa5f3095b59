package auth_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cofferdam/examples/zoobar/auth"
	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/zoobartest"
)

// service is an Auth with a bank that always opens the account.
func service(t *testing.T, bank *fakeBank) *auth.Auth {
	t.Helper()
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "cred.db"), auth.Schema)
	return auth.New(db, bank, auth.Options{Iterations: 10})
}

type fakeBank struct {
	err    error
	mu     sync.Mutex
	opened []string
}

func (b *fakeBank) CallJSON(_ context.Context, call string, args, _ any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if call != calls.BankRegister {
		return errors.New("auth called " + call)
	}
	b.opened = append(b.opened, args.(calls.User).Username)
	return b.err
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
	a := service(t, &fakeBank{})
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
	bank := &fakeBank{}
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
	bank := &fakeBank{err: errors.New("bank is down")}
	a := service(t, bank)
	if token, err := a.Register(t.Context(), "alice", "secret"); err == nil || token != "" {
		t.Fatalf("Register without a bank = %q, %v, want an error", token, err)
	}
	if token := login(t, a, "alice", "secret"); token != "" {
		t.Error("half a registration can log in")
	}
	bank.err = nil
	if register(t, a, "alice", "another") == "" {
		t.Error("the name is burnt by half a registration")
	}
	if login(t, a, "alice", "another") == "" {
		t.Error("cannot log in after the second attempt")
	}
}

func TestNameIsTakenOnce(t *testing.T) {
	a := service(t, &fakeBank{})
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
	a := auth.New(db, &fakeBank{}, auth.Options{Iterations: 1000})
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
		if len(password) != 64 || password == "secret" || seen[password] {
			t.Errorf("password %q is not a hash of its own", password)
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
		seen[password], seen[salt] = true, true
	}
	if err := rows.Err(); err != nil || len(seen) != 4 {
		t.Errorf("read %d values, %v, want 4", len(seen), err)
	}
	// Old rows verify with their own number of iterations.
	if login(t, auth.New(db, &fakeBank{}, auth.Options{Iterations: 7}), "bob", "secret") == "" {
		t.Error("a password with 1000 iterations does not verify where 7 are the default")
	}
}
