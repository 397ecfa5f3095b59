package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

const samples = `cofferdam
	ffffffff81000000 do_syscall_64
	    401000 cofferdam/monitor.(*Env).call
	    400000 main.main

swapper
	ffffffff82000000 idle

a <name>
	    500000 [unknown]
`

func TestFlame(t *testing.T) {
	root, err := read(strings.NewReader(strings.Repeat(samples, 3)), []string{"swapper"})
	if err != nil {
		t.Fatal(err)
	}
	if root.samples != 6 || root.rows(1) != 5 {
		t.Errorf("%d samples, %d rows", root.samples, root.rows(1))
	}
	if f := root.calls["cofferdam"].calls["main.main"].calls["cofferdam/monitor.(*Env).call"].calls["do_syscall_64"]; f == nil || f.samples != 3 {
		t.Errorf("the stack became %+v", f)
	}
	var svg strings.Builder
	if err := draw(&svg, "a < b", root); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(svg.String())); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"<title>main.main, 3 samples</title>", "a &lt;name&gt;", `width="600.0"`} {
		if !strings.Contains(svg.String(), want) {
			t.Errorf("it has no %s", want)
		}
	}
}

func TestNoSamples(t *testing.T) {
	if _, err := read(strings.NewReader("swapper\n\t1 idle\n"), []string{"swapper"}); err == nil {
		t.Error("a graph of nothing")
	}
}
