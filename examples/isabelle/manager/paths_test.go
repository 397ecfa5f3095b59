package manager_test

import (
	"strings"
	"testing"

	. "cofferdam/examples/isabelle/manager"
)

func tables() (alice, bob *Table) {
	library := Place{"/srv/library", "/shares/cc"}
	return NewTable(Place{"/srv/tenants/alice", "/shares/aa"}, library, Place{"/srv/tenants/alice/.isabelle", "/tmp/isabelle"}),
		NewTable(Place{"/srv/tenants/bob", "/shares/bb"}, library)
}

// TestInside: the empty string is refused.
func TestInside(t *testing.T) {
	alice, _ := tables()
	for _, tt := range []struct{ base, given, want string }{
		{"", "/srv/tenants/alice", "/shares/aa"}, {"", "/srv/tenants/alice/", "/shares/aa"}, {"", "/srv/tenants/alice/a/B", "/shares/aa/a/B"},
		{"", "/srv//tenants/./alice/x/../a", "/shares/aa/a"}, {"", "/srv/library", "/shares/cc"}, {"", "/srv/tenants/alice/.isabelle/s1", "/tmp/isabelle/s1"},
		{"", ".", "/shares/aa"}, {"", "", "/shares/aa"}, {"", "a", "/shares/aa/a"}, {"", "a/../../alice/b", "/shares/aa/b"}, {"/srv/tenants/alice/sub", "../a", "/shares/aa/a"}, {"/srv/library", "a", "/shares/cc/a"},
		{"", "~~", "~~"}, {"", "~~/src/HOL", "~~/src/HOL"}, {"", "~~//src/./HOL/", "~~/src/HOL"},
		// Others', and what only looks like one's own.
		{"", "/srv/tenants/bob", ""}, {"", "../bob", ""}, {"", "/srv/tenants/alice/../bob/x", ""}, {"", "/srv/tenants/alice2", ""}, {"", "/srv/tenants/alicE", ""}, {"", "/srv/tenants", ""}, {"", "/", ""}, {"", "..", ""},
		{"", "/../../../etc", ""}, {"", "/etc/passwd", ""}, {"", "/srv/tenants/alice/../../../etc", ""}, {"/srv/library", "../tenants/bob", ""},
		// The inside's own names are nothing here.
		{"", "/shares/aa", ""}, {"", "/shares/bb", ""}, {"", "/tmp/isabelle", ""},
		// Homes, variables, other roots, the top of the library.
		{"", "~", ""}, {"", "~/a", ""}, {"", "a/~", ""}, {"", "a/~~/src", ""}, {"", "/~~/src", ""}, {"", "~~/..", ""}, {"", "~~/src/../../etc", ""}, {"", "~~/~", ""}, {"", "~~/$X", ""}, {"", "$HOME", ""}, {"", "a/$HOME/b", ""}, {"", "//srv/tenants/alice", ""}, {"", "//host/share", ""},
		{"", "~bob", "/shares/aa/~bob"}, {"", "~~x", "/shares/aa/~~x"},
		// What is no name of a file to the server.
		{"", "a:b", ""}, {"", `a\b`, ""}, {"", `a"b`, ""}, {"", "a'b", ""}, {"", "a*", ""}, {"", "a?", ""}, {"", "a|b", ""}, {"", "<a>", ""}, {"", "a\nb", ""}, {"", "a\x00", ""}, {"", "a$b", ""}, {"", "~~/a:b", ""},
		{"", "a b/ä∀", "/shares/aa/a b/ä∀"}, {"", strings.Repeat("../", 1000) + "srv/tenants/alice", "/shares/aa"},
	} {
		got, _, ok := alice.Inside(tt.base, tt.given)
		if ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("Inside(%q, %.60q) = %q, %v; want %q", tt.base, tt.given, got, ok, tt.want)
		}
	}
}

func TestOutside(t *testing.T) {
	alice, bob := tables()
	for _, tt := range []struct{ inside, want string }{
		{"/shares/aa", "/srv/tenants/alice"}, {"/shares/aa/a/B.thy", "/srv/tenants/alice/a/B.thy"}, {"/shares/cc/x", "/srv/library/x"}, {"/tmp/isabelle/s1", "/srv/tenants/alice/.isabelle/s1"},
		{"/shares/aa2/x", "/shares/aa2/x"}, {"/shares/bb/x", "/shares/bb/x"}, {"~~/src/HOL/Main.thy", "~~/src/HOL/Main.thy"}, {"Example.thy", "Example.thy"}, {"", ""}, {"/shares", "/shares"},
	} {
		if got := alice.Host(tt.inside); got != tt.want {
			t.Errorf("Host(%q) = %q, want %q", tt.inside, got, tt.want)
		}
	}
	for _, tt := range []struct{ text, want string }{
		{"", ""}, {"nothing", "nothing"}, {"/shares/aa", "/srv/tenants/alice"}, {`Cannot load theory file "/shares/aa/B.thy"`, `Cannot load theory file "/srv/tenants/alice/B.thy"`},
		{"/shares/aa and /shares/cc/x, /tmp/isabelle/s", "/srv/tenants/alice and /srv/library/x, /srv/tenants/alice/.isabelle/s"}, {"see /shares/aa.", "see /srv/tenants/alice."}, {"/shares/aa...", "/srv/tenants/alice..."},
		{"/shares/aab", "/shares/aab"}, {"/shares/aa.thy", "/shares/aa.thy"}, {"x/shares/aa", "x/shares/aa"}, {"//shares/aa", "//shares/aa"}, {"file:/shares/aa", "file:/srv/tenants/alice"}, {"/x/shares/aa", "/x/shares/aa"},
		{"/shares/aa/shares/aa", "/srv/tenants/alice/shares/aa"}, {"/shares/bb/secret", "/shares/bb/secret"}, {"/shares/aa∀", "/shares/aa∀"}, {"∀/shares/aa", "∀/shares/aa"}, {"/shares/a", "/shares/a"},
		{"\x05\x06/shares/aa\x05", "\x05\x06/srv/tenants/alice\x05"}, {"/srv/tenants/alice", "/srv/tenants/alice"},
	} {
		if got := alice.Text(tt.text); got != tt.want {
			t.Errorf("Text(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
	if got := bob.Text("/shares/aa/secret"); strings.Contains(got, "alice") {
		t.Errorf("to bob, alice's alias is %q", got)
	}
}

// FuzzPaths: whatever a client says, what goes in lies in a place of its own; and
// whatever an instance says, it comes out, with no other place of the host in it.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{"/srv/tenants/alice/x", "../bob", "~~/src", "a/../..", "/shares/aa", "/shares/aa/../bb", "//", "$A", "~", "/shares/aa."} {
		f.Add("", s)
		f.Add("/srv/library", s)
	}
	f.Fuzz(func(t *testing.T, base, s string) {
		alice, bob := tables()
		if base != "" && !strings.HasPrefix(base, "/srv/library") {
			base = ""
		}
		inside, _, ok := alice.Inside(base, s)
		if ok {
			for element := range strings.SplitSeq(inside, "/") {
				if element == ".." || element == "~" || strings.HasPrefix(element, "$") {
					t.Fatalf("%q goes in as %q", s, inside)
				}
			}
			within := false
			for _, root := range []string{"/shares/aa", "/shares/cc", "/tmp/isabelle", "~~"} {
				within = within || inside == root || strings.HasPrefix(inside, root+"/")
			}
			if !within {
				t.Fatalf("%q goes in as %q", s, inside)
			}
			if again, _, ok := alice.Inside("", alice.Host(inside)); !ok || again != inside {
				t.Fatalf("%q goes in as %q, out, and in as %q", s, inside, again)
			}
		}
		for _, out := range []string{alice.Host(s), alice.Text(s)} {
			if len(out) > len(s)*16+32 || strings.Contains(out, "bob") && !strings.Contains(s, "bob") {
				t.Fatalf("%q comes out as %q", s, out)
			}
		}
		if out := bob.Text(s); strings.Contains(out, "alice") && !strings.Contains(s, "alice") {
			t.Fatalf("%q comes out for bob as %q", s, out)
		}
	})
}

func BenchmarkText(b *testing.B) {
	alice, _ := tables()
	for name, text := range map[string]string{"slashes": strings.Repeat("/", 1<<20), "aliases": strings.Repeat("/shares/aa ", 1<<20/11), "nearly": strings.Repeat(" /shares/aaa", 1<<20/12)} {
		b.Run(name+"=1MiB", func(b *testing.B) {
			b.SetBytes(1 << 20)
			for b.Loop() {
				alice.Text(text)
			}
		})
	}
}

// TestTextIsBounded: who names a place very often does not have us keep many times what was sent.
func TestTextIsBounded(t *testing.T) {
	table := NewTable(Place{Host: "/srv/" + strings.Repeat("long/", 100) + "alice", Inside: "/s"})
	text := strings.Repeat("/s ", 1<<20)
	got := table.Text(text)
	if len(got) > len(text)+66<<10 || !strings.HasPrefix(got, "/srv/long/") || !strings.HasSuffix(got, " /s ") {
		t.Errorf("%d bytes became %d: %.20q…", len(text), len(got), got)
	}
	if got := table.Text(text[:300]); strings.Contains(got, "/s ") {
		t.Errorf("a short one is not translated: %q", got)
	}
}
