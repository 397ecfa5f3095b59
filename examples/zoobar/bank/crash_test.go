package bank_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cofferdam/examples/zoobar/bank"
	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/db"
	"cofferdam/examples/zoobar/zoobartest"
)

const crashVariable = "ZOOBAR_BANK_THAT_WILL_BE_KILLED"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashVariable); path != "" {
		fmt.Fprintln(os.Stderr, transferForEver(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// transferForEver prints a line after each transfer that was confirmed.
func transferForEver(path string) error {
	ctx := context.Background()
	data, err := db.Open(ctx, path, bank.Schema)
	if err != nil {
		return err
	}
	b := bank.New(data, &fakeAuth{}, time.Now)
	from, to := "alice", "bob"
	for {
		if refused, err := b.Transfer(ctx, zoobartest.For(from), calls.Transfer{Sender: from, Recipient: to, Zoobars: 1, Token: "good"}); refused != "" || err != nil {
			return fmt.Errorf("refused %q: %w", refused, err)
		}
		fmt.Println("confirmed")
		from, to = to, from
	}
}

// A bank that is killed in the middle of transfers has lost none that it has
// confirmed, and half of none (defect d).
func TestKilledBank(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bank.db")
	setUp := zoobartest.Open(t, path, bank.Schema)
	for _, name := range []string{"alice", "bob"} {
		if err := bank.New(setUp, &fakeAuth{}, feb5).Register(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := setUp.Close(); err != nil {
		t.Fatal(err)
	}
	confirmed := 0
	for round := range 3 {
		confirmed += killAfter(t, path, time.Duration(20+round*15)*time.Millisecond)

		again, err := db.Open(t.Context(), path, bank.Schema)
		if err != nil {
			t.Fatalf("open after the kill: %v", err)
		}
		consistent(t, again)
		var rows int
		if err := again.QueryRow(`SELECT count(*) FROM transfer`).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		// One may be committed in each round that was killed before it could say so.
		if rows < confirmed || rows > confirmed+round+1 {
			t.Errorf("round %d: %d transfers confirmed, %d in the log", round, confirmed, rows)
		}
		var integrity string
		if err := again.QueryRow(`PRAGMA integrity_check`).Scan(&integrity); err != nil || integrity != "ok" {
			t.Errorf("integrity_check: %s, %v", integrity, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if confirmed == 0 {
		t.Error("no transfer was confirmed in any round")
	}
}

// killAfter runs the bank, kills it a while after its first transfer, and
// returns how many it has confirmed.
func killAfter(t *testing.T, path string, d time.Duration) (confirmed int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashVariable+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if confirmed++; confirmed == 1 {
			time.AfterFunc(d, func() { cmd.Process.Kill() })
		}
	}
	cmd.Wait() // says that it was killed, which it was
	return confirmed
}
