package fakeserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cofferdam/examples/isabelle/isabelletest"
)

type arg = isabelletest.Arg

// serve starts a server with directories of its own, and stops it with the test.
func serve(t *testing.T) (s *Server, dir string) {
	t.Helper()
	if _, err := exec.LookPath("poly"); err != nil {
		t.Skipf("needs poly: %v", err)
	}
	dir = t.TempDir()
	s, err := Listen(Options{
		Dir: dir, Home: dir, Temporary: filepath.Join(dir, "tmp"), UserHome: filepath.Join(dir, "user"),
		Environment: []string{"PATH=/usr/bin:/bin", "THERE=/there", "NESTED=$THERE/x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "tmp", "server_session*")); err != nil || len(left) > 0 {
			t.Errorf("directories of sessions are left: %v, %v", left, err)
		}
	})
	return s, dir
}

func login(t *testing.T, s *Server) *isabelletest.Client {
	t.Helper()
	return isabelletest.Login(t, fmt.Sprintf("127.0.0.1:%d", s.Port), s.Password)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConforms(t *testing.T) {
	s, _ := serve(t)
	isabelletest.Conforms(t, isabelletest.Target{Address: fmt.Sprintf("127.0.0.1:%d", s.Port), Password: s.Password})
}

func TestRun(t *testing.T) {
	s, dir := serve(t)
	isabelletest.Runs(t, isabelletest.Target{Address: fmt.Sprintf("127.0.0.1:%d", s.Port), Password: s.Password}, dir)
}

func TestLine(t *testing.T) {
	s, _ := serve(t)
	if want := fmt.Sprintf(`server "isabelle" = 127.0.0.1:%d (password "%s")`, s.Port, s.Password); s.Line() != want {
		t.Errorf("Line() = %q, want %q", s.Line(), want)
	}
}

func TestSessions(t *testing.T) {
	s, dir := serve(t)
	write(t, filepath.Join(dir, "Good", "ROOT"), "session Good = HOL + theories A")
	write(t, filepath.Join(dir, "Good", "A.thy"), "theory A imports B begin lemma a: \"x = x\" by (rule refl) ML ‹val of_good = 7› end")
	write(t, filepath.Join(dir, "Good", "B.thy"), "theory B imports Main begin end")
	write(t, filepath.Join(dir, "Bad", "ROOT"), "chapter X\nsession \"Bad\" (slow) in \"src\" = \"HOL-Library\" + description ‹d›\n options [timeout = 5] sessions \"HOL-Algebra\" directories \"more\" theories [document = false] \"sub/C\"")
	write(t, filepath.Join(dir, "Bad", "src", "sub", "C.thy"), "theory C imports Main begin lemma \"A\" by simp end")
	write(t, filepath.Join(dir, "Sorry", "ROOT"), "session Sorry = HOL + theories A")
	write(t, filepath.Join(dir, "Sorry", "A.thy"), "theory A imports Main begin lemma \"A\" sorry end")
	write(t, filepath.Join(dir, "Broken", "ROOT"), "session Broken HOL")
	write(t, filepath.Join(dir, "Roots", "ROOTS"), "# all\n../Good\n")
	c := login(t, s)
	for _, tt := range []struct {
		name string
		arg  arg
		want string // of what it says when it fails, "" if it does not
	}{
		{"one of Isabelle", arg{"session": "HOL"}, ""},
		{"with all lists empty", arg{"session": "Main", "options": []string{}, "dirs": []string{}, "include_sessions": []string{}, "print_mode": []string{}, "verbose": true}, ""},
		{"none", arg{"session": "Nope"}, `Undefined session(s): "Nope"`},
		{"with none", arg{"session": "HOL", "include_sessions": []string{"HOL-Library", "Nope"}}, `Undefined session(s): "Nope"`},
		{"an option", arg{"session": "HOL", "options": []string{"show_types", "goals_limit=3", "timeout_scale=1.5", "print_mode=x=y"}}, ""},
		{"no option", arg{"session": "HOL", "options": []string{"colour=1"}}, `Unknown option "colour"`},
		{"an option without a value", arg{"session": "HOL", "options": []string{"goals_limit"}}, `Missing value for option "goals_limit" : int`},
		{"an option with another value", arg{"session": "HOL", "options": []string{"goals_limit=x"}}, "Malformed value for option \"goals_limit\" : int =\n\"x\""},
		{"an option that is not true", arg{"session": "HOL", "options": []string{"show_types=1"}}, "Malformed value for option \"show_types\" : bool =\n\"1\""},
		{"preferences", arg{"session": "HOL", "preferences": "goals_limit = 3 (* few *)\nunknown = \"x\""}, ""},
		{"preferences that are wrong", arg{"session": "HOL", "preferences": "goals_limit = a"}, "Malformed value for option \"goals_limit\" : int =\n\"a\""},
		{"no directory", arg{"session": "HOL", "dirs": []string{"Nope"}}, fmt.Sprintf("No such directory: %q", filepath.Join(dir, "Nope"))},
		{"a variable that there is not", arg{"session": "HOL", "dirs": []string{"$NOPE/x"}}, "Undefined Isabelle environment variable: \"NOPE\"\nThe error(s) above occurred in path \"$NOPE/x\""},
		{"a variable in a variable", arg{"session": "HOL", "dirs": []string{"$NESTED"}}, "Illegal path variable nesting: \"NESTED=$THERE/x\""},
		{"a directory of somebody", arg{"session": "HOL", "dirs": []string{"~/Good"}}, ""},
		{"no path", arg{"session": "HOL", "dirs": []string{"a*b"}}, `Illegal character(s) "*" in path element specification "a*b"` + "\nThe error(s) above occurred in path \"a*b\""},
		{"a directory without ROOT", arg{"session": "HOL", "dirs": []string{dir}}, fmt.Sprintf("Bad session root directory (missing ROOT or ROOTS): %q", dir)},
		{"ROOT with an error", arg{"session": "HOL", "dirs": []string{"Broken"}}, fmt.Sprintf("Outer syntax error (line 1 of %q): keyword \"=\" expected,\nbut identifier HOL was found", filepath.Join(dir, "Broken", "ROOT"))},
		{"a session of a directory", arg{"session": "Good", "dirs": []string{"Good"}}, ""},
		{"the same through ROOTS", arg{"session": "Good", "dirs": []string{"Roots"}}, ""},
		{"one that does not hold", arg{"session": "Bad", "dirs": []string{"Bad"}}, "Session build failed: return code 1"},
		{"one that cheats", arg{"session": "Sorry", "dirs": []string{"Sorry"}}, "Session build failed: return code 1"},
		{"one that may", arg{"session": "Sorry", "dirs": []string{"Sorry"}, "options": []string{"quick_and_dirty"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "one that cheats" {
				// session_start looks at what it starts as an editor would, and session_build does not.
				end, _ := c.Task("session_build", tt.arg)
				if end.Kind != "FAILED" || end.String("message") != tt.want || end.Get("ok") != false || end.Get("return_code") != 1.0 {
					t.Errorf("%s %s", end.Kind, end.Text)
				}
				return
			}
			end, notes := c.Task("session_start", tt.arg)
			if tt.want != "" {
				if end.Kind != "FAILED" || end.String("message") != tt.want || end.Get("sessions") != nil {
					t.Errorf("%s %s, want %q", end.Kind, end.Text, tt.want)
				}
				return
			}
			if end.Kind != "FINISHED" {
				t.Fatalf("%s %s", end.Kind, end.Text)
			}
			if last := notes[len(notes)-1].String("message"); last != fmt.Sprintf("Starting session %s ...", tt.arg["session"]) {
				t.Errorf("the last note is %q", last)
			}
			if st, err := os.Stat(end.String("tmp_dir")); err != nil || !st.IsDir() || !strings.HasPrefix(filepath.Base(end.String("tmp_dir")), "server_session") {
				t.Errorf("the directory %q: %v", end.String("tmp_dir"), err)
			}
			stopped, _ := c.Task("session_stop", arg{"session_id": end.String("session_id")})
			if stopped.Kind != "FINISHED" || stopped.Get("ok") != true || stopped.Get("return_code") != 0.0 {
				t.Errorf("session_stop: %s %s", stopped.Kind, stopped.Text)
			}
			if _, err := os.Stat(end.String("tmp_dir")); !os.IsNotExist(err) {
				t.Errorf("the directory after session_stop: %v", err)
			}
		})
	}
	t.Run("building", func(t *testing.T) {
		end, _ := c.Task("session_build", arg{"session": "Good", "dirs": []string{"Good"}})
		if end.Kind != "FINISHED" || end.Get("ok") != true || end.String("sessions.0.session") != "Pure" || end.String("sessions.2.session") != "Good" || end.Get("sessions.2.timing.elapsed") == nil {
			t.Errorf("%s %s", end.Kind, end.Text)
		}
		end, notes := c.Task("session_build", arg{"session": "Bad", "dirs": []string{"Bad"}})
		if end.Kind != "FAILED" || end.Get("ok") != false || end.Get("sessions.3.ok") != false || end.Get("sessions.3.timeout") != false {
			t.Errorf("%s %s", end.Kind, end.Text)
		}
		if !slices.ContainsFunc(notes, func(n isabelletest.Reply) bool {
			return n.String("kind") == "error" && strings.Contains(n.String("message"), "Failed to finish proof")
		}) {
			t.Errorf("nobody said why: %v", notes)
		}
	})
	t.Run("what a session consists of is known in it", func(t *testing.T) {
		end, _ := c.Task("session_start", arg{"session": "Good", "dirs": []string{"Good"}})
		write(t, filepath.Join(end.String("tmp_dir"), "T.thy"), "theory T imports Good.A begin ML_val ‹writeln (Int.toString of_good)› end")
		used, _ := c.Task("use_theories", arg{"session_id": end.String("session_id"), "theories": []string{"T"}})
		if used.Get("ok") != true || used.String("nodes.0.messages.0.message") != "7" || used.Get("nodes.1") != nil {
			t.Errorf("%s %s", used.Kind, used.Text)
		}
	})
}

func TestTasksEndWithTheirConnection(t *testing.T) {
	s, _ := serve(t)
	c := login(t, s)
	id, tmp := c.Start("HOL")
	write(t, filepath.Join(tmp, "Loop.thy"), "theory Loop imports Main begin ML ‹fun loop () = loop (); val _ = writeln \"begun\"; loop ()› end")
	write(t, filepath.Join(tmp, "T.thy"), "theory T imports Main begin ML ‹val x = 1› end")
	loop := arg{"session_id": id, "theories": []string{"Loop"}, "watchdog_timeout": 0}

	t.Run("cancel", func(t *testing.T) {
		task := c.Do("use_theories", loop).String("task")
		other := login(t, s)
		if r := other.Do("cancel", arg{"task": task}); r.Kind != "OK" {
			t.Errorf("cancel from another connection: %s %s", r.Kind, r.Text)
		}
		time.Sleep(100 * time.Millisecond)
		if r := c.Do("echo", "still here"); r.Text != `"still here"` {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
		c.Send("cancel", arg{"task": task})
		ok, failed := false, false
		for !ok || !failed {
			switch r := c.Next(); r.Kind {
			case "OK":
				ok = true
			case "FAILED":
				if failed = true; r.String("message") != "Interrupt" || r.String("task") != task {
					t.Errorf("%s", r.Text)
				}
			case "NOTE":
			default:
				t.Fatalf("%s %s", r.Kind, r.Text)
			}
		}
	})
	t.Run("closing", func(t *testing.T) {
		begun := login(t, s)
		begun.Do("use_theories", loop)
		begun.Close()
		n, err := s.session(id)
		if err != nil {
			t.Fatalf("the session went with the connection: %v", err)
		}
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			n.mu.Lock()
			used := len(n.used)
			n.mu.Unlock()
			if used == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the task goes on")
			}
		}
	})
	t.Run("the session goes on", func(t *testing.T) {
		if r, _ := login(t, s).Task("use_theories", arg{"session_id": id, "theories": []string{"T"}}); r.Get("ok") != true {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
	})
	for _, tt := range []struct {
		name string
		more arg
	}{
		{"watchdog", arg{"watchdog_timeout": 0.3, "check_delay": 0.05}},
		{"limit of checks", arg{"watchdog_timeout": 0, "check_delay": 0.05, "check_limit": 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := arg{"session_id": id, "theories": []string{"Loop"}, "nodes_status_delay": 0}
			for name, v := range tt.more {
				a[name] = v
			}
			r, notes := c.Task("use_theories", a)
			if r.Kind != "FINISHED" || r.Get("ok") != true || r.Get("nodes.0.status.consolidated") != false || r.Get("nodes.0.status.running") != 1.0 || r.Get("nodes.0.status.total") != 3.0 {
				t.Errorf("%s %s", r.Kind, r.Text)
			}
			if !slices.ContainsFunc(notes, func(n isabelletest.Reply) bool {
				return n.String("kind") == "nodes_status" && n.Get("task") == nil && n.String("nodes_status.0.theory_name") == "Draft.Loop"
			}) {
				t.Errorf("no status of nodes: %v", notes)
			}
		})
	}
	t.Run("a prover that is gone is told by nobody", func(t *testing.T) {
		write(t, filepath.Join(tmp, "Exit.thy"), "theory Exit imports Main begin ML ‹OS.Process.exit OS.Process.failure› end")
		r, _ := c.Task("use_theories", arg{"session_id": id, "theories": []string{"Exit"}, "watchdog_timeout": 0.3, "check_delay": 0.05})
		if r.Kind != "FINISHED" || r.Get("nodes.0.status.consolidated") != false {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
		r, _ = c.Task("session_stop", arg{"session_id": id})
		if r.Kind != "FAILED" || r.String("message") != "Session shutdown failed: return code 1" || r.Get("ok") != false {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
	})
}

func TestShutdown(t *testing.T) {
	s, _ := serve(t)
	c := login(t, s)
	_, tmp := c.Start("HOL")
	if r := c.Do("shutdown", nil); r.Kind != "OK" || r.Text != "" {
		t.Errorf("%s %s", r.Kind, r.Text)
	}
	if !c.Ended() {
		t.Error("the connection goes on")
	}
	if _, err := os.Stat(tmp); !os.IsNotExist(err) {
		t.Errorf("the directory of a session: %v", err)
	}
}

func TestClients(t *testing.T) {
	s, dir := serve(t)
	isabelletest.Clients(t, isabelletest.Target{Address: fmt.Sprintf("127.0.0.1:%d", s.Port), Password: s.Password}, "../clients", dir)
}
