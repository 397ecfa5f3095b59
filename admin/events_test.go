package admin

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cofferdam/audit"
	"cofferdam/supervisor"
)

// watched is a server whose log is the test's.
func watched(t *testing.T) (path string, log *audit.Log, s *Server, stop func()) {
	t.Helper()
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	stopped := make(chan struct{})
	s = &Server{Owner: os.Getuid(), Stopped: stopped, Supervisor: &supervisor.Supervisor{Options: supervisor.Options{Log: log}}}
	return serveWith(t, s), log, s, func() { close(stopped) }
}

// watch asks for events, and returns once what comes from now on is among them.
func watch(t *testing.T, path string, req Request) (*Client, audit.Head) {
	t.Helper()
	req.Op = OpEvents
	c, err := Ask(path, req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.Timeout(30 * time.Second)
	r, err := c.Next()
	if err != nil || r.Head == nil {
		t.Fatalf("the first answer is %+v, %v", r, err)
	}
	return c, *r.Head
}

func append1(t *testing.T, log *audit.Log, r audit.Record) {
	t.Helper()
	if _, err := log.Append(r); err != nil {
		t.Fatal(err)
	}
}

// Each gets what he asked for, in order, until all has stopped, the last record too.
func TestEvents(t *testing.T) {
	path, log, s, stop := watched(t)
	all, head := watch(t, path, Request{})
	bank, _ := watch(t, path, Request{Service: "bank"})
	ends, _ := watch(t, path, Request{Kinds: []audit.Kind{audit.KindExit, audit.KindApp}})
	allowed, _ := watch(t, path, Request{Allowed: true, Kinds: []audit.Kind{audit.KindDecision}})
	if at, err := log.Head(); err != nil || at != head {
		t.Errorf("it says that the log ends at %v, not %v, %v", head, at, err)
	}
	for _, r := range []audit.Record{
		{Kind: audit.KindStart, Subject: "bank", Op: "start"},
		{Kind: audit.KindDecision, Subject: "front", Op: "call", Verdict: audit.Allow},
		{Kind: audit.KindDecision, Subject: "front", Op: "call", Verdict: audit.Deny, Detail: "\x1b[2J<>"},
		{Kind: audit.KindExit, Subject: "bank", Op: "exit"},
		{Kind: audit.KindApp, Op: "down"},
	} {
		append1(t, log, r)
	}
	stop()
	s.Finish(10 * time.Second)
	for _, tt := range []struct {
		name string
		c    *Client
		want string
	}{
		{"all", all, "bank start; front call; bank exit;  down"},
		{"of one service", bank, "bank start; bank exit"},
		{"of two kinds", ends, "bank exit;  down"},
		{"decisions", allowed, "front call; front call"},
	} {
		var got []string
		for {
			r, err := tt.c.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var e audit.Record
			if err := json.Unmarshal(r.Event, &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Subject+" "+e.Op)
		}
		if strings.Join(got, "; ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, strings.Join(got, "; "), tt.want)
		}
	}
}

// One who does not read holds nobody up, costs little, and is told exactly how much
// passed him by, where it is missing.
func TestSlowWatcher(t *testing.T) {
	path, log, s, stop := watched(t)
	slow, head := watch(t, path, Request{})
	quick, _ := watch(t, path, Request{})
	const events = 20_000
	seen := make(chan uint64)
	go func() {
		var n uint64
		for n < events {
			r, err := quick.Next()
			if err != nil {
				break
			}
			if n++; r.Lost > 0 {
				n += r.Lost - 1
			}
		}
		seen <- n
	}()
	for range events {
		append1(t, log, audit.Record{Kind: audit.KindLimit, Subject: "bank", Detail: strings.Repeat("x", 200)})
	}
	if n := <-seen; n != events {
		t.Errorf("the quick one was told of %d events, want %d", n, events)
	}
	stop()
	go s.Finish(10 * time.Second)

	// What he reads is one run after the other, with what was lost between them.
	next, lost, got := head.Seq+1, uint64(0), uint64(0)
	for {
		r, err := slow.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.Lost > 0 {
			if lost > 0 {
				t.Fatal("told twice in a row")
			}
			lost = r.Lost
			got += lost
			continue
		}
		var e audit.Record
		if err := json.Unmarshal(r.Event, &e); err != nil {
			t.Fatal(err)
		}
		// Checkpoints are no events, and have numbers.
		if skip := e.Seq - next; skip < lost || skip > lost+lost/1000+1 {
			t.Fatalf("record %d follows %d, and %d were lost", e.Seq, next-1, lost)
		}
		next, lost = e.Seq+1, 0
		got++
	}
	if got != events {
		t.Errorf("%d events read or told of, want %d", got, events)
	}
	if got == next-head.Seq-1 {
		t.Error("nothing was lost: the test shows nothing")
	}
}

// Whoever goes away makes room, and one too many is refused.
func TestManyWatchers(t *testing.T) {
	path, log, _, _ := watched(t)
	var all []*Client
	for range 32 {
		c, _ := watch(t, path, Request{})
		all = append(all, c)
	}
	if c, err := Ask(path, Request{Op: OpEvents}); err != nil {
		t.Fatal(err)
	} else if _, err := c.Next(); err == nil || !strings.Contains(err.Error(), "32 watch already") {
		t.Errorf("one more: %v", err)
	}
	for _, c := range all {
		c.Close()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := Ask(path, Request{Op: OpEvents})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next(); err == nil {
			c.Close()
			return
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatal("there is no room after all have gone")
		}
		append1(t, log, audit.Record{Kind: audit.KindApp})
	}
}
