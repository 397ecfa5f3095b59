package fakeserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTautologies(t *testing.T) {
	for _, tt := range []struct {
		prop string
		want bool
	}{
		{"True", true}, {"False", false}, {"A", false}, {"A ⟶ A", true}, {"A --> B --> A", true}, {"(A --> B) --> A", false},
		{`A \<and> B \<Longrightarrow> B \<and> A`, true}, {"⟦A; A ⟶ B⟧ ⟹ B", true}, {"[|A; B|] ==> A & B", true}, {"A | ~ A", true}, {"¬ (A ∧ ¬ A)", true},
		{"(A ⟷ B) ⟷ (B ⟷ A)", true}, {"A ∨ B ⟶ A", false}, {"∀x. P x ∨ ¬ P x", true}, {"⋀x y. f x = f x", true}, {"∃x. P x", false},
		{"(∀x. P x) ⟶ (∀x. P x)", true}, {"(∀x. P x) ⟶ P a", false},
		{"x = x", true}, {"x = y", false}, {"x = y ⟶ y = x", true}, {"x ≠ y ⟶ ¬ x = y", true}, {"f (x + y) = f (x + y)", true},
		{"2 + 3 = 5", true}, {"(2::nat) + 3 * 4 = 14", true}, {"Suc 2 = 3", true}, {"2 < 1 + 2", true}, {"2 ≥ 3", false}, {"2 ≠ 3", true},
		{"(1 + 1) * 3 = 6", true}, {"18446744073709551615 + 1 = 0", false}, {"4294967296 * 4294967296 = 0", false},
	} {
		s := &statements{atoms: map[string]atom{}}
		f, err := s.parse(tt.prop)
		if err != nil {
			t.Errorf("%s: %v", tt.prop, err)
			continue
		}
		if got := tautology(nil, []formula{f}, len(s.atoms)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.prop, got, tt.want)
		}
	}
	for _, prop := range []string{"", "A &", "& A", "(A", "A)", "[|A; B", "[|A|]", "~", "∀x", strings.Repeat("~ ", 1000) + "A", strings.Repeat("(", 1000) + "A"} {
		if _, err := (&statements{atoms: map[string]atom{}}).parse(prop); err == nil {
			t.Errorf("%.20q is a statement", prop)
		}
	}
}

func TestPaths(t *testing.T) {
	variable := func(name string) string {
		return map[string]string{"HOME": "/home/a", "ISABELLE_HOME": "/isabelle", "X": "/x/y", "REL": "r", "NESTED": "$X"}[name]
	}
	for _, tt := range []struct{ text, want, expanded string }{
		{"", ".", "."}, {".", ".", "."}, {"a//b/./c/", "a/b/c", "a/b/c"}, {"/", "/", "/"}, {"/..", "/", "/"}, {"/a/../../b", "/b", "/b"}, {"../a", "../a", "../a"},
		{"a/../..", "..", ".."}, {"~", "~", "/home/a"}, {"~/a/..", "~", "/home/a"}, {"~/..", "~/..", "/home"}, {"~~/src", "~~/src", "/isabelle/src"},
		{"$X/a", "$X/a", "/x/y/a"}, {"$REL/a", "$REL/a", "r/a"}, {"a/$X", "a/$X", "/x/y"}, {"//host/a", "//host/a", "//host/a"}, {"ä b", "ä b", "ä b"},
	} {
		p, err := explode(tt.text)
		if err != nil || p.String() != tt.want {
			t.Errorf("explode(%q) = %q, %v, want %q", tt.text, p, err, tt.want)
			continue
		}
		if e, err := p.expand(variable); err != nil || e.String() != tt.expanded {
			t.Errorf("%q is expanded to %q, %v, want %q", tt.text, e, err, tt.expanded)
		}
	}
	for _, text := range []string{"a\nb", `a\b`, "a:b", "a\"b", "a'b", "a<b", "a|b", "a?b", "a*b", "a$b", "$", "$a$b", "//", "/~x/$"} {
		if p, err := explode(text); err == nil && text != "/~x/$" {
			t.Errorf("explode(%q) = %q", text, p)
		}
	}
	for _, text := range []string{"$NOPE", "$NESTED/a"} {
		p, err := explode(text)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := p.expand(variable); err == nil {
			t.Errorf("%q is expanded to %q", text, e)
		}
	}
}

func TestMatcher(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "A:x", false}, {"*:**", "Draft.A:a/b", true}, {"*:*", "Draft.A:a/b", false}, {"*:*", "Draft.A:a", true}, {"Draft.A:a/?", "Draft.A:a/b", true},
		{"?", "Draft.A:a", false}, {"**", "Draft.A:a/b", true}, {"Draft.A:a.b", "Draft.A:axb", false}, {"*:*.thy", "A:b.thy", true},
	} {
		matches, err := matcher(tt.pattern)
		if err != nil || matches(tt.name) != tt.want {
			t.Errorf("matcher(%q)(%q) = %v, %v, want %v", tt.pattern, tt.name, !tt.want, err, tt.want)
		}
	}
}

func TestMLText(t *testing.T) {
	for text, want := range map[string]string{
		`val x = "ä\n\<alpha>"`:           `val x = "\195\164\n\<alpha>"`,
		`f \<^theory> @{theory}`:          `f (Prover.theory ()) (Prover.theory ())`,
		`p \<^path_binding>‹a/"b"› 1`:     `p "a/\"b\"" 1`,
		`p \<^path_binding>`:              `p \<^path_binding>`,
		`"open \<^theory>`:                `"open \092\060\094\116\104\101\111\114\121\062`,
		`"\<beta>" \<^path_binding>"x/y"`: `"\<beta>" "x/y"`,
	} {
		m := newMLText(text)
		if strings.HasPrefix(text, `val x`) || strings.HasPrefix(text, `"\<beta>`) {
			// A name of a symbol keeps its letters, whatever the escape.
			want = strings.NewReplacer(`\<alpha>`, escaped(`\<alpha>`), `\<beta>`, escaped(`\<beta>`)).Replace(want)
		}
		if got := m.b.String(); got != want {
			t.Errorf("%s\nis %s, want\n   %s", text, got, want)
		}
		if at := m.original(m.b.Len()); at != len(text) {
			t.Errorf("%s: the end is at %d, want %d", text, at, len(text))
		}
	}
}

func escaped(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, `\%03d`, c)
	}
	return b.String()
}

// Whatever a theory consists of, its tokens and commands cover it in order, and
// nobody falls over.
func FuzzTheory(f *testing.F) {
	f.Add("theory A imports B \"c\" begin lemma a[simp]: assumes \"A\" shows \"A\" by (rule x; simp) ML ‹val \"ä\" \\<^path_binding>‹x› (* ( *)›")
	f.Add("text {* *} (* (* *) `a` \\<open> \\<close> $x/~~ // ∀x. [|A|] ==> 1 + 2 = 3")
	f.Add("session A-B (g) in \"x\" = HOL + options [a = b] theories A \"b/c\"")
	f.Fuzz(func(t *testing.T, text string) {
		src := newSource("f", text)
		at := 0
		for _, tok := range tokens(text) {
			if tok.start < at || tok.end <= tok.start || tok.end > len(text) {
				t.Fatalf("%q: token %+v after byte %d", text, tok, at)
			}
			at = tok.end
		}
		total := 0
		for _, c := range split(tokens(text)) {
			src.position(c.start, c.end)
			total += len(c.args)
		}
		if total > len(tokens(text)) {
			t.Fatalf("%q: %d tokens of commands", text, total)
		}
		if slices.Max(append(src.starts, 0)) > len(text) {
			t.Fatalf("%q: symbols beyond the end", text)
		}
		parseHeader(src)
		parseRoot(src, "/")
		importName(text)
		settings{}.prefer(text)
		if p, err := explode(text); err == nil {
			if q, err := explode(p.String()); err != nil || q.String() != p.String() {
				t.Errorf("%q is %q, which is %q, %v", text, p, q, err)
			}
		}
		if m := newMLText(text); m.original(m.b.Len()) != len(text) {
			t.Errorf("%q: the end of ML", text)
		}
		(&statements{atoms: map[string]atom{}}).parse(text)
		drawn(named(text))
		if matches, err := matcher(text); err == nil {
			matches(text)
		}
	})
}
