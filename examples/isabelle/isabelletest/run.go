package isabelletest

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write puts a file where the server finds it.
func write(t testing.TB, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// errors of loading theories: what somebody asks for and what is said. DIR is the
// directory with the theories.
var loading = []struct{ name, theory, want string }{
	{"no file", "Nope", `Cannot load theory file "DIR/Nope.thy"`},
	{"no name", "sub/", `Malformed theory import: "sub/"`},
	{"one of another session by a path", "sub/HOL.List", `Bad import of theory from other session via file-path: "sub/HOL.List"`},
	{"one of a library that there is not", "HOL-Library.Nope", `Cannot load theory "HOL-Library.Nope"`},
	{"another name than its file", "Other", `Bad theory name "Another" for file "Other.thy"`},
	{"a circle", "Round", `Cyclic dependency of "Draft.Round" via ["Draft.Round" "Draft.About"]` + "\n" + `The error(s) above occurred for theory "Round" (required by "Draft.About")`},
	{"no header", "Empty", `Outer syntax error (line 1 of "DIR/Empty.thy"): keyword "theory" expected,` + "\nbut identifier lemma was found"},
	{"an import that there is not", "Importing", `Cannot load theory file "DIR/sub/Nope.thy"` + "\n" + `The error(s) above occurred for theory "sub/Nope" (required by "Draft.Importing")`},
}

// Runs holds the target to what theories do: how they are found, checked and told
// of. The directory is one of which the server sees the same files under
// the same name, or behind a gateway under another one.
func Runs(t *testing.T, target Target, dir string) {
	for name, text := range map[string]string{
		"Good.thy":      "theory Good imports Main \"sub/Dep\"\nbegin\n\nlemma foo: \"A ⟶ A\" by simp\nlemma \\<open>\\<forall>x. P \\<or> \\<not> P\\<close>\n  by auto\nML ‹val y = from_dep + 1›\nML_val ‹Export.export \\<^theory> \\<^path_binding>‹a/b.txt› [XML.Text \"of \", XML.Text (Context.theory_name \\<^theory>)];\n  Export.export @{theory} \"a/bin\" [XML.Text \"\\255\"]›\nML_val ‹warning \"careful\"›\nend\n",
		"sub/Dep.thy":   "theory Dep imports Main\nbegin\nML_file ‹dep.ML›\nend\n",
		"sub/dep.ML":    "val from_dep = 41\n",
		"Bad.thy":       "theory Bad imports Main\nbegin\nlemma no: \"A ∨ B ⟶ A\"\n  by auto\nML ‹\n  (* α \\<beta> *) val x = \"ä\" ^ 1›\nML ‹error \"on purpose\"›\nlemma \"B\" apply simp done\nlemma \"C\"\nML_file \"nope.ML\"\nend",
		"Other.thy":     "theory Another imports Main begin end",
		"Round.thy":     "theory Round imports About begin end",
		"About.thy":     "theory About imports Round begin end",
		"Empty.thy":     "lemma x",
		"Importing.thy": "theory Importing imports \"sub/Nope\" begin end",
	} {
		write(t, dir, name, text)
	}
	c := Login(t, target.Address, target.Password)
	id, tmp := c.Start("HOL")
	use := func(t *testing.T, more Arg) (Reply, []Reply) {
		t.Helper()
		a := Arg{"session_id": id, "master_dir": dir}
		for name, v := range more {
			a[name] = v
		}
		return c.Task("use_theories", a)
	}

	t.Run("a theory that holds", func(t *testing.T) {
		r, notes := use(t, Arg{"theories": []string{"Good"}, "export_pattern": "*:**"})
		for path, want := range map[string]any{
			"ok": true, "errors.0": nil, "nodes.2": nil,
			"nodes.0.theory_name": "Draft.Dep", "nodes.0.node_name": dir + "/sub/Dep.thy", "nodes.0.status.ok": true,
			"nodes.1.theory_name": "Draft.Good", "nodes.1.node_name": dir + "/Good.thy", "nodes.1.status.percentage": 100.0,
			"nodes.1.status.consolidated": true, "nodes.1.status.canceled": false, "nodes.1.status.total": 9.0, "nodes.1.status.warned": 1.0,
			"nodes.1.status.finished": 8.0, "nodes.1.status.failed": 0.0, "nodes.1.status.unprocessed": 0.0,
			"nodes.1.messages.0.kind": "writeln", "nodes.1.messages.0.message": `theorem foo: A \<longrightarrow> A`,
			"nodes.1.messages.0.pos.line": 4.0, "nodes.1.messages.0.pos.file": dir + "/Good.thy",
			"nodes.1.messages.0.pos.offset": 62.0, "nodes.1.messages.0.pos.end_offset": 64.0,
			"nodes.1.messages.1.message": `theorem \<forall>x. P \<or> \<not> P`, "nodes.1.messages.1.pos.line": 6.0, "nodes.1.messages.1.pos.offset": 92.0,
			"nodes.1.messages.2.message": "val y = 42: int",
			"nodes.1.exports.0.name":     "Draft.Good:a/b.txt", "nodes.1.exports.0.body": "of Draft.Good", "nodes.1.exports.0.base64": false,
			"nodes.1.exports.1.name": "Draft.Good:a/bin", "nodes.1.exports.1.body": base64.StdEncoding.EncodeToString([]byte{255}), "nodes.1.exports.1.base64": true,
		} {
			if got := r.Get(path); got != want {
				t.Errorf("%s: %#v, want %#v", path, got, want)
			}
		}
		if t.Failed() || r.Kind != "FINISHED" {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
		last := ""
		for _, n := range notes {
			if n.String("theory") == "Draft.Good" {
				last = n.String("message")
			}
		}
		if last != "theory Draft.Good 100%" {
			t.Errorf("the last note of it is %q", last)
		}
	})
	t.Run("exports that nobody wants, and symbols as characters", func(t *testing.T) {
		r, _ := use(t, Arg{"theories": []string{"Good"}, "unicode_symbols": true})
		if r.Get("nodes.1.exports.0") != nil || r.String("nodes.1.messages.0.message") != "theorem foo: A ⟶ A" {
			t.Errorf("%s", r.Text)
		}
		r, _ = use(t, Arg{"theories": []string{"Good"}, "export_pattern": "*:a/b.*"})
		if r.Get("nodes.1.exports.0.name") != "Draft.Good:a/b.txt" || r.Get("nodes.1.exports.1") != nil {
			t.Errorf("%s", r.Text)
		}
	})
	t.Run("one that does not", func(t *testing.T) {
		r, _ := use(t, Arg{"theories": []string{"Bad"}, "unicode_symbols": true})
		if r.Kind != "FINISHED" || r.Get("ok") != false {
			t.Fatalf("%s %s", r.Kind, r.Text)
		}
		for i, want := range []struct {
			message            string
			line, offset, ends float64
		}{
			{"Failed to finish proof:\ngoal (1 subgoal):\n 1. A ∨ B ⟶ A", 4, 55, 57},
			{"ML error:\nType error in function application.", 6, 88, 95},
			{"on purpose", 7, 97, 99},
			{"Failed to apply proof method:\ngoal (1 subgoal):\n 1. B", 8, 0, 0},
			{`Bad context for command "done" -- using reset state`, 8, 0, 0},
			{`Bad context for command "ML_file" -- using reset state`, 10, 0, 0},
			{"", 0, 0, 0},
		} {
			at := fmt.Sprintf("errors.%d", i)
			if want.message == "" {
				if r.Get(at) != nil {
					t.Errorf("one more error: %v", r.Get(at))
				}
				break
			}
			if !strings.HasPrefix(r.String(at+".message"), want.message) || r.Get(at+".pos.line") != want.line ||
				want.offset != 0 && r.Get(at+".pos.offset") != want.offset || want.ends != 0 && r.Get(at+".pos.end_offset") != want.ends {
				t.Errorf("error %d: %v, want %v", i, r.Get(at), want)
			}
		}
	})
	for _, tt := range loading {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := use(t, Arg{"theories": []string{tt.theory}})
			// A gateway may say the same earlier.
			if want := strings.ReplaceAll(tt.want, "DIR", dir); r.String("message") != want || r.Kind != "FAILED" && !(target.Gateway && r.Kind == "ERROR") {
				t.Errorf("%s %q, want %q", r.Kind, r.String("message"), want)
			}
		})
	}
	t.Run("theories of the library have no nodes", func(t *testing.T) {
		if r, _ := use(t, Arg{"theories": []string{"Main", "HOL.List", "HOL-Library.Multiset"}}); r.Kind != "FINISHED" || r.Get("ok") != true || r.Get("nodes.0") != nil {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
	})
	t.Run("a path is seen from the master directory", func(t *testing.T) {
		if r, _ := use(t, Arg{"theories": []string{"sub/../sub/Dep"}}); r.Kind != "FINISHED" || r.Get("nodes.0.node_name") != dir+"/sub/Dep.thy" {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
		if r, _ := use(t, Arg{"theories": []string{dir + "/sub/Dep"}, "master_dir": dir + "/sub"}); r.Get("nodes.0.node_name") != dir+"/sub/Dep.thy" {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
	})
	t.Run("without one from that of the session", func(t *testing.T) {
		write(t, tmp, "Here.thy", "theory Here imports Main begin end")
		r, _ := c.Task("use_theories", Arg{"session_id": id, "theories": []string{"Here"}})
		if r.Kind != "FINISHED" || r.Get("nodes.0.node_name") != tmp+"/Here.thy" {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
	})
	t.Run("purging", func(t *testing.T) {
		r := c.Do("purge_theories", Arg{"session_id": id, "theories": []string{"sub/Dep"}, "master_dir": dir})
		if r.Kind != "OK" || r.Get("purged.0") != nil || r.Get("retained.0") == nil {
			t.Errorf("what others import: %s %s", r.Kind, r.Text)
		}
		r = c.Do("purge_theories", Arg{"session_id": id, "theories": []string{"Good"}, "master_dir": dir})
		if r.Get("purged.0.theory_name") != "Draft.Good" || r.Get("purged.0.node_name") != dir+"/Good.thy" || r.Get("purged.1") != nil {
			t.Errorf("one: %s %s", r.Kind, r.Text)
		}
		r = c.Do("purge_theories", Arg{"session_id": id, "all": true})
		if r.Get("purged.0") == nil || r.Get("retained.0") != nil {
			t.Errorf("all: %s %s", r.Kind, r.Text)
		}
	})
	t.Run("any connection may stop a session", func(t *testing.T) {
		other := Login(t, target.Address, target.Password)
		if r, _ := other.Task("session_stop", Arg{"session_id": id}); r.Kind != "FINISHED" || r.Get("ok") != true {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
		if r, _ := use(t, Arg{"theories": []string{"Good"}}); r.Kind == "FINISHED" || r.String("message") != fmt.Sprintf("No session '%s'", id) {
			t.Errorf("%s %s", r.Kind, r.Text)
		}
		if _, err := os.Stat(tmp); !os.IsNotExist(err) {
			t.Errorf("its directory: %v", err)
		}
	})
}
