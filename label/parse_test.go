package label

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseFormula(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`True`, `True`},
		{`False`, `False`},
		{`"True"`, `"True"`},
		{`alice`, `"alice"`},
		{`  alice	&
			bob`, `"alice" /\ "bob"`},
		{`alice&bob`, `"alice" /\ "bob"`},
		{`alice/\bob\/carol`, ``},
		{`bob /\ alice`, `"alice" /\ "bob"`},
		{`a | b | c`, `("a" \/ "b" \/ "c")`},
		{`a \/ b | a`, `("a" \/ "b")`},
		{`((a))`, `"a"`},
		{`(a & b) | c`, `("a" \/ "c") /\ ("b" \/ "c")`},
		{`(a & b) | (a & c)`, `"a" /\ ("b" \/ "c")`},
		{`(a | b) & a`, `"a"`},
		{`a & (b | (c & (d | e)))`, `"a" /\ ("b" \/ "c") /\ ("b" \/ "d" \/ "e")`},
		{`a & False`, `False`},
		{`a | True`, `True`},
		{`a | False`, `"a"`},
		{`(True & a) | False`, `"a"`},
		{`user:017@example.com`, `"user:017@example.com"`},
		{`_shop:Policy.T & @app+x-1`, `"@app+x-1" /\ "_shop:Policy.T"`},
		{`7f3a`, `"7f3a"`},
		{`""`, `""`},
		{`"/\\" | "%%" | "(" | "[]"`, `("%%" \/ "(" \/ "/\\" \/ "[]")`},
		{`"Ł"`, `"\197\129"`},
		{`"\197\129"`, `"\197\129"`},
		{`"\SOH\SO\&H\1\&2\65\DEL\127\&\&x\"\\"`, `"\SOH\SO\&H\SOH2A\DEL\DELx\"\\"`},
		{`"\195\&1"`, ``}, // half of a character of UTF-8
		{`"\a\b\t\n\v\f\r\NUL\ESC"`, `"\a\b\t\n\v\f\r\NUL\ESC"`},
	} {
		f, err := ParseFormula(tt.text)
		if tt.want == "" {
			if err == nil {
				t.Errorf("ParseFormula(%s) = %v, want an error", tt.text, f)
			}
			continue
		}
		if err != nil || f.String() != tt.want {
			t.Errorf("ParseFormula(%s) = %v, %v; want %s", tt.text, f, err, tt.want)
		}
		if again, err := ParseFormula(f.String()); err != nil || again != f {
			t.Errorf("ParseFormula(%v) = %v, %v", f, again, err)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`True %% True`, `True %% True`},
		{`alice%%bob`, `"alice" %% "bob"`},
		{`alice & bob %% a | b`, `"alice" /\ "bob" %% ("a" \/ "b")`},
		{`"C" /\ ("A" \/ "B") %% "A"`, `"C" /\ ("A" \/ "B") %% "A"`},
		{`(alice) %% ("%%")`, `"alice" %% "%%"`},
	} {
		if l, err := Parse(tt.text); err != nil || l.String() != tt.want {
			t.Errorf("Parse(%s) = %v, %v; want %s", tt.text, l, err, tt.want)
		}
	}
	if l := MustParse("True %% True"); l != Public || l != (Label{}) {
		t.Errorf("%v is not Public", l)
	}
	if MustParse("True %% False") != Bottom || MustParse("False %% True") != Top {
		t.Errorf("Bottom = %v, Top = %v", Bottom, Top)
	}
}

// TestSyntaxErrors wants of each error the place and a word of advice.
func TestSyntaxErrors(t *testing.T) {
	formula := func(s string) error { _, err := ParseFormula(s); return err }
	label := func(s string) error { _, err := Parse(s); return err }
	long := strings.Repeat("n", MaxName+1)
	for _, tt := range []struct {
		parse  func(string) error
		text   string
		offset int
		words  string
	}{
		{formula, ``, 0, "True is the one that names nobody"},
		{formula, `   `, 3, "a formula is missing"},
		{formula, `a &`, 3, "a formula is missing"},
		{formula, `a & & b`, 4, "an and where a formula was expected"},
		{formula, `a b`, 2, "a name where the end was expected"},
		{formula, `a & b | c`, 6, "parentheses: (a & b) | c, or a & (b | c)"},
		{formula, `a | b /\ c`, 6, "parentheses"},
		{formula, `(a & b`, 6, `the end where ")" was expected`},
		{formula, `a)`, 1, `")" where the end was expected`},
		{formula, `()`, 1, `")" where a formula was expected`},
		{formula, `a %% b`, 2, "one half"},
		{formula, `a %b`, 2, `"%%" between`},
		{formula, `a / b`, 2, `'/' is no part of a name without quotes`},
		{formula, `https://maps`, 6, `'/' is no part`},
		{formula, `a*`, 1, `'*' is no part`},
		{formula, `-a`, 0, `'-' is no part`},
		{formula, `Łukasz`, 0, `'Ł' is no part of a name without quotes`},
		{formula, `aŁ`, 1, `'Ł' is no part`},
		{formula, `a & true`, 4, "constants are True and False"},
		{formula, `a and b`, 2, "operators & and |"},
		{formula, `NOT a`, 0, "operators & and |"},
		{formula, `a & "b`, 4, "closing quote"},
		{formula, "a & \"b\nc\"", 6, "written as an escape"},
		{formula, "a & \"b\x7fc\"", 6, "written as an escape"},
		{formula, `"b\`, 2, "unknown escape"},
		{formula, `"b\q"`, 2, "unknown escape"},
		{formula, `"b\x41"`, 2, "unknown escape"},
		{formula, `"\321"`, 1, "below 256"},
		{formula, `"\99999999999999999999999"`, 1, "below 256"},
		{formula, `a & "\200"`, 4, "is not UTF-8"},
		{formula, "a & \xc5", 4, "0xc5 is not UTF-8"},
		{formula, "\"\xed\xa0\x80\"", 1, "0xed is not UTF-8"}, // a surrogate
		{formula, `a & ` + long, 4, "a name of 257 bytes, at most 256"},
		{formula, `a & "` + long + `"`, 4, "a name of 257 bytes"},
		{formula, `a & (` + join(MaxNames+1, " | ") + `)`, 5, "a clause of 17 names, at most 16"},
		{formula, join(MaxClauses+1, " & "), 0, "more than 64 clauses"},
		{formula, strings.Repeat("(", maxDepth+1) + "a", maxDepth, "parentheses 33 deep"},
		{label, ``, 0, "a formula is missing"},
		{label, `alice`, 5, "SECRECY %% INTEGRITY, with True for a half that names nobody"},
		{label, `alice %%`, 8, "a formula is missing"},
		{label, `%% alice`, 0, `"%%" where a formula was expected`},
		{label, `a %% b %% c`, 7, `"%%" where the end was expected`},
		{label, `a b %% c`, 2, `a name where "%%" was expected`},
		{label, `(a %% b)`, 3, `"%%" where ")" was expected`},
	} {
		err := tt.parse(tt.text)
		var at *SyntaxError
		if !errors.As(err, &at) || at.Offset != tt.offset || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%.60q: %v; want %q at byte %d", tt.text, err, tt.words, tt.offset)
		}
	}
}

// join returns p0 to p(n-1) with an operator between them.
func join(n int, operator string) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("p%d", i)
	}
	return strings.Join(names, operator)
}

// TestBounds has for each bound what is just within it, what is over it, and what is
// within it only in normal form.
func TestBounds(t *testing.T) {
	names := func(n int) []string { return strings.Split(join(n, " "), " ") }
	var clauses [][]string
	for _, name := range names(MaxClauses + 1) {
		clauses = append(clauses, []string{name})
	}
	long := strings.Repeat("ł", MaxName/2)
	for _, tt := range []struct {
		name    string
		clauses [][]string
		within  bool
	}{
		{"64 clauses", clauses[:MaxClauses], true},
		{"65 clauses", clauses, false},
		{"65 clauses, and one that says more than all", append(clauses[:MaxClauses+1:MaxClauses+1], nil), true},
		{"64 clauses twice", append(clauses[:MaxClauses:MaxClauses], clauses[:MaxClauses]...), true},
		{"16 names", [][]string{names(MaxNames)}, true},
		{"17 names", [][]string{names(MaxNames + 1)}, false},
		{"16 names twice", [][]string{append(names(MaxNames), names(MaxNames)...)}, true},
		{"17 names, and one of them", [][]string{names(MaxNames + 1), {"p3"}}, true},
		{"256 bytes", [][]string{{long}}, true},
		{"257 bytes", [][]string{{long + "a"}}, false},
		{"257 bytes, and False", [][]string{{long + "a"}, {}}, false},
		{"4096 clauses", make([][]string, maxRaw), true},
		{"4097 clauses", make([][]string, maxRaw+1), false},
		{"4097 names", [][]string{make([]string, maxRaw+1)}, false},
	} {
		if _, err := NewFormula(tt.clauses...); (err == nil) != tt.within || err != nil && !errors.Is(err, ErrBound) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if f, err := NewFormula([]string{"a"}, []string{"\xc5"}); err == nil || errors.Is(err, ErrBound) || f != True {
		t.Errorf("what is not UTF-8: %v, %v", f, err)
	}
	for _, text := range []string{
		join(maxRaw+1, " & ") + " & False",
		strings.Repeat("a & ", maxRaw) + "a",
		strings.Repeat(" ", MaxText) + "a",
	} {
		if f, err := ParseFormula(text); !errors.Is(err, ErrBound) {
			t.Errorf("ParseFormula(%.20q…) = %v, %v", text, f, err)
		}
	}
}

// TestLargest has texts and JSON of the largest labels there are, which are
// still read.
func TestLargest(t *testing.T) {
	var clauses [][]string
	for i := range MaxClauses {
		var names []string
		for j := range MaxNames {
			// Two digits and a letter of each name make it different; the
			// others are four bytes each in a text, and six in JSON.
			names = append(names, fmt.Sprintf("%02d%c", i, 'a'+j)+strings.Repeat("\x01", MaxName-3))
		}
		clauses = append(clauses, names)
	}
	f := must(NewFormula(clauses...))
	l := New(f, f)
	if again, err := Parse(l.String()); err != nil || again != l {
		t.Errorf("the text of %d bytes: %v", len(l.String()), err)
	}
	data := must(l.MarshalJSON())
	var again Label
	if err := again.UnmarshalJSON(data); err != nil || again != l {
		t.Errorf("the JSON of %d bytes: %v", len(data), err)
	}
	if joined, err := l.Join(l); err != nil || joined != l {
		t.Errorf("joined with itself: %v", err)
	}
}

// TestSevenJoins is the product of what seven parties vouch for, three clauses
// each: 2187 clauses without a bound.
func TestSevenJoins(t *testing.T) {
	l := Bottom
	sizes := []int{1}
	var err error
	for i := range 7 {
		m := MustParse(fmt.Sprintf("True %%%% a%d & b%d & c%d", i, i, i))
		var joined Label
		if joined, err = l.Join(m); err != nil {
			break
		}
		l = joined
		sizes = append(sizes, len(l.Integrity().Clauses()))
	}
	if !errors.Is(err, ErrBound) || !reflect.DeepEqual(sizes, []int{1, 3, 9, 27}) {
		t.Errorf("sizes %d, then %v; want ErrBound after 27", sizes, err)
	}
	// The other half of a meet, and both of them directly.
	if _, err := New(l.Integrity(), True).Meet(MustParse("x & y & z %% True")); !errors.Is(err, ErrBound) {
		t.Errorf("meet: %v", err)
	}
	if _, err := l.Integrity().Or(MustParseFormula("x & y & z")); !errors.Is(err, ErrBound) {
		t.Errorf("or: %v", err)
	}
}

// TestAndOverBound: an and is not refused as a value, and refused as a label.
func TestAndOverBound(t *testing.T) {
	f, g := MustParseFormula(join(MaxClauses, " & ")), MustParseFormula("x & y")
	both := f.And(g)
	if n := len(both.Clauses()); n != MaxClauses+2 || !both.Implies(f) || !both.Implies(g) || f.Implies(both) {
		t.Errorf("%d clauses", n)
	}
	for name, err := range map[string]error{
		"join":                     second(New(f, True).Join(New(g, True))),
		"meet":                     second(New(True, f).Meet(New(True, g))),
		"join with what is below":  second(New(both, True).Join(New(g, True))),
		"or":                       second(both.Or(MustParseFormula("z"))),
		"or with what it implies":  second(both.Or(both)),
		"meet with what it equals": second(New(both, True).Meet(New(both, True))),
		"parse":                    second(ParseFormula(both.String())),
	} {
		if !errors.Is(err, ErrBound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l, err := New(both, both).Join(New(True, g)); !errors.Is(err, ErrBound) {
		t.Errorf("%v", l)
	}
	if or, err := both.Or(True); err != nil || or != True {
		t.Errorf("or with True = %v, %v", or, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestHostileTexts are made to multiply out. What a text may cost is bounded by its
// length: without that, some of these would not end before the test does.
func TestHostileTexts(t *testing.T) {
	wide := func(name string) string {
		return "(" + strings.ReplaceAll(join(MaxClauses, " & "), "p", name) + ")"
	}
	pairs := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("(a%d & b%d)", i, i))
		}
		return strings.Join(all, " | ")
	}
	fill := func(part, operator string) string {
		return part + strings.Repeat(operator+part, (1<<18)/(len(part)+len(operator)))
	}
	for name, text := range map[string]string{
		"two wide":        wide("a") + "|" + wide("b"),
		"six pairs":       pairs(6), // 64 clauses: just within
		"seven pairs":     pairs(7),
		"ten thousand":    pairs(10000),
		"deep":            strings.Repeat("(a | (b & ", maxDepth/2) + "c" + strings.Repeat("))", maxDepth/2),
		"deeper":          strings.Repeat("(", 1<<18),
		"the same again":  fill(wide("a"), "|"),
		"taking turns":    fill("("+wide("a")+"|"+wide("b")+"|True)", "&"),
		"products, again": fill("("+pairs(6)+")", "&"),
		"many ors":        fill("("+pairs(5)+"|True)", "&"),
		"escapes":         `"` + strings.Repeat(`\a`, 1<<17) + `"`,
		"one name":        fill("a", "|"),
		"one clause":      fill("(a&b)", "|"),
	} {
		start := time.Now()
		f, err := ParseFormula(text)
		took := time.Since(start)
		switch name {
		case "six pairs", "deep", "the same again", "one name", "one clause":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		default:
			if !errors.Is(err, ErrBound) {
				t.Errorf("%s: %.40v, %v; want ErrBound", name, f, err)
			}
		}
		t.Logf("%s: %d bytes, %v, %v", name, len(text), took, err)
	}
}

// TestLookAlikes: what people cannot tell apart, and what another implementation
// takes for one, are different principals, and look different when they are shown.
func TestLookAlikes(t *testing.T) {
	for _, tt := range [][2]string{
		{"Ł", "A"},               // the same in their low eight bits
		{"а", "a"},               // Cyrillic and Latin
		{"\u00e9", "e\u0301"},    // composed and decomposed
		{"\u212a", "K"},          // Kelvin, which folds to k
		{"alice", "Alice"},       // case
		{"alice", "alice "},      // space
		{"alice", "alice\u200b"}, // of no width
		{"alice", "\ufeffalice"},
		{"alice", "alice\x00"},
		{"", "\x00"},
	} {
		f, g := must(NewFormula(tt[:1])), must(NewFormula(tt[1:]))
		if f == g || f.Implies(g) || g.Implies(f) || f.String() == g.String() {
			t.Errorf("%q and %q are one principal, shown as %v and %v", tt[0], tt[1], f, g)
		}
		for _, s := range []string{f.String(), g.String()} {
			if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
				t.Errorf("%q is shown as %q", tt, s)
			}
		}
	}
}

func TestClausesAreCopies(t *testing.T) {
	f := MustParseFormula("a & b")
	f.Clauses()[0][0] = "z"
	names := []string{"a", "b"}
	g := must(NewFormula(names))
	names[0] = "z"
	if f.String() != `"a" /\ "b"` || g.String() != `("a" \/ "b")` {
		t.Errorf("%v, %v", f, g)
	}
	if got := [][][]string{True.Clauses(), False.Clauses()}; !reflect.DeepEqual(got, [][][]string{{}, {{}}}) {
		t.Errorf("clauses of the constants: %#v", got)
	}
}
