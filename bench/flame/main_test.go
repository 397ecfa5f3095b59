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

const traces = `File: monitor.test
Type: alloc_space
Time: 2026-11-27 04:35:07 UTC
-----------+-------------------------------------------------------
     bytes:  32B
     1.50kB   cofferdam/monitor.(*Env).call
             cofferdam/monitor.(*conn).serve (inline)
             main.main
-----------+-------------------------------------------------------
         3   fmt.Sprintf
             testing.(*B).run
`

func TestTraces(t *testing.T) {
	root, err := readTraces(strings.NewReader(traces), "")
	if err != nil {
		t.Fatal(err)
	}
	if f := root.calls["main.main"].calls["cofferdam/monitor.(*conn).serve"].calls["cofferdam/monitor.(*Env).call"]; f == nil || f.samples != 1536 || root.samples != 1539 {
		t.Errorf("the stack became %+v of %d", f, root.samples)
	}
	if root, err = readTraces(strings.NewReader(traces), "serve"); err != nil || root.samples != 1536 || root.calls["cofferdam/monitor.(*conn).serve"] == nil {
		t.Errorf("below serve: %+v, %v", root, err)
	}
	for _, bad := range []string{"", "-----------+--\n many  main.main\n", "-----------+--\n 3Mx  main.main\n"} {
		if _, err := readTraces(strings.NewReader(bad), ""); err == nil {
			t.Errorf("a graph of %q", bad)
		}
	}
}
