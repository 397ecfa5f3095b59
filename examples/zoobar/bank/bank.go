// Package bank keeps who has how many zoobars, and every transfer.
//
// Balances and log are one database and change in one transaction. Money is
// made in one place only, the opening of an account: transfers conserve the sum,
// and every change of a balance has its row in the log.
//
// Trusted: no by Cofferdam; yes by zoobar, with everybody's money.
package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/user"
	"cofferdam/sdk"
)

// Opening is what a new account holds.
const Opening = 10

// Schema of the accounts and the log. The check makes a negative balance
// impossible even if the code above it is wrong.
const Schema = `
CREATE TABLE IF NOT EXISTS bank(
	username varchar(128) PRIMARY KEY NOT NULL,
	zoobars integer NOT NULL DEFAULT 10 CHECK (zoobars >= 0)
);
CREATE TABLE IF NOT EXISTS transfer(
	id integer PRIMARY KEY,
	sender varchar(128) NOT NULL REFERENCES bank(username),
	recipient varchar(128) NOT NULL REFERENCES bank(username),
	amount integer NOT NULL CHECK (amount >= 1),
	time varchar NOT NULL
);
CREATE INDEX IF NOT EXISTS transfer_sender ON transfer(sender);
CREATE INDEX IF NOT EXISTS transfer_recipient ON transfer(recipient);
`

// Peers are the services that the bank calls.
type Peers interface {
	CallJSON(ctx context.Context, call string, args, result any) error
}

// Bank answers register, transfer, give, balance and get_log. It is safe for
// concurrent use.
type Bank struct {
	db    *sql.DB
	peers Peers
	now   func() time.Time
}

// New returns a bank on a database that has [Schema].
func New(db *sql.DB, peers Peers, now func() time.Time) *Bank {
	return &Bank{db: db, peers: peers, now: now}
}

// Methods are what others may call.
func (b *Bank) Methods() map[string]sdk.Handler {
	return map[string]sdk.Handler{
		"register": sdk.JSON(func(ctx context.Context, _ sdk.Caller, u calls.User) (any, error) {
			return nil, b.Register(ctx, u.Username)
		}),
		"transfer": sdk.JSON(func(ctx context.Context, from sdk.Caller, t calls.Transfer) (calls.Transferred, error) {
			refused, err := b.Transfer(ctx, from, t)
			return calls.Transferred{Refused: refused}, err
		}),
		"give": sdk.JSON(func(ctx context.Context, from sdk.Caller, g calls.Gift) (any, error) {
			return nil, b.Give(ctx, from.Bound, g)
		}),
		"balance": sdk.JSON(func(ctx context.Context, _ sdk.Caller, u calls.User) (*int64, error) {
			return b.Balance(ctx, u.Username)
		}),
		"get_log": sdk.JSON(func(ctx context.Context, _ sdk.Caller, u calls.User) ([]calls.LogEntry, error) {
			return b.Log(ctx, u.Username)
		}),
	}
}

// Register opens an account with [Opening] zoobars. One that is open already is
// left as it is.
func (b *Bank) Register(ctx context.Context, username string) error {
	if err := user.CheckName(username); err != nil {
		return fmt.Errorf("open account: %w", err)
	}
	_, err := b.db.ExecContext(ctx, `INSERT INTO bank(username, zoobars) VALUES(?, ?) ON CONFLICT DO NOTHING`, username, Opening)
	if err != nil {
		return fmt.Errorf("open account: %w", err)
	}
	return nil
}

// Transfer moves money for a person, for whom the caller shows that it acts, and
// who proves to be there with a token. The token is checked with auth now: whoever
// checked it earlier, the person may have logged in again since.
func (b *Bank) Transfer(ctx context.Context, from sdk.Caller, t calls.Transfer) (calls.Refusal, error) {
	if !calls.ActsFor(from, t.Sender) {
		return calls.RefusedToken, nil
	}
	var valid bool
	check := calls.TokenCheck{Username: t.Sender, Token: t.Token}
	if err := b.peers.CallJSON(ctx, calls.AuthCheckToken, check, &valid); err != nil {
		return "", fmt.Errorf("transfer: check token: %w", err)
	}
	if !valid {
		return calls.RefusedToken, nil
	}
	return b.move(ctx, t.Sender, t.Recipient, t.Zoobars)
}

// Give moves money for a running profile, from its owner. Bound is what the
// monitor says the caller is bound to; without it there is no owner and no gift.
func (b *Bank) Give(ctx context.Context, bound []byte, g calls.Gift) error {
	run, err := calls.ParseBound(bound)
	if err != nil {
		return fmt.Errorf("give: %w", err)
	}
	refused, err := b.move(ctx, run.Owner, g.Target, g.Zoobars)
	if err != nil {
		return err
	}
	if refused != "" {
		return fmt.Errorf("give: refused: %s", refused)
	}
	return nil
}

// Balance returns what username has, or nil without an account.
func (b *Bank) Balance(ctx context.Context, username string) (*int64, error) {
	var zoobars int64
	err := b.db.QueryRowContext(ctx, `SELECT zoobars FROM bank WHERE username = ?`, username).Scan(&zoobars)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("balance: %w", err)
	}
	return &zoobars, nil
}

// Log returns the transfers that username sent or received, in the order they
// were made; of more than [calls.MaxLogEntries], the last ones.
func (b *Bank) Log(ctx context.Context, username string) ([]calls.LogEntry, error) {
	rows, err := b.db.QueryContext(ctx, `
		SELECT time, sender, recipient, amount FROM (
			SELECT id, time, sender, recipient, amount FROM transfer
			WHERE sender = ?1 OR recipient = ?1 ORDER BY id DESC LIMIT ?2
		) ORDER BY id`, username, calls.MaxLogEntries)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer rows.Close()
	log := []calls.LogEntry{} // not nil: JSON has a list for it
	for rows.Next() {
		var e calls.LogEntry
		if err := rows.Scan(&e.Time, &e.Sender, &e.Recipient, &e.Amount); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		log = append(log, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return log, nil
}
