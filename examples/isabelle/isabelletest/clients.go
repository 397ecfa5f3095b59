package isabelletest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Line is what the target would print, if it were a server.
func (target Target) Line() string {
	return fmt.Sprintf(`server "isabelle" = %s (password "%s")`, target.Address, target.Password)
}

// Clients has those in a directory, written in Python after the public ones, use the
// target. It has to see the other directory.
func Clients(t *testing.T, target Target, clients, dir string) {
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skipf("needs python3: %v", err)
	}
	write(t, dir, "Holds.thy", "theory Holds imports Main begin\nlemma holds: \"A ⟶ A\" by simp\nML ‹writeln (\"twice 21 is \" ^ Int.toString (2 * 21))›\nend")
	write(t, dir, "Fails.thy", "theory Fails imports Main begin\nlemma \"A ⟶ B\" by simp\nend")
	run := func(input, name string, args ...string) (string, int) {
		cmd := exec.Command("/usr/bin/python3", append([]string{"-B", filepath.Join(clients, name), target.Line()}, args...)...)
		cmd.Stdin, cmd.Env = strings.NewReader(input), append(os.Environ(), "PYTHONUTF8=1")
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"anew.py", []string{dir, "Holds"}, 0, []string{dir + "/Holds.thy:2: writeln: theorem holds: A \\<longrightarrow> A\n", "twice 21 is 42\n", "\nok\n"}},
		{"anew.py", []string{dir, "Fails"}, 1, []string{dir + "/Fails.thy:2: error: Failed to finish proof:", "not ok\n"}},
		{"anew.py", []string{dir, "Nope"}, 1, []string{"Cannot load theory file \"" + dir + "/Nope.thy\""}},
		{"anew.py", []string{"--text", `lemma "A --> A" by simp`}, 0, []string{"theorem A --> A", "ok\n"}},
		{"anew.py", []string{"--text", `ML \<open>error "no"\<close>`}, 1, []string{": error: no\n", "not ok\n"}},
		{"lines.py", []string{dir, "Holds"}, 0, []string{"hello cancel echo help ", "\nok\n"}},
		{"lines.py", []string{dir, "Fails"}, 1, []string{"2 Failed to finish proof:", "not ok\n"}},
	} {
		t.Run(tt.name+" "+tt.args[len(tt.args)-1], func(t *testing.T) {
			out, code := run("", tt.name, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, s := range tt.says {
				if !strings.Contains(out, s) {
					t.Errorf("it does not say %q", s)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
	t.Run("a wrong password", func(t *testing.T) {
		wrong := target
		wrong.Password = none
		cmd := exec.Command("/usr/bin/python3", "-B", filepath.Join(clients, "anew.py"), wrong.Line(), dir, "Holds")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "the server has closed the connection") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("console.py", func(t *testing.T) {
		out, code := run("help\necho {\"a\": [1.0, \"ä\"]}\nfrob\nsession_start {\"session\": \"HOL\"}\nsession_start {\"session\": \"HOL\"}\necho \""+strings.Repeat("x", 200)+"\"\n", "console.py")
		for _, s := range []string{
			"OK {\"isabelle_id\":", "OK [\"cancel\",", "OK {\"a\":[1,\"ä\"]}\n", "ERROR \"Bad command 'frob'\"\n", "OK {\"task\":", "\"Starting session HOL ...\"", "FINISHED {\"session_id\":", strings.Repeat("x", 200),
		} {
			if !strings.Contains(out, s) {
				t.Errorf("it does not say %q", s)
			}
		}
		if n := strings.Count(out, "FINISHED "); n != 2 || code != 0 {
			t.Errorf("%d sessions, exit code %d", n, code)
		}
		if t.Failed() {
			t.Log(out)
		}
	})
}
