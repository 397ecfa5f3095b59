package calls_test

import (
	"strings"
	"testing"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/wire"
)

func TestBound(t *testing.T) {
	long := strings.Repeat(`"`, 128)
	want := calls.Bound{Owner: long, Visitor: long}
	b := want.Bytes()
	if len(b) > wire.MaxBound {
		t.Errorf("two of the longest names take %d bytes, more than can be bound", len(b))
	}
	if got, err := calls.ParseBound(b); err != nil || got != want {
		t.Errorf("ParseBound = %v, %v, want what was bound", got, err)
	}
	for _, s := range []string{"", "a", "a\n", "\nb", "a\nb\nc", "a\x00\nb"} {
		if got, err := calls.ParseBound([]byte(s)); err == nil {
			t.Errorf("ParseBound(%q) = %v, want an error", s, got)
		}
	}
}
