// Package roster knows who has been here. It keeps names and nothing else.
//
// Trusted: no.
package roster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/user"
	"cofferdam/sdk"
)

// Schema of the people.
const Schema = `CREATE TABLE IF NOT EXISTS person(username varchar(128) PRIMARY KEY NOT NULL)`

// Roster answers knows and welcome. It is safe for concurrent use.
type Roster struct{ db *sql.DB }

// New returns a roster on a database that has [Schema].
func New(db *sql.DB) *Roster { return &Roster{db} }

// Methods are what others may call.
func (r *Roster) Methods() map[string]sdk.Handler {
	return map[string]sdk.Handler{
		"knows": sdk.JSON(func(ctx context.Context, _ sdk.Caller, u calls.User) (bool, error) {
			return r.Knows(ctx, u.Username)
		}),
		"welcome": sdk.JSON(func(ctx context.Context, _ sdk.Caller, u calls.User) (any, error) {
			return nil, r.Welcome(ctx, u.Username)
		}),
	}
}

// Knows tells whether username has been here.
func (r *Roster) Knows(ctx context.Context, username string) (bool, error) {
	var one int
	err := r.db.QueryRowContext(ctx, `SELECT 1 FROM person WHERE username = ?`, username).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find person: %w", err)
	}
	return true, nil
}

// Welcome makes username known.
func (r *Roster) Welcome(ctx context.Context, username string) error {
	if err := user.CheckName(username); err != nil {
		return fmt.Errorf("add person: %w", err)
	}
	if _, err := r.db.ExecContext(ctx, `INSERT INTO person(username) VALUES(?) ON CONFLICT DO NOTHING`, username); err != nil {
		return fmt.Errorf("add person: %w", err)
	}
	return nil
}
