// Package honeychecker knows which of a user's sweetwords is the password, by its
// position, and nothing else of anybody: no word, no hash.
//
// It is the second half of a login (Juels and Rivest, Honeywords, 2013). auth has the
// hashes of all sweetwords and asks whether the one that somebody has typed is
// the right one. If it is another, somebody has inverted stolen hashes: that is an alarm,
// which is written down here, where who has taken over auth cannot remove it.
//
// Trusted: no by Cofferdam; yes by zoobar, to raise alarms. It can let nobody in.
package honeychecker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/user"
	"cofferdam/sdk"
)

// Schema of the positions and the alarms.
const Schema = `CREATE TABLE IF NOT EXISTS sugar(
	username varchar(128) PRIMARY KEY NOT NULL,
	position integer NOT NULL
);
CREATE TABLE IF NOT EXISTS alarm(
	id integer PRIMARY KEY AUTOINCREMENT,
	username varchar(128) NOT NULL,
	position integer NOT NULL,
	time integer NOT NULL
)`

// MaxPosition is above any that is noted.
const MaxPosition = 1024

// MaxAlarms is how many are kept; the first ones are what tells when it began.
const MaxAlarms = 100_000

// Honeychecker answers set and check. It is safe for concurrent use.
type Honeychecker struct {
	db  *sql.DB
	now func() time.Time
}

// New returns a honeychecker on a database that has [Schema].
func New(db *sql.DB, now func() time.Time) *Honeychecker {
	return &Honeychecker{db: db, now: now}
}

// Methods are what auth may call.
func (h *Honeychecker) Methods() map[string]sdk.Handler {
	return map[string]sdk.Handler{
		"set": sdk.JSON(func(ctx context.Context, _ sdk.Caller, s calls.Sugar) (any, error) {
			return nil, h.Set(ctx, s)
		}),
		"check": sdk.JSON(func(ctx context.Context, _ sdk.Caller, s calls.Sugar) (bool, error) {
			return h.Check(ctx, s)
		}),
	}
}

func valid(s calls.Sugar) error {
	if err := user.CheckName(s.Username); err != nil {
		return err
	}
	if s.Position < 0 || s.Position >= MaxPosition {
		return fmt.Errorf("position %d: not one from 0 to %d", s.Position, MaxPosition-1)
	}
	return nil
}

// Set notes the position of a user's password.
func (h *Honeychecker) Set(ctx context.Context, s calls.Sugar) error {
	if err := valid(s); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	_, err := h.db.ExecContext(ctx, `INSERT INTO sugar(username, position) VALUES(?, ?)
		ON CONFLICT(username) DO UPDATE SET position = excluded.position`, s.Username, s.Position)
	if err != nil {
		return fmt.Errorf("set: %w", err)
	}
	return nil
}

// Check tells whether that is the position of the user's password. If not, or if
// nobody knows of such a user, it writes down an alarm first.
func (h *Honeychecker) Check(ctx context.Context, s calls.Sugar) (bool, error) {
	if err := valid(s); err != nil {
		return false, fmt.Errorf("check: %w", err)
	}
	var position int
	err := h.db.QueryRowContext(ctx, `SELECT position FROM sugar WHERE username = ?`, s.Username).Scan(&position)
	switch {
	case err == nil && position == s.Position:
		return true, nil
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return false, fmt.Errorf("check: %w", err)
	}
	slog.Error("alarm: a honeyword was used; the hashes of passwords are stolen", "user", s.Username, "known", err == nil)
	_, err = h.db.ExecContext(ctx, `INSERT INTO alarm(username, position, time)
		SELECT ?, ?, ? WHERE (SELECT count(*) FROM alarm) < ?`, s.Username, s.Position, h.now().Unix(), MaxAlarms)
	if err != nil {
		return false, fmt.Errorf("check: write down the alarm: %w", err)
	}
	return false, nil
}
