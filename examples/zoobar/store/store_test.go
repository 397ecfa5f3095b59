package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/store"
	"cofferdam/examples/zoobar/zoobartest"
)

// fakeAuth says that a user's token is "token of" and the name.
type fakeAuth struct{ err error }

func (a fakeAuth) CallJSON(_ context.Context, call string, args, result any) error {
	if call != calls.AuthCheckToken {
		return errors.New("store called " + call)
	}
	check := args.(calls.TokenCheck)
	*result.(*bool) = check.Token == "token of "+check.Username
	return a.err
}

func TestOnlyTheOwnerWrites(t *testing.T) {
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "profile.db"), store.Schema)
	s := store.New(db, fakeAuth{})
	down := store.New(db, fakeAuth{err: errors.New("down")})
	text := "#!python\r\nprint('ü')\n"
	for _, tt := range []struct {
		what  string
		store *store.Store
		p     calls.ProfileUpdate
		saved bool
		fails bool
	}{
		{"own token", s, calls.ProfileUpdate{Username: "alice", Token: "token of alice", Text: text}, true, false},
		{"another's token", s, calls.ProfileUpdate{Username: "alice", Token: "token of bob", Text: "x"}, false, false},
		{"no token", s, calls.ProfileUpdate{Username: "alice", Text: "x"}, false, false},
		{"too long", s, calls.ProfileUpdate{Username: "alice", Token: "token of alice", Text: strings.Repeat("x", calls.MaxProfileBytes+1)}, false, true},
		{"auth is down", down, calls.ProfileUpdate{Username: "alice", Token: "token of alice", Text: "x"}, false, true},
	} {
		saved, err := tt.store.SetProfile(t.Context(), zoobartest.For(tt.p.Username), tt.p)
		if saved != tt.saved || (err != nil) != tt.fails {
			t.Errorf("%s: SetProfile = %v, %v, want %v", tt.what, saved, err, tt.saved)
		}
		if got, err := s.Profile(t.Context(), "alice"); got != text || err != nil {
			t.Errorf("%s: the profile is %q, %v, want the first one", tt.what, got, err)
		}
	}
	if got, err := s.Profile(t.Context(), "bob"); got != "" || err != nil {
		t.Errorf("Profile of somebody without one = %q, %v, want none", got, err)
	}
	longest := strings.Repeat("x", calls.MaxProfileBytes)
	if saved, err := s.SetProfile(t.Context(), zoobartest.For("bob"), calls.ProfileUpdate{Username: "bob", Token: "token of bob", Text: longest}); !saved || err != nil {
		t.Errorf("a profile of the greatest length: %v, %v", saved, err)
	}
}
