package user_test

import (
	"strings"
	"testing"

	"cofferdam/examples/zoobar/user"
)

func TestCheckName(t *testing.T) {
	for _, tt := range []struct {
		name string
		ok   bool
	}{
		{"test1", true},
		{"test1/.", true},
		{"../../etc/passwd", true},
		{"a#b+c%41 d", true},
		{"Jörg 雪", true},
		{`"quoted" \ <b>`, true},
		{strings.Repeat("x", 128), true},
		{strings.Repeat("x", 129), false},
		{"", false},
		{"a;b", false},
		{"a\r\nSet-Cookie: x", false},
		{"a\x00b", false},
		{"a\u202eb", false}, // turns the direction of what follows
		{"a\u200bb", false}, // looks like "ab"
		{"a\u00a0b", false}, // looks like "a b"
		{"\xff", false},
	} {
		if err := user.CheckName(tt.name); (err == nil) != tt.ok {
			t.Errorf("CheckName(%q) = %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}
