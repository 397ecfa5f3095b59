package bank_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"cofferdam/examples/zoobar/bank"
	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/zoobartest"
)

// fakeAuth says that "good" is everybody's token.
type fakeAuth struct{ err error }

func (a *fakeAuth) CallJSON(_ context.Context, call string, args, result any) error {
	if call != calls.AuthCheckToken {
		return errors.New("bank called " + call)
	}
	*result.(*bool) = args.(calls.TokenCheck).Token == "good"
	return a.err
}

func feb5() time.Time { return time.Date(2020, 2, 5, 11, 10, 53, 0, time.UTC) }

// open returns a bank with accounts, and its database.
func open(t *testing.T, accounts ...string) (*bank.Bank, *sql.DB) {
	t.Helper()
	db := zoobartest.Open(t, filepath.Join(t.TempDir(), "bank.db"), bank.Schema)
	b := bank.New(db, &fakeAuth{}, feb5)
	for _, name := range accounts {
		if err := b.Register(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	return b, db
}

func balance(t *testing.T, b *bank.Bank, name string) int64 {
	t.Helper()
	n, err := b.Balance(t.Context(), name)
	if err != nil || n == nil {
		t.Fatalf("Balance(%q) = %v, %v", name, n, err)
	}
	return *n
}

func transfer(t *testing.T, b *bank.Bank, sender, recipient string, n int64) calls.Refusal {
	t.Helper()
	refused, err := b.Transfer(t.Context(), zoobartest.For(sender), calls.Transfer{Sender: sender, Recipient: recipient, Zoobars: n, Token: "good"})
	if err != nil {
		t.Fatalf("Transfer(%q, %q, %d) = %v", sender, recipient, n, err)
	}
	return refused
}

// consistent fails the test unless the money is all there, nobody owes any, and
// the log explains every balance.
func consistent(t *testing.T, db *sql.DB) {
	t.Helper()
	var sum, accounts, negative, unexplained int64
	err := db.QueryRow(`SELECT
		(SELECT total(zoobars) FROM bank), (SELECT count(*) FROM bank),
		(SELECT count(*) FROM bank WHERE zoobars < 0),
		(SELECT count(*) FROM bank b WHERE zoobars != 10
			+ (SELECT coalesce(sum(amount), 0) FROM transfer WHERE recipient = b.username)
			- (SELECT coalesce(sum(amount), 0) FROM transfer WHERE sender = b.username))`).
		Scan(&sum, &accounts, &negative, &unexplained)
	if err != nil {
		t.Fatal(err)
	}
	if sum != 10*accounts || negative != 0 || unexplained != 0 {
		t.Errorf("%d zoobars in %d accounts, %d negative, %d not explained by the log", sum, accounts, negative, unexplained)
	}
}

func TestTransfer(t *testing.T) {
	b, db := open(t, "alice", "bob")
	if refused := transfer(t, b, "alice", "bob", 3); refused != "" {
		t.Fatalf("refused: %s", refused)
	}
	if a, o := balance(t, b, "alice"), balance(t, b, "bob"); a != 7 || o != 13 {
		t.Errorf("balances %d and %d, want 7 and 13", a, o)
	}
	want := calls.LogEntry{Time: "Wed Feb  5 11:10:53 2020", Sender: "alice", Recipient: "bob", Amount: 3}
	for _, name := range []string{"alice", "bob"} {
		if log, err := b.Log(t.Context(), name); err != nil || len(log) != 1 || log[0] != want {
			t.Errorf("Log(%q) = %v, %v, want %v", name, log, err, want)
		}
	}
	consistent(t, db)
}

// Defects (a), (b) and (c) of the original, and what else must change nothing.
func TestRefusedTransfers(t *testing.T) {
	b, db := open(t, "alice", "bob")
	for _, tt := range []struct {
		what, sender, recipient string
		n                       int64
		want                    calls.Refusal
	}{
		{"negative amount", "alice", "bob", -5, calls.RefusedAmount},
		{"nothing", "alice", "bob", 0, calls.RefusedAmount},
		{"to oneself", "alice", "alice", 5, calls.RefusedSelf},
		{"unknown recipient", "alice", "carol", 5, calls.RefusedRecipient},
		{"unknown sender", "carol", "bob", 5, calls.RefusedSender},
		{"too much", "alice", "bob", 11, calls.RefusedFunds},
		{"far too much", "alice", "bob", 1<<63 - 1, calls.RefusedFunds},
	} {
		if got := transfer(t, b, tt.sender, tt.recipient, tt.n); got != tt.want {
			t.Errorf("%s: refused %q, want %q", tt.what, got, tt.want)
		}
	}
	refused, err := b.Transfer(t.Context(), zoobartest.For("alice"), calls.Transfer{Sender: "alice", Recipient: "bob", Zoobars: 1, Token: "stale"})
	if refused != calls.RefusedToken || err != nil {
		t.Errorf("with another token: refused %q, %v, want %q", refused, err, calls.RefusedToken)
	}
	if a, o := balance(t, b, "alice"), balance(t, b, "bob"); a != 10 || o != 10 {
		t.Errorf("balances %d and %d, want 10 and 10", a, o)
	}
	consistent(t, db)
}

func TestNoAuthNoTransfer(t *testing.T) {
	_, db := open(t, "alice", "bob")
	b := bank.New(db, &fakeAuth{err: errors.New("down")}, feb5)
	if _, err := b.Transfer(t.Context(), zoobartest.For("alice"), calls.Transfer{Sender: "alice", Recipient: "bob", Zoobars: 1, Token: "good"}); err == nil {
		t.Error("a transfer went through while auth was down")
	}
	consistent(t, db)
	if balance(t, b, "alice") != 10 {
		t.Error("and the money is gone")
	}
}

func TestGive(t *testing.T) {
	b, db := open(t, "alice", "bob")
	bound := calls.Bound{Owner: "alice", Visitor: "bob"}.Bytes()
	if err := b.Give(t.Context(), bound, calls.Gift{Target: "bob", Zoobars: 2}); err != nil {
		t.Fatal(err)
	}
	if a, o := balance(t, b, "alice"), balance(t, b, "bob"); a != 8 || o != 12 {
		t.Errorf("balances %d and %d, want 8 and 12", a, o)
	}
	for _, tt := range []struct {
		what  string
		bound []byte
		gift  calls.Gift
	}{
		{"bound to nobody", nil, calls.Gift{Target: "bob", Zoobars: 1}},
		{"bound to nonsense", []byte(`{"owner":"alice"}`), calls.Gift{Target: "bob", Zoobars: 1}},
		{"more than there is", bound, calls.Gift{Target: "bob", Zoobars: 9}},
		{"a negative gift", bound, calls.Gift{Target: "bob", Zoobars: -1}},
		{"to oneself", bound, calls.Gift{Target: "alice", Zoobars: 1}},
		{"to nobody", bound, calls.Gift{Target: "carol", Zoobars: 1}},
	} {
		if err := b.Give(t.Context(), tt.bound, tt.gift); err == nil {
			t.Errorf("%s: no error", tt.what)
		}
	}
	if a, o := balance(t, b, "alice"), balance(t, b, "bob"); a != 8 || o != 12 {
		t.Errorf("balances %d and %d after refused gifts, want 8 and 12", a, o)
	}
	consistent(t, db)
}

func TestRegisterKeepsTheBalance(t *testing.T) {
	b, db := open(t, "alice", "bob")
	transfer(t, b, "alice", "bob", 4)
	if err := b.Register(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if n := balance(t, b, "alice"); n != 6 {
		t.Errorf("balance %d after a second registration, want 6", n)
	}
	consistent(t, db)
}

func TestUnknownUser(t *testing.T) { // defect (g)
	b, _ := open(t)
	if n, err := b.Balance(t.Context(), "nobody"); n != nil || err != nil {
		t.Errorf("Balance = %v, %v, want nil", n, err)
	}
	if log, err := b.Log(t.Context(), "nobody"); log == nil || len(log) != 0 || err != nil {
		t.Errorf("Log = %#v, %v, want an empty list", log, err)
	}
}

func TestLogIsBounded(t *testing.T) {
	b, _ := open(t, "alice", "bob")
	for i := range calls.MaxLogEntries + 10 {
		from, to := "alice", "bob"
		if i%2 == 1 {
			from, to = to, from
		}
		transfer(t, b, from, to, 1)
	}
	log, err := b.Log(t.Context(), "alice")
	if err != nil || len(log) != calls.MaxLogEntries {
		t.Fatalf("%d entries, %v, want %d", len(log), err, calls.MaxLogEntries)
	}
	if log[0].Sender != "alice" || log[1].Sender != "bob" || log[len(log)-1].Sender != "bob" {
		t.Errorf("entries are not in the order of the transfers: %v … %v", log[:2], log[len(log)-1])
	}
}

// Property: whatever many people do at once, money is conserved and the log
// explains every balance (defects d and e).
func TestConcurrentTransfersConserve(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	b, db := open(t, names...)
	seed := rand.Uint64()
	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(worker)))
			for range 40 {
				sender, recipient, n := names[rng.IntN(5)], names[rng.IntN(5)], rng.Int64N(16)-3
				refused, err := b.Transfer(context.Background(), zoobartest.For(sender), calls.Transfer{Sender: sender, Recipient: recipient, Zoobars: n, Token: "good"})
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
				} else if refused == "" {
					mu.Lock()
					made++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	consistent(t, db)
	var rows int
	if err := db.QueryRow(`SELECT count(*) FROM transfer`).Scan(&rows); err != nil || rows != made {
		t.Errorf("seed %d: %d transfers made, %d in the log, %v", seed, made, rows, err)
	}
}

// A transfer for which there is no room is not made, and the next one that has
// room is.
func TestFullDisk(t *testing.T) {
	b, db := open(t, "alice", "bob")
	var pages int
	if err := db.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages)); err != nil {
		t.Fatal(err)
	}
	move := func(i int) error {
		from, to := "alice", "bob"
		if i%2 == 1 {
			from, to = to, from
		}
		_, err := b.Transfer(t.Context(), zoobartest.For(from), calls.Transfer{Sender: from, Recipient: to, Zoobars: 1, Token: "good"})
		return err
	}
	i := 0
	for ; move(i) == nil; i++ {
		if i > 10000 {
			t.Fatal("the disk does not fill")
		}
	}
	consistent(t, db)
	var rows int
	if err := db.QueryRow(`SELECT count(*) FROM transfer`).Scan(&rows); err != nil || rows != i {
		t.Errorf("%d transfers confirmed, %d in the log, %v", i, rows, err)
	}
	if _, err := db.Exec(`PRAGMA max_page_count = 1000`); err != nil {
		t.Fatal(err)
	}
	if err := move(i); err != nil {
		t.Errorf("with room again: %v", err)
	}
	consistent(t, db)
}
