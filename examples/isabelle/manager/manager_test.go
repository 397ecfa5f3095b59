package manager_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	. "cofferdam/examples/isabelle/manager"
	"cofferdam/examples/isabelle/protocol"
)

// TestWholeRun is one connection from the password to the end of the session, with
// every path as the client knows it.
func TestWholeRun(t *testing.T) {
	s := open(t, nil)
	v := s.login(t, "alice")
	start, notes := v.do(`session_start {"session":"HOL","dirs":["/srv/library/more","sub"],"options":["show_types","goals_limit=5"],"print_mode":[]}`)
	if got := value(t, start).Text("tmp_dir"); got != "/srv/tenants/alice/.isabelle/server_session1" || len(notes) != 1 {
		t.Errorf("session_start: %+v, %+v", start, notes)
	}
	session := value(t, start).Text("session_id")
	end, notes := v.do(use(session, "Paths"))
	for want, in := range map[string]protocol.Message{
		`Loading \"/srv/tenants/alice/Paths.thy\" for /shares/ffffffffffffffffffffffffffffffff`: notes[0],
		`"nodes_status":[{"node_name":"/srv/tenants/alice/Paths.thy"`:                           notes[1],
		`"theorem in /srv/tenants/alice/Paths.thy","pos":{"line":1,"file":"/srv/tenants/alice`:  end,
		`"node_name":"/srv/tenants/alice/Paths.thy"`:                                            end,
		`"body":"` + alias("/srv/tenants/alice") + `/Paths.thy"`:                                end, // what is exported is the tenant's, and stays
	} {
		if !strings.Contains(in.Argument, want) {
			t.Errorf("%+v\ndoes not have %s", in, want)
		}
	}
	if m := v.ask(`purge_theories {"session_id":"` + session + `","theories":["/srv/library/A.thy"]}`); !strings.Contains(m.Argument, `"purged":[{"node_name":"/srv/library/A.thy"`) {
		t.Errorf("purge_theories: %+v", m)
	}
	if m := v.ask(`echo {"b":[1.50,"/shares/x"],"a":null}`); m.Argument != `{"b":[1.5,"/shares/x"],"a":null}` {
		t.Errorf("echo: %+v", m)
	}
	if m, _ := v.do(`session_stop {"session_id":"` + session + `"}`); m.Name != protocol.Finished {
		t.Errorf("session_stop: %+v", m)
	}
	if m, _ := v.do(use(session, "Gone")); m.Name != protocol.Error || value(t, m).Text("message") != protocol.NoSession(session) {
		t.Errorf("use_theories of a session that was stopped: %+v", m)
	}
	for _, want := range []string{
		`"dirs":["` + alias(library) + `/more","` + alias("/srv/tenants/alice") + `/sub"]`,
		`"master_dir":"` + alias("/srv/tenants/alice") + `"`, `"check_limit":`, `"theories":["` + alias(library) + `/A"]`,
	} {
		if !s.sawAny(want) {
			t.Errorf("the instance was not sent %s:\n%q", want, s.received)
		}
	}
	if s.sawAny("/srv/") {
		t.Errorf("the instance was told of directories of the host:\n%q", s.received)
	}
}

// TestHandshake: who has no password hears nothing; what is sent with one is not lost.
func TestHandshake(t *testing.T) {
	s := open(t, func(l *Limits) { l.Handshake = 200 * time.Millisecond })
	for _, wrong := range []string{"wrong\n", "\n", "password of \n", "password of alice \n", "PASSWORD OF ALICE\nhelp\n", strings.Repeat("x", 1000) + "\n", strings.Repeat("x", 1<<20), "17\npassword of alice", "password of alice"} {
		v := s.connect(t, "")
		go io.WriteString(v.conn, wrong) // it may be closed before it is through
		v.isClosed()
	}
	if n := s.startedOf("alice") + s.startedOf("bob"); n != 0 {
		t.Errorf("%d instances were started for nobody", n)
	}
	v := s.connect(t, password("alice")+"\r\nhelp\n7\necho 1\n")
	if m := v.read(); len(m.Frame()) > 101 || string(m.Frame()) != `OK {"isabelle_id":"abc","isabelle_name":"Stub0"}`+"\n" {
		t.Errorf("the password is answered by %+v", m)
	}
	for _, want := range []string{`["cancel","echo","help","purge_theories","session_build","session_start","session_stop","shutdown","use_theories"]`, "1"} {
		if m := v.read(); m.Name != protocol.OK || m.Argument != want {
			t.Errorf("%+v, want OK %s", m, want)
		}
	}
}

// TestStrangers: who connects and sends nothing, or half a password, in however many connections and
// again and again, keeps no tenant out.
func TestStrangers(t *testing.T) {
	s := open(t, func(l *Limits) { l.Handshake = time.Hour })
	first := s.login(t, "bob")
	for n := range 1500 {
		s.connect(t, []string{"", "password of al"}[n%2])
	}
	second := s.login(t, "alice")
	first.ask("help") // who is known stays
	second.ask("help")
}

// TestErrors are the words of the real server, for whatever is wrong with a command.
func TestErrors(t *testing.T) {
	s := open(t, nil)
	v := s.login(t, "alice")
	malformed := func(name, argument string) string {
		return fmt.Sprintf(`ERROR {"kind":"error","message":"Malformed argument for command '%s'","argument":%s}`, name, protocol.Encode(nil, argument))
	}
	bad := func(name, argument string) string {
		return strings.Replace(malformed(name, argument), "Malformed argument", "Bad argument", 1)
	}
	user := func(message string) string {
		return `ERROR {"kind":"error","message":` + string(protocol.Encode(nil, message)) + `}`
	}
	const none = "b6a1f0de-1f4c-4c2e-8a76-51c1d2f0aa10"
	session := v.session()
	of := `"session_id":"` + session + `"`
	for _, tt := range []struct{ send, want string }{
		{"", `NOTE "Command 'help' provides list of commands"`},
		{"frob", `ERROR "Bad command 'frob'"`}, {"frob {", `ERROR "Bad command 'frob'"`}, {"  help", `ERROR "Bad command ''"`}, {"HELP", `ERROR "Bad command 'HELP'"`}, {"99999999999999999999", `ERROR "Bad command '99999999999999999999'"`},
		{"document_update {}", `ERROR "Bad command 'document_update'"`},
		{"echo {", malformed("echo", "{")}, {"echo 'a'", malformed("echo", "'a'")}, {"echo [1,]", malformed("echo", "[1,]")}, {"echo " + strings.Repeat("[", 100), malformed("echo", strings.Repeat("[", 100))},
		{"help 1", bad("help", "1")}, {"shutdown {}", bad("shutdown", "{}")}, {"cancel", bad("cancel", "")}, {"cancel {}", bad("cancel", "{}")}, {`cancel {"task":"x"}`, bad("cancel", `{"task":"x"}`)}, {`cancel {"task":null}`, bad("cancel", `{"task":null}`)},
		{`session_start {"session":1}`, bad("session_start", `{"session":1}`)}, {`use_theories {"theories":[]}`, bad("use_theories", `{"theories":[]}`)},
		{"echo \x05\x06a\x05\x05\x06\x05", bad("echo", "\x05\x06a\x05\x05\x06\x05")},
		{`cancel {"task":"` + none + `"}`, `OK`},
		{`purge_theories {"session_id":"` + none + `"}`, user("No session '" + none + "'")}, {`session_stop {"session_id":"` + none + `"}`, user("No session '" + none + "'")},
		{`use_theories {"session_id":"` + none + `","theories":["A"]}`, user("No session '" + none + "'")},
		// What is not there for this tenant.
		{`session_start {"session":"HOL","dirs":["/srv/tenants/bob"]}`, user(`No such directory: "/srv/tenants/bob"`)},
		{`session_start {"session":"HOL","dirs":["../bob"]}`, user(`No such directory: "/srv/tenants/bob"`)},
		{`session_start {"session":"HOL","dirs":["~"]}`, user(`No such directory: "~"`)}, {`session_build {"session":"HOL","dirs":["$HOME"]}`, user(`No such directory: "$HOME"`)},
		{`use_theories {` + of + `,"theories":["A"],"master_dir":"/etc"}`, user(`No such directory: "/etc"`)}, {`use_theories {` + of + `,"theories":["A"],"master_dir":"//a"}`, user(`No such directory: "//a"`)},
		{`use_theories {` + of + `,"theories":["/srv/tenants/bob/A"]}`, user(`No such directory: "/srv/tenants/bob"`)}, {`use_theories {` + of + `,"theories":["../../../bob/A"]}`, user(`No such directory: "/srv/tenants/bob"`)},
		{`purge_theories {` + of + `,"master_dir":"/srv"}`, user(`No such directory: "/srv"`)},
		{`use_theories {` + of + `,"theories":["` + alias("/srv/tenants/alice") + `/A"]}`, user(`No such directory: "` + alias("/srv/tenants/alice") + `"`)},
		// Names that are none.
		{`use_theories {` + of + `,"theories":["a:b"]}`, user(`Malformed theory import: "a:b"`)}, {`use_theories {` + of + `,"theories":["a\\b"]}`, user(`Malformed theory import: "a\b"`)}, {`use_theories {` + of + `,"theories":["a/"]}`, user(`Malformed theory import: "a/"`)},
		{`use_theories {` + of + `,"theories":[""]}`, user(`Malformed theory import: ""`)}, {`use_theories {` + of + `,"theories":["$A"]}`, user(`Malformed theory import: "$A"`)}, {`use_theories {` + of + `,"theories":["~"]}`, user(`Malformed theory import: "~"`)}, {`use_theories {` + of + `,"theories":[".."]}`, user(`Malformed theory import: ".."`)},
		{`session_start {"session":"a b"}`, user(`Undefined session(s): "a b"`)}, {`session_start {"session":"HOL","include_sessions":["../x"]}`, user(`Undefined session(s): "../x"`)},
		// What is not for strangers.
		{`session_start {"session":"HOL","preferences":"threads = 99"}`, user("Bad preferences: they are the server's own here")},
		{`session_start {"session":"HOL","options":["document_output=/tmp"]}`, user(`Unknown option "document_output"`)}, {`session_start {"session":"HOL","options":["show_types=/tmp"]}`, user(`Unknown option "show_types"`)}, {`session_start {"session":"HOL","options":["threads=99"]}`, user(`Unknown option "threads"`)},
		{`use_theories {` + of + `,"theories":["A"],"export_pattern":"` + strings.Repeat("*", 2000) + `"}`, user(`Bad export pattern: "` + strings.Repeat("*", 100) + `"`)},
		{`use_theories {` + of + `,"theories":[` + strings.Repeat(`"A",`, 64) + `"A"]}`, user("Too many theories: 65, of at most 64")},
	} {
		v.raw(tt.send + "\n")
		if m := v.read(); string(m.Bytes()) != tt.want {
			t.Errorf("%.100q is answered\n%.300s, want\n%.300s", tt.send, m.Bytes(), tt.want)
		}
	}
	for _, never := range []string{"bob", "preferences", "document_output", none, "etc", "frob"} {
		if s.sawAny(never) {
			t.Errorf("the instance was sent something with %q:\n%q", never, s.received)
		}
	}
}

// TestTooLarge: what is too large is refused, and then nothing more is read.
func TestTooLarge(t *testing.T) {
	s := open(t, nil)
	for _, frame := range []string{"300000\necho", "99999999999\n", strings.Repeat("x", 300000)} {
		v := s.login(t, "alice")
		go io.WriteString(v.conn, frame)
		if m := v.read(); m.Name != protocol.Error || !strings.Contains(m.Argument, "too large") {
			t.Errorf("%.20q is answered %+v", frame, m)
		}
	}
}

// TestClamp: what a client wants of time is bounded.
func TestClamp(t *testing.T) {
	s := open(t, func(l *Limits) { l.Use = 100 * time.Second })
	v := s.login(t, "alice")
	session := v.session()
	v.do(`use_theories {"session_id":"` + session + `","theories":["A"],"check_delay":0.000001,"check_limit":0,"watchdog_timeout":0,"nodes_status_delay":0.001,"pretty_margin":1e300}`)
	v.do(`use_theories {"session_id":"` + session + `","theories":["B"],"check_delay":1,"check_limit":5,"watchdog_timeout":30}`)
	for _, want := range []string{
		`"theories":["A"],"pretty_margin":1000,"unicode_symbols":false,"export_pattern":"","check_delay":0.1,"check_limit":900,"watchdog_timeout":90,"nodes_status_delay":0.5,"commit_cleanup_delay":60}`,
		`"theories":["B"],"pretty_margin":76,"unicode_symbols":false,"export_pattern":"","check_delay":1,"check_limit":5,"watchdog_timeout":30,"nodes_status_delay":-1,"commit_cleanup_delay":60}`,
	} {
		if !s.sawAny(want) {
			t.Errorf("the instance was not sent %s:\n%q", want, s.received)
		}
	}
}

// TestNewConnectionEachTime: clients connect anew for each command, and their
// sessions are still there.
func TestNewConnectionEachTime(t *testing.T) {
	s := open(t, nil)
	first := s.login(t, "alice")
	session := first.session()
	first.conn.Close()
	for range 3 {
		v := s.login(t, "alice")
		if m, _ := v.do(use(session, "A")); m.Name != protocol.Finished {
			t.Errorf("use_theories over another connection: %+v", m)
		}
		v.conn.Close()
	}
	// Nobody else's.
	bob := s.login(t, "bob")
	if m, _ := bob.do(use(session, "A")); m.Name != protocol.Error || value(t, m).Text("message") != protocol.NoSession(session) {
		t.Errorf("bob uses alice's session: %+v", m)
	}
	if m, _ := s.login(t, "alice").do(`session_stop {"session_id":"` + session + `"}`); m.Name != protocol.Finished {
		t.Errorf("session_stop: %+v", m)
	}
	if n := s.startedOf("alice"); n != 1 {
		t.Errorf("alice had %d instances", n)
	}
}

// TestCancel: within a tenant, over any connection, whether it runs or waits; and
// when the client leaves.
func TestCancel(t *testing.T) {
	s := open(t, nil)
	v := s.login(t, "alice")
	session := v.session()
	running := value(t, v.ask(use(session, "Loop"))).Text("task")
	waiting := value(t, v.ask(use(session, "A"))).Text("task")
	if m := v.read(); m.Name != protocol.Note || !strings.Contains(m.Argument, "Waiting for its turn: 0 before this one") {
		t.Errorf("what waits is told %+v", m)
	}
	s.login(t, "bob").ask(`cancel {"task":"` + running + `"}`)
	s.login(t, "alice").ask(`cancel {"task":"` + waiting + `"}`)
	if m := v.read(); string(m.Bytes()) != `FAILED {"kind":"error","message":"Interrupt","task":"`+waiting+`"}` {
		t.Errorf("what waited is told %+v", m)
	}
	if m := v.ask("echo 1"); m.Argument != "1" {
		t.Errorf("echo beside what runs: %+v", m)
	}
	s.login(t, "alice").ask(`cancel {"task":"` + running + `"}`)
	if m := v.read(); string(m.Bytes()) != `FAILED {"kind":"error","message":"Interrupt","task":"`+running+`"}` {
		t.Errorf("what ran is told %+v", m)
	}
	left := s.login(t, "alice")
	left.ask(use(session, "Loop"))
	left.conn.Close()
	if m, _ := v.do(use(session, "A")); m.Name != protocol.Finished {
		t.Errorf("after a client left what ran: %+v", m)
	}
	if n := s.startedOf("alice"); n != 1 {
		t.Errorf("alice had %d instances", n)
	}
}

// TestShutdown ends the instance of a tenant and of nobody else.
func TestShutdown(t *testing.T) {
	s := open(t, nil)
	bob := s.login(t, "bob")
	bobs := bob.session()
	alice := s.login(t, "alice")
	session := alice.session()
	running := value(t, alice.ask(use(session, "Loop"))).Text("task")
	killer := s.login(t, "alice")
	if m := killer.ask("shutdown"); string(m.Bytes()) != "OK" {
		t.Errorf("shutdown: %+v", m)
	}
	killer.isClosed()
	if m := alice.read(); m.Name != protocol.Failed || value(t, m).Text("task") != running {
		t.Errorf("what ran is told %+v", m)
	}
	if m, _ := alice.do(use(session, "A")); value(t, m).Text("message") != protocol.NoSession(session) {
		t.Errorf("use_theories after shutdown: %+v", m)
	}
	if m, _ := bob.do(use(bobs, "A")); m.Name != protocol.Finished {
		t.Errorf("bob's session after alice's shutdown: %+v", m)
	}
	if a, b := s.startedOf("alice"), s.startedOf("bob"); a < 2 || b != 1 {
		t.Errorf("%d and %d instances", a, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ended) != 1 || s.ended[0] != "alice" {
		t.Errorf("ended were those of %q", s.ended)
	}
}

// TestHostile: an instance that says what no server would is ended; what runs
// fails, its sessions are gone, and the next one serves the same client.
func TestHostile(t *testing.T) {
	for _, lie := range []string{
		"StartedTwice", "NoTask", "ExtraOK", "OtherTask", "OtherNote", "NoNote", "NoResult", "NoKind", "Garbage", "NotUTF8", "Deep", "Values", "Huge", "Header", "Endless", "Command", "Silent",
	} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			s := open(t, func(l *Limits) { l.Values = 50000 })
			bob, v := s.login(t, "bob"), s.login(t, "alice")
			bobs, session := bob.session(), v.session()
			first := s.stub("alice")
			switch m, _ := v.do(use(session, lie)); {
			case lie == "ExtraOK" && m.Name == protocol.Finished: // it lied after the truth
			case m.Name != protocol.Failed || value(t, m).Text("kind") != "error" || value(t, m).Text("message") != "The server was lost":
				t.Errorf("the task is told %+v", m)
			}
			if m, _ := v.do(use(session, "A")); m.Name != protocol.Error || value(t, m).Text("message") != protocol.NoSession(session) {
				t.Errorf("afterwards use_theories is told %+v", m)
			}
			if m, _ := v.do(use(v.session(), "A")); m.Name != protocol.Finished {
				t.Errorf("the next instance: %+v", m)
			}
			if m, _ := bob.do(use(bobs, "A")); m.Name != protocol.Finished {
				t.Errorf("bob: %+v", m)
			}
			if !first.isDead() {
				t.Error("the instance that lied has not ended")
			}
			if log := s.log.String(); !strings.Contains(log, "event=hostile") || !strings.Contains(log, "tenant=alice") || strings.Contains(log, "tenant=bob event=hostile") {
				t.Errorf("the log does not tell who:\n%s", log)
			}
		})
	}
}

// TestUnwell: one that crashes, does not answer or does not end a task is replaced.
func TestUnwell(t *testing.T) {
	for _, theory := range []string{"Crash", "Unanswered", "Stopped", "Unfinished"} {
		t.Run(theory, func(t *testing.T) {
			t.Parallel()
			s := open(t, func(l *Limits) { l.Use, l.Answer = 100*time.Millisecond, 300*time.Millisecond })
			v := s.login(t, "alice")
			session := v.session()
			if m, _ := v.do(use(session, theory)); m.Name != protocol.Failed || value(t, m).Text("kind") != "error" {
				t.Errorf("the task is told %+v", m)
			}
			if m, _ := v.do(use(session, "A")); m.Name != protocol.Error || value(t, m).Text("message") != protocol.NoSession(session) {
				t.Errorf("afterwards use_theories is told %+v", m)
			}
			if m, _ := v.do(use(v.session(), "A")); m.Name != protocol.Finished {
				t.Errorf("the next instance: %+v", m)
			}
		})
	}
}

// TestLoop: a task that takes too long is canceled, and if it lets itself be, all
// else stays.
func TestLoop(t *testing.T) {
	s := open(t, func(l *Limits) { l.Use = 50 * time.Millisecond })
	v := s.login(t, "alice")
	session := v.session()
	if m, _ := v.do(use(session, "Loop")); value(t, m).Text("message") != "Interrupt" {
		t.Errorf("the task is told %+v", m)
	}
	if m, _ := v.do(use(session, "A")); m.Name != protocol.Finished {
		t.Errorf("afterwards use_theories is told %+v", m)
	}
}

// TestKilled: nobody notices who does nothing at the time, but that sessions are gone.
func TestKilled(t *testing.T) {
	s := open(t, nil)
	v := s.login(t, "alice")
	session := v.session()
	for range 10 { // whether it is noticed before the next command, or by it
		s.stub("alice").kill()
		if m := v.ask("echo 1"); m.Name != protocol.OK || m.Argument != "1" {
			t.Errorf("echo after a kill: %+v", m)
		}
	}
	for end := time.Now().Add(10 * time.Second); s.startedOf("alice") < 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if m := v.ask("echo 1"); m.Name != protocol.OK {
		t.Errorf("echo: %+v", m)
	}
	if m, _ := v.do(use(session, "A")); value(t, m).Text("message") != protocol.NoSession(session) {
		t.Errorf("use_theories: %+v", m)
	}
}

// TestOneConnectionEnds: the sessions go on.
func TestOneConnectionEnds(t *testing.T) {
	s := open(t, nil)
	v := s.login(t, "alice")
	session := v.session()
	if m, _ := v.do(use(session, "Leaves")); m.Name != protocol.Failed {
		t.Errorf("the task is told %+v", m)
	}
	if m, _ := v.do(use(session, "A")); m.Name != protocol.Finished {
		t.Errorf("afterwards use_theories is told %+v", m)
	}
	if m, _ := v.do(use(session, "Refused")); m.Name != protocol.Failed || value(t, m).Text("message") != "Bad theory /shares/nowhere" {
		t.Errorf("what the server refuses is told %+v", m)
	}
	if m, _ := v.do(use(session, "Late")); m.Name != protocol.Finished {
		t.Errorf("what is followed by a note: %+v", m)
	}
	if m := v.ask("echo 1"); m.Name != protocol.OK {
		t.Errorf("echo: %+v", m)
	}
	if _, notes := v.do(use(session, "Big")); len(notes) != 1 || len(notes[0].Argument) < 4_000_000 {
		t.Errorf("a large note: %d", len(notes))
	}
}

// TestLargeOnesOfOthers: who lets large messages come and does not take them holds up
// nobody else.
func TestLargeOnesOfOthers(t *testing.T) {
	s := open(t, func(l *Limits) { l.Sessions = 8 })
	for range 6 {
		alice := s.login(t, "alice")
		alice.raw(use(alice.session(), "Big") + "\n") // and reads nothing of it
	}
	bob := s.login(t, "bob")
	session := bob.session()
	for range 3 {
		if end, notes := bob.do(use(session, "Big")); end.Name != protocol.Finished || len(notes) != 1 {
			t.Errorf("bob: %.100s, %d notes", end.Bytes(), len(notes))
		}
	}
}

// TestTurns: one use_theories at a time in a session, and not too many in a time,
// of which those who wait are told.
func TestTurns(t *testing.T) {
	s := open(t, func(l *Limits) { l.Each, l.Burst, l.Tasks = 20*time.Millisecond, 2, 6 })
	v := s.login(t, "alice")
	session := v.session()
	begin := time.Now()
	for range 6 {
		v.raw(use(session, "Slow") + "\n")
	}
	v.raw(use(session, "Slow") + "\n")
	said := map[string]int{}
	for n := 0; n < 6; {
		m := v.read()
		switch {
		case m.Name == protocol.Finished:
			n++
		case strings.Contains(m.Argument, "Waiting for its turn: "), strings.Contains(m.Argument, "Too many tasks"):
			said[value(t, m).Text("message")]++
		case m.Name != protocol.OK:
			t.Errorf("%+v", m)
		}
	}
	if took := time.Since(begin); took < 180*time.Millisecond {
		t.Errorf("six of 30 ms each took %v", took)
	}
	if most := s.stub("alice").most; most != 1 {
		t.Errorf("%d at a time in one session", most)
	}
	for _, want := range []string{"Waiting for its turn: 0 before this one", "Waiting for its turn: 1 before this one", "Waiting for its turn: 4 before this one", "Too many tasks: 6 run or wait already"} {
		if said[want] == 0 {
			t.Errorf("nobody was told %q: %v", want, said)
		}
	}
}

// TestPace: who has much said waits, and nobody else does.
func TestPace(t *testing.T) {
	s := open(t, func(l *Limits) { l.Rate = 64 << 10 }) // a burst of 256 KiB: 128 messages, and 32 more a second
	alice, bob := s.login(t, "alice"), s.login(t, "bob")
	begin := time.Now()
	for range 90 { // two messages each
		alice.ask("echo 1")
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("180 messages took %v", took)
	}
	if m := bob.ask("echo 1"); m.Argument != "1" {
		t.Errorf("bob: %+v", m)
	}
}

// TestBounds: of connections and sessions.
func TestBounds(t *testing.T) {
	s := open(t, func(l *Limits) { l.Connections, l.Sessions = 2, 2 })
	v := s.login(t, "alice")
	v.session()
	v.session()
	if m, _ := v.do(`session_start {"session":"HOL"}`); m.Name != protocol.Failed || !strings.HasPrefix(value(t, m).Text("message"), "Too many sessions") {
		t.Errorf("a third session: %+v", m)
	}
	second := s.login(t, "alice")
	third := s.connect(t, password("alice")+"\n")
	third.isClosed()
	s.login(t, "bob")
	second.conn.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		again := s.connect(t, password("alice")+"\n")
		if _, err := again.in.Message(); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no room after one has left")
		}
	}
}

// TestIdle: what nobody uses ends: sessions, then the instance, then the connection.
func TestIdle(t *testing.T) {
	s := open(t, func(l *Limits) {
		l.Session, l.Instance, l.Silence = 100*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	})
	v := s.login(t, "alice")
	session := v.session()
	v.isClosed()
	for end := time.Now().Add(10 * time.Second); !s.stub("alice").isDead(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the instance has not ended")
		}
	}
	if !s.sawAny("session_stop") {
		t.Error("the session was not stopped")
	}
	if m, _ := s.login(t, "alice").do(use(session, "A")); value(t, m).Text("message") != protocol.NoSession(session) {
		t.Errorf("use_theories: %+v", m)
	}
}

// TestNone: where there is no instance, a client is not told that there is.
func TestNone(t *testing.T) {
	s := open(t, func(l *Limits) { l.Start = 300 * time.Millisecond })
	s.host.mu.Lock()
	s.absent = true
	s.host.mu.Unlock()
	s.connect(t, password("alice")+"\n").isClosed()
}

func TestParseTenants(t *testing.T) {
	hash := func(c string) string { return strings.Repeat(c, 64) }
	tenant := func(name, hash string, dirs ...string) string {
		return fmt.Sprintf(`{"name":%q,"password_sha256":%q,"directories":["%s"]}`, name, hash, strings.Join(dirs, `","`))
	}
	for _, tt := range []struct{ name, list, want string }{
		{"two", tenant("a", hash("1"), "/t/a", "/lib") + "," + tenant("b", hash("2"), "/t/b", "/lib"), ""},
		{"no name", tenant("", hash("1"), "/t/a"), "name"}, {"a name with a slash", tenant("a/b", hash("1"), "/t/a"), "name"}, {"no hash", tenant("a", "", "/t/a"), "password_sha256"}, {"a short one", tenant("a", "12", "/t/a"), "password_sha256"},
		{"no directory", `{"name":"a","password_sha256":"` + hash("1") + `"}`, "no directories"}, {"a relative one", tenant("a", hash("1"), "t"), "absolute"}, {"one that is not clean", tenant("a", hash("1"), "/t/../a"), "clean"}, {"the root", tenant("a", hash("1"), "/"), "clean"}, {"a variable", tenant("a", hash("1"), "/t/$A"), "~ or $"},
		{"a name twice", tenant("a", hash("1"), "/t/a") + "," + tenant("a", hash("2"), "/t/b"), "same name"}, {"a password twice", tenant("a", hash("1"), "/t/a") + "," + tenant("b", hash("1"), "/t/b"), "same password"},
		{"one in the other's", tenant("a", hash("1"), "/t") + "," + tenant("b", hash("2"), "/t/b"), "alone"}, {"one over the other's", tenant("a", hash("1"), "/t/a") + "," + tenant("b", hash("2"), "/u", "/t"), "alone"},
		{"an unknown field", `{"nane":"a"}`, "unknown field"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTenants([]byte(`{"tenants":[` + tt.list + `]}`))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("ParseTenants: %v, want %q", err, tt.want)
			}
		})
	}
}
