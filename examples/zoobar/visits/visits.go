// Package visits knows who has looked at whose profile, and how often.
//
// A visit is noted by the service that runs profiles, which knows both names from
// who acted for the visitor; no program of a profile can invent one. A program
// sees who has visited its owner, and who has visited those visitors if they share that. On
// whose behalf it asks is what the monitor says that it was started for.
//
// Trusted: no by Cofferdam; yes by zoobar, with who visits whom.
package visits

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/user"
	"cofferdam/sdk"
)

// Schema of the visits, and of whose visitors others may see.
const Schema = `CREATE TABLE IF NOT EXISTS visit(
	owner varchar(128) NOT NULL,
	visitor varchar(128) NOT NULL,
	times integer NOT NULL,
	last integer NOT NULL,
	PRIMARY KEY(owner, visitor)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sharing(
	username varchar(128) PRIMARY KEY NOT NULL
) WITHOUT ROWID`

// Bounds of what is kept and shown.
const (
	MaxVisitors = 1000 // of one owner, the latest
	MaxShown    = 200  // visits in one answer: first those of the owner, the latest first
)

// Visits answers note, get and share. It is safe for concurrent use.
type Visits struct {
	db  *sql.DB
	now func() time.Time
}

// New returns the service on a database that has [Schema].
func New(db *sql.DB, now func() time.Time) *Visits {
	return &Visits{db: db, now: now}
}

// Methods are what others may call: note for profile, the rest for sandboxes.
func (v *Visits) Methods() map[string]sdk.Handler {
	return map[string]sdk.Handler{
		"note": sdk.JSON(func(ctx context.Context, _ sdk.Caller, visit calls.Visit) (any, error) {
			return nil, v.Note(ctx, visit)
		}),
		"get": sdk.JSON(func(ctx context.Context, from sdk.Caller, _ struct{}) ([]calls.Visited, error) {
			run, err := calls.ParseBound(from.Bound)
			if err != nil {
				return nil, err
			}
			return v.Get(ctx, run.Owner)
		}),
		"share": sdk.JSON(func(ctx context.Context, from sdk.Caller, s calls.Sharing) (any, error) {
			run, err := calls.ParseBound(from.Bound)
			if err != nil {
				return nil, err
			}
			return nil, v.Share(ctx, run.Owner, s.On)
		}),
	}
}

// Note counts a visit. To look at one's own profile is none.
func (v *Visits) Note(ctx context.Context, visit calls.Visit) error {
	for _, name := range []string{visit.Owner, visit.Visitor} {
		if err := user.CheckName(name); err != nil {
			return fmt.Errorf("note a visit: %w", err)
		}
	}
	if visit.Owner == visit.Visitor {
		return nil
	}
	tx, err := v.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("note a visit: %w", err)
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, `INSERT INTO visit(owner, visitor, times, last) VALUES(?, ?, 1, ?)
		ON CONFLICT(owner, visitor) DO UPDATE SET times = times + 1, last = excluded.last`, visit.Owner, visit.Visitor, v.now().Unix())
	if err == nil {
		_, err = tx.ExecContext(ctx, `DELETE FROM visit WHERE owner = ?1 AND visitor IN
			(SELECT visitor FROM visit WHERE owner = ?1 ORDER BY last DESC, visitor LIMIT -1 OFFSET ?2)`, visit.Owner, MaxVisitors)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return fmt.Errorf("note a visit: %w", err)
	}
	return nil
}

// Get returns who has visited owner, and who has visited those that share it.
func (v *Visits) Get(ctx context.Context, owner string) ([]calls.Visited, error) {
	rows, err := v.db.QueryContext(ctx, `SELECT visitor, owner, times, last FROM visit
		WHERE owner = ?1
		OR owner IN (SELECT visitor FROM visit WHERE owner = ?1) AND owner IN (SELECT username FROM sharing)
		ORDER BY owner != ?1, last DESC, owner, visitor LIMIT ?2`, owner, MaxShown)
	if err != nil {
		return nil, fmt.Errorf("get visits: %w", err)
	}
	defer rows.Close()
	all := []calls.Visited{}
	for rows.Next() {
		var one calls.Visited
		if err := rows.Scan(&one.From, &one.To, &one.Times, &one.Last); err != nil {
			return nil, fmt.Errorf("get visits: %w", err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("get visits: %w", err)
	}
	return all, nil
}

// Share says whether those whom username has visited may see who visits username.
func (v *Visits) Share(ctx context.Context, username string, on bool) error {
	change := `DELETE FROM sharing WHERE username = ?`
	if on {
		change = `INSERT INTO sharing(username) VALUES(?) ON CONFLICT DO NOTHING`
	}
	if _, err := v.db.ExecContext(ctx, change, username); err != nil {
		return fmt.Errorf("share visits: %w", err)
	}
	return nil
}
