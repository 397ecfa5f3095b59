package monitor

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"cofferdam/audit"
	"cofferdam/wire"
)

// A monitor that cannot record does not decide: whatever is granted is denied
// from then on.
func TestWithoutALogNothingIsAllowed(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, l *lab){
		"closed": func(t *testing.T, l *lab) { l.log.Close() },
		"full":   fillDisk,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, bank())
			_, server := l.server("bank", "bank-1", "balance")
			go server.echo()
			in := newInside(t)
			l.admit("bank", "bank-2").Listening(in.dial)
			front, bankEnv := l.admit("front", "front-1"), l.admit("bank", "bank-3")
			p, q := l.connect(front), l.connect(bankEnv)
			p.want(p.call("bank.balance", "x"), wire.OK, "x")
			fail(t, l)
			p.want(p.call("bank.balance", "x"), wire.Denied, "")
			p.want(p.ask(wire.OpSpawn, "sandbox", 0, nil), wire.Denied, "")
			q.want(q.ask(wire.OpServe, "", 0, methodFields("look")), wire.Denied, "")
			wantEnd(t, relayed(t, front, "bank", 9000)())
			if got := tryAttach(l, front, "inside"); got != "closed" {
				t.Errorf("attach gives %v, want closed", got)
			}
			if err := l.m.conclude(front, opCall, "bank.balance", 1, Verdict{Allowed: true}); !errors.Is(err, ErrDenied) {
				t.Errorf("conclude = %v, want %v", err, ErrDenied)
			}
			select {
			case r := <-l.spawner.asked:
				t.Errorf("%s was spawned", r.template)
			default:
			}
		})
	}
}

// fillDisk lets the next write to the log fail as on a full disk, by a limit on
// the size of files: there is no way to put a log on /dev/full, which is not a
// regular file.
func fillDisk(t *testing.T, l *lab) {
	// It is longer than what else this process writes meanwhile, as go test's own log.
	for range 1 << 10 {
		l.log.Append(audit.Record{Kind: audit.KindDecision, Verdict: audit.Deny, Detail: strings.Repeat("x", audit.MaxField)})
	}
	info, err := os.Stat(l.log.Path())
	if err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size()), Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was) })
	// What was permitted within the last 10 ms may still be in the buffer.
	if err := l.log.Flush(); err == nil {
		l.m.conclude(l.m.envs["front-1"], opCall, "absent", 0, Verdict{})
	}
	if err := l.log.Flush(); !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("the log could be written: %v", err)
	}
}
