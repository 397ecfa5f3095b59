package bank

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"cofferdam/examples/zoobar/calls"
)

// move takes n zoobars from one account and puts them into another, and writes
// the log: all of it or nothing. A refusal has changed nothing.
func (b *Bank) move(ctx context.Context, sender, recipient string, n int64) (calls.Refusal, error) {
	switch {
	case n < 1:
		return calls.RefusedAmount, nil
	case sender == recipient:
		return calls.RefusedSelf, nil
	}
	tx, err := b.db.BeginTx(ctx, nil) // immediate: nobody else writes from here on
	if err != nil {
		return "", fmt.Errorf("transfer: %w", err)
	}
	defer tx.Rollback() // does nothing after the commit

	refused, err := check(ctx, tx, sender, recipient, n)
	if refused != "" || err != nil {
		return refused, err
	}
	// The amount is at most the sender's balance, and all balances together are
	// ten per account: no sum here comes near the end of an int64.
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`UPDATE bank SET zoobars = zoobars - ? WHERE username = ?`, []any{n, sender}},
		{`UPDATE bank SET zoobars = zoobars + ? WHERE username = ?`, []any{n, recipient}},
		{`INSERT INTO transfer(sender, recipient, amount, time) VALUES(?, ?, ?, ?)`,
			[]any{sender, recipient, n, b.now().Format(time.ANSIC)}}, // the form of asctime(3)
	} {
		if _, err := tx.ExecContext(ctx, step.query, step.args...); err != nil {
			return "", fmt.Errorf("transfer: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return "", fmt.Errorf("transfer: commit: %w", err)
	}
	return "", nil
}

func check(ctx context.Context, tx *sql.Tx, sender, recipient string, n int64) (calls.Refusal, error) {
	var has, there sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT
		(SELECT zoobars FROM bank WHERE username = ?),
		(SELECT zoobars FROM bank WHERE username = ?)`, sender, recipient).Scan(&has, &there)
	switch {
	case err != nil:
		return "", fmt.Errorf("transfer: %w", err)
	case !has.Valid:
		return calls.RefusedSender, nil
	case !there.Valid:
		return calls.RefusedRecipient, nil
	case has.Int64 < n:
		return calls.RefusedFunds, nil
	}
	return "", nil
}
