package echo_test

import (
	"strings"
	"testing"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/echo"
	"cofferdam/examples/zoobar/zoobartest"
)

func TestEcho(t *testing.T) {
	m := zoobartest.NewMonitor()
	m.Serve("echo", echo.Methods())
	var answer string
	if err := m.As("dynamic").CallJSON(t.Context(), calls.Echo, calls.Said{S: `a"b`}, &answer); err != nil {
		t.Fatal(err)
	}
	if want := `You said "a"b" from dynamic`; answer != want {
		t.Errorf("echo = %q, want %q", answer, want)
	}
	long := calls.Said{S: strings.Repeat("x", calls.MaxEchoBytes+1)}
	if err := m.As("dynamic").CallJSON(t.Context(), calls.Echo, long, &answer); err == nil {
		t.Error("a text beyond the bound is echoed")
	}
}
