package supervisor_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/manifest"
	"cofferdam/supervisor"
)

// changing is an application that changes: with another value for other, and with a line more for client
// and a service more, or without.
func changing(value int, uses, more string) string {
	return fmt.Sprintf(`
  client: {{program}deaf], stop_grace_period: 100ms, uses: [{call: server.who}%s]}
  server: {{program}serve], stop_grace_period: 100ms, provides: [{call: who}, {call: die, from: []}, {call: once, from: []}]}
  other: {{program}serve-echo], stop_grace_period: 100ms, environment: [V=%d], provides: [{call: echo}]}
%s`, uses, value, more)
}

const (
	echoMore = ", {call: other.echo}"
	oneMore  = "  more: {{program}serve-echo], stop_grace_period: 100ms, provides: [{call: echo}]}\n"
)

// reload makes services the manifest.
func (a *app) reload(services string) error {
	w, err := a.written(services)
	if err == nil {
		_, err = a.sup.Reload(a.t.Context(), w, 20*time.Second, 0, func(string) {})
	}
	return err
}

func (a *app) written(services string) (supervisor.Written, error) {
	dir := filepath.Dir(a.dirs.State)
	text, err := textOf(services)
	if err != nil {
		return supervisor.Written{}, err
	}
	m, err := manifest.Parse("test.yaml", []byte(text), dir, manifest.HostPath)
	if err != nil {
		return supervisor.Written{}, err
	}
	return supervisor.Written{File: "test.yaml", Dir: dir, Name: m.Name, Data: []byte(text), Paths: m.Paths()}, nil
}

// echoes tells whether client may call other.
func (a *app) echoes() bool {
	a.t.Helper()
	got := a.exec("client", "ask", "other.echo", "x")
	if got != "answer: x" && !strings.Contains(got, "denied") {
		a.t.Errorf("other.echo: %s", got)
	}
	return got == "answer: x"
}

var callEcho = supervisor.Live{Service: "client", Kind: "call", Object: "other.echo"}

// When a change has returned, it holds.
func TestLiveChanges(t *testing.T) {
	a := start(t, changing(1, "", ""))
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"the beginning", func() error { return nil }, false},
		{"grant", func() error { _, err := a.sup.Give(t.Context(), callEcho, 0, 0); return err }, true},
		{"revoke", func() error { _, err := a.sup.Revoke(t.Context(), callEcho, 0); return err }, false},
		{"reload with it", func() error { return a.reload(changing(1, echoMore, oneMore)) }, true},
		{"another value", func() error { return a.reload(changing(2, echoMore, oneMore)) }, true},
		{"revoke of what is written", func() error { _, err := a.sup.Revoke(t.Context(), callEcho, 0); return err }, false},
		{"a manifest that does not start", func() error {
			if err := a.reload(strings.Replace(changing(3, echoMore, oneMore), "server: {{program}serve]", "server: {{program}exit, '1'], restart: {intensity: 1}", 1)); err == nil {
				return fmt.Errorf("it starts")
			}
			return nil
		}, false},
		{"granted again", func() error { _, err := a.sup.Give(t.Context(), callEcho, 0, 0); return err }, true},
		{"reload without it", func() error { return a.reload(changing(2, "", "")) }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v\n%s", step.name, err, a.output())
		}
		if got := a.echoes(); got != step.want {
			t.Errorf("after %s it may call: %v, want %v", step.name, got, step.want)
		}
		if got := a.exec("client", "ask", "server.who", ""); got != "answer: client" {
			t.Errorf("after %s, what has nothing to do with it: %s", step.name, got)
		}
	}
}

// All of them at a time, while programs call and everything is looked at: what is granted throughout is
// answered throughout, and in the end it is as the manifest says.
func TestManyLiveChanges(t *testing.T) {
	a := start(t, changing(1, "", ""))
	ctx, cancel := context.WithCancel(t.Context())
	var changers, others sync.WaitGroup
	for n := range 2 {
		changers.Go(func() {
			for i := range 10 {
				uses, more := "", ""
				if i%2 == 0 {
					uses, more = echoMore, oneMore
				}
				if err := a.reload(changing(2+10*n+i, uses, more)); err != nil {
					t.Errorf("reload: %v", err)
				}
			}
		})
	}
	changers.Go(func() {
		for range 3 {
			if err := a.sup.Restart(t.Context(), []string{"server"}, 20*time.Second, 0, func(string) {}); err != nil {
				t.Errorf("restart: %v", err)
			}
		}
	})
	for _, change := range []func(i int){
		func(int) { a.sup.Give(ctx, callEcho, 0, 0) }, // which may be given already, or not
		func(int) { a.sup.Revoke(ctx, callEcho, 0) },
		func(i int) { a.sup.Give(ctx, callEcho, time.Duration(1+i%20)*time.Millisecond, 0) },
		func(int) {
			a.sup.Give(ctx, supervisor.Live{Service: "other", Kind: "call", Object: "server.who"}, 0, 0)
			a.sup.Revoke(ctx, supervisor.Live{Service: "other", Kind: "call", Object: "server.who"}, 0)
		},
		func(i int) {
			if w, err := a.written(changing(i, "", "")); err == nil {
				a.sup.Plan(w)
			}
		},
		func(int) { a.sup.Status(); a.sup.Grants(); a.sup.Live(); a.sup.Count() },
		func(int) {
			if got := a.exec("client", "ask", "server.who", ""); got != "answer: client" {
				t.Errorf("who: %s", got)
			}
			a.exec("client", "ask", "other.echo", "x")
		},
	} {
		others.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				change(i)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	changers.Wait()
	cancel()
	others.Wait()
	if err := a.reload(changing(100, "", "")); err != nil {
		t.Fatal(err)
	}
	if a.echoes() {
		t.Error("in the end it may call what the manifest does not grant")
	}
	if err := a.reload(changing(100, echoMore, "")); err != nil {
		t.Fatal(err)
	}
	if !a.echoes() {
		t.Error("in the end it may not call what the manifest grants")
	}
	if given, revoked := a.sup.Live(); len(given)+len(revoked) > 0 {
		t.Errorf("%v, %v are left", given, revoked)
	}
}
