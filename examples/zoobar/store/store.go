// Package store keeps the text of every profile, and is the only one that
// writes it.
//
// A profile may be a program that spends its owner's zoobars, so that who can
// write a profile can spend. The store writes only for somebody who shows the
// owner's token, which it checks with auth itself: the web tier alone, broken
// into, cannot change anybody's program.
//
// Trusted: no by Cofferdam; yes by zoobar, with what runs in whose name.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// Schema of the profiles.
const Schema = `CREATE TABLE IF NOT EXISTS profile(
	username varchar(128) PRIMARY KEY NOT NULL,
	profile text NOT NULL
)`

// Peers are the services that the store calls.
type Peers interface {
	CallJSON(ctx context.Context, call string, args, result any) error
}

// Store answers get_profile and set_profile. It is safe for concurrent use.
type Store struct {
	db    *sql.DB
	peers Peers
}

// New returns a store on a database that has [Schema].
func New(db *sql.DB, peers Peers) *Store {
	return &Store{db: db, peers: peers}
}

// Methods are what others may call.
func (s *Store) Methods() map[string]sdk.Handler {
	return map[string]sdk.Handler{
		"get_profile": sdk.JSON(func(ctx context.Context, _ sdk.Caller, u calls.User) (string, error) {
			return s.Profile(ctx, u.Username)
		}),
		"set_profile": sdk.JSON(func(ctx context.Context, from sdk.Caller, p calls.ProfileUpdate) (bool, error) {
			return s.SetProfile(ctx, from, p)
		}),
	}
}

// Profile returns the text as it was saved, "" if none was.
func (s *Store) Profile(ctx context.Context, username string) (string, error) {
	var text string
	err := s.db.QueryRowContext(ctx, `SELECT profile FROM profile WHERE username = ?`, username).Scan(&text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("get profile: %w", err)
	}
	return text, nil
}

// SetProfile saves a text of at most [calls.MaxProfileBytes]. It is false if
// the caller does not act for the user or the token is not the user's.
func (s *Store) SetProfile(ctx context.Context, from sdk.Caller, p calls.ProfileUpdate) (bool, error) {
	if len(p.Text) > calls.MaxProfileBytes {
		return false, fmt.Errorf("set profile: %d bytes, more than %d", len(p.Text), calls.MaxProfileBytes)
	}
	if !calls.ActsFor(from, p.Username) {
		return false, nil
	}
	var valid bool
	check := calls.TokenCheck{Username: p.Username, Token: p.Token}
	if err := s.peers.CallJSON(ctx, calls.AuthCheckToken, check, &valid); err != nil {
		return false, fmt.Errorf("set profile: check token: %w", err)
	}
	if !valid {
		return false, nil
	}
	_, err := s.db.ExecContext(ctx, `INSERT INTO profile(username, profile) VALUES(?, ?)
		ON CONFLICT(username) DO UPDATE SET profile = excluded.profile`, p.Username, p.Text)
	if err != nil {
		return false, fmt.Errorf("set profile: %w", err)
	}
	return true, nil
}
