package audit

import (
	"reflect"
	"strings"
	"testing"
)

// How an environment ended is read back as it was written.
func TestEnd(t *testing.T) {
	l := open(t)
	for _, want := range []*End{
		nil,
		{},
		{Code: 137, Limit: "64MiB", Key: "limits.memory", WallNS: 1, CPUNS: 2, MemoryBytes: 3, Pids: 4, OutputBytes: 5},
		{Limit: "\"\n\x1b[2J", Key: "—"},
	} {
		if _, err := l.Append(Record{Kind: KindExit, End: want}); err != nil {
			t.Fatal(err)
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		var last Record
		if err := scan(strings.NewReader(read(t, l.Path())), 0, false, func(r Record) error { last = r; return nil }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(last.End, want) {
			t.Errorf("End %+v is read back as %+v", want, last.End)
		}
	}
}
