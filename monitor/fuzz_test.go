package monitor

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/wire"
)

// FuzzConn feeds bytes to a connection as an environment that is granted some
// things and not others. Nothing that is not granted may reach a server, the
// spawner, a mailbox or a mount, and what does reach a server says who the environment is.
func FuzzConn(f *testing.F) {
	frame := func(op wire.Op, id uint64, name, body string) []byte {
		return wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: op, ID: id}, NameBytes: []byte(name), Body: []byte(body)})
	}
	call := frame(wire.OpCall, 1, "bank.balance", "body")
	spawn := wire.Spawn{Args: []string{"x"}, Bound: []byte("b")}
	f.Add(call)
	f.Add(frame(wire.OpCall, 2, "bank.give", "body"))
	f.Add(append(call, frame(wire.OpCancel, 1, "", "")...))
	f.Add(frame(wire.OpHello, 3, "", ""))
	f.Add(frame(wire.OpServe, 4, "", string(methodFields("page", "balance"))))
	f.Add(frame(wire.OpSpawn, 5, "sandbox", string(spawn.Append(nil))))
	f.Add(frame(wire.OpSpawn, 6, "bank", ""))
	f.Add(frame(wire.OpReply, 1, "", "an answer"))
	asking := wire.Ask{Shown: label.MustParseFormula("alice"), Out: label.MustParseFormula("bob"), Handles: []uint64{1}}
	for _, fields := range [][]byte{nil, asking.Append(nil, wire.OpCall), {wire.KeyHandle}} {
		for _, op := range []wire.Op{wire.OpCall, wire.OpReply} {
			h := wire.Frame{Header: wire.Header{Op: op, ID: 7, Flags: wire.FlagFields}, Body: append(wire.AppendFields(nil, fields), "body"...)}
			if op == wire.OpCall {
				h.NameBytes = []byte("bank.balance")
			}
			f.Add(wire.AppendFrame(nil, &h))
		}
	}
	p, dirs := shared(f)
	makeDirs(f, dirs["theories"], "a", "a/b")
	makeDirs(f, dirs["drop"], "a")
	for i, m := range []wire.Mount{
		{Dir: "/srv/theories/a"}, {Dir: "/srv/theories/a/b", Into: "bank", Client: "c"}, {Dir: "/srv/drop/a"}, {Dir: "/srv/drop/a", Into: "sandbox", Principal: "p"}, {Dir: "/etc"},
	} {
		mount := frame(wire.OpMount, uint64(10+i), "", string(m.Append(nil)))
		f.Add(mount)
		f.Add(append(mount, frame(wire.OpUnmount, uint64(20+i), "", string(m.Append(nil)))...))
	}
	ask := func(op wire.Op, id uint64, wait time.Duration, a wire.Ask) []byte {
		return wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: op, ID: id, Timeout: wait}, Body: a.Append(nil, op)})
	}
	made := ask(wire.OpMailbox, 30, 0, wire.Ask{})
	for i, name := range []string{"letters", "jobs", "vault", "absent"} {
		for j, op := range []wire.Op{wire.OpPost, wire.OpPut, wire.OpTake, wire.OpRecv} {
			a, wait := wire.Ask{Name: name}, time.Hour
			if op == wire.OpPost {
				a, wait = wire.Ask{Name: name, Handles: []uint64{1}, Data: []byte("x")}, 0
			}
			f.Add(append(made[:len(made):len(made)], ask(op, uint64(40+10*i+j), wait, a)...))
		}
	}
	f.Add(bytes.Join([][]byte{made, ask(wire.OpPost, 31, 0, wire.Ask{Handles: []uint64{1, 1}}), ask(wire.OpRecv, 32, time.Hour, wire.Ask{Handles: []uint64{1}}), ask(wire.OpDrop, 33, 0, wire.Ask{Handles: []uint64{1}})}, nil))
	f.Add(bytes.Join([][]byte{
		ask(wire.OpNewSeal, 34, 0, wire.Ask{}), ask(wire.OpEnclose, 35, 0, wire.Ask{Handles: []uint64{1}, Data: []byte("x")}),
		ask(wire.OpDisclose, 36, 0, wire.Ask{Handles: []uint64{2, 4}}), ask(wire.OpAuthenticate, 37, 0, wire.Ask{Handles: []uint64{3, 4}}),
	}, nil))
	granted := make(map[uint64]bool)
	for _, name := range []string{"", "a", "a/b"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dirs["theories"], name), &st); err != nil {
			f.Fatal(err)
		}
		granted[st.Ino] = true
	}
	f.Add(call[:len(call)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLab(t, p)
		in, server := l.server("bank", "bank-1", "balance", "look", "give", "brief")
		e := l.admit("front", "front-1")
		mounters := []*fakeMounter{newFakeMounter(t), newFakeMounter(t)}
		in.Mounting(mounters[0])
		e.Mounting(mounters[1])
		served := make(chan struct{})
		go func() {
			defer close(served)
			for {
				server.nc.SetReadDeadline(time.Time{})
				f, err := server.r.Next()
				if err != nil {
					return
				}
				if f.Op != wire.OpCall {
					continue
				}
				if name := string(f.NameBytes); name == "give" || !bytes.Equal(f.CallerBytes, e.caller) {
					t.Errorf("a call of %q by %q reaches the server", name, f.CallerBytes)
				}
				if told, _ := told(t, f); told.Shown != label.True {
					t.Errorf("it shows %v, which it does not own", told.Shown)
				}
			}
		}()
		ours, theirs := socketpair(t)
		ended := make(chan struct{})
		go func() {
			e.Serve(theirs)
			close(ended)
		}()
		go func() { // read the replies
			buf := make([]byte, 4<<10)
			for {
				if _, err := ours.Read(buf); err != nil {
					return
				}
			}
		}()
		ours.SetWriteDeadline(time.Now().Add(patience))
		ours.Write(b)
		ours.CloseWrite()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the connection has not ended with its stream")
		}
		l.m.Remove(e)
		server.nc.Close()
		<-served
		for _, m := range mounters {
			for _, target := range m.targets() {
				if !granted[m.inode(target)] || m == mounters[0] {
					t.Errorf("%s is mounted, which is not granted or whose asker has ended", target)
				}
			}
		}
		for name, box := range l.m.policy.Load().mailboxes {
			box.mu.Lock()
			for _, m := range box.queue {
				if name == "vault" || m.from.Instance != "front-1" {
					t.Errorf("mailbox %s has a message of %v", name, m.from)
				}
			}
			if n := box.takers.count + box.putting() + len(box.entered); n > 0 {
				t.Errorf("%d wait for mailbox %s after their end", n, name)
			}
			box.mu.Unlock()
		}
		for more := true; more; {
			select {
			case r := <-l.spawner.asked:
				if r.template != "sandbox" && r.template != "script" {
					t.Errorf("%q was spawned", r.template)
				}
			default:
				more = false
			}
		}
	})
}

// FuzzPreface reads lines as the gateway begins its connections with. One that is
// accepted names one principal, in the one way to write it.
func FuzzPreface(f *testing.F) {
	for _, line := range []string{
		"COFFERDAM for 616c696365 7", "COFFERDAM for - 7", "COFFERDAM for 61 -7", "COFFERDAM for 6 7", "COFFERDAM for ff 7",
		"COFFERDAM for 616c696365  7", "COFFERDAM over 1", "COFFERDAM over 18446744073709551616", "COFFERDAM", "",
	} {
		f.Add(line)
	}
	p := people(f)
	asked := ""
	door := p.Door.People
	p.Door.People = func(route int, to, principal string) (guard.Endpoint, error) {
		asked = fmt.Sprintf("COFFERDAM for %s %d", hexOf(principal), route)
		return door(route, to, principal)
	}
	l := newLab(f, p)
	e := l.admit("door", "door-1")
	f.Fuzz(func(t *testing.T, line string) {
		v := e.newVisit(nil, "back", 8081)
		if _, err := v.onBehalf(line); err == nil && line != asked {
			t.Errorf("%q is taken for %q", line, asked)
		}
	})
}
