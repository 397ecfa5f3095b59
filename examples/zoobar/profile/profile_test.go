package profile_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/profile"
	"cofferdam/examples/zoobar/zoobartest"
	"cofferdam/sdk"
)

// world is a profile service with a store, a bank and a sandbox of the test's.
type world struct {
	*zoobartest.Monitor
	profiles map[string]string
}

func newWorld(t *testing.T, spawn func(context.Context, sdk.SpawnOptions) (sdk.Exit, error)) *world {
	t.Helper()
	w := &world{Monitor: zoobartest.NewMonitor(), profiles: make(map[string]string)}
	w.Spawn = spawn
	w.Serve("store", map[string]sdk.Handler{
		"get_profile": sdk.JSON(func(_ context.Context, _ sdk.Caller, u calls.User) (string, error) {
			return w.profiles[u.Username], nil
		}),
	})
	w.Serve("bank", map[string]sdk.Handler{
		"balance": sdk.JSON(func(_ context.Context, _ sdk.Caller, u calls.User) (*int64, error) {
			n, ok := map[string]int64{"alice": 3, "bob": 17}[u.Username]
			if !ok {
				return nil, nil
			}
			return &n, nil
		}),
	})
	w.Serve("profile", profile.New(w.As("profile")).Methods())
	return w
}

// run asks for a run as dynamic does.
func (w *world) run(ctx context.Context, owner, visitor string) (string, error) {
	body, err := json.Marshal(calls.Run{User: owner, Visitor: visitor})
	if err != nil {
		return "", err
	}
	reply, err := w.As("dynamic").CallWith(ctx, calls.ProfileRun, body, zoobartest.Acting(visitor))
	out := reply.Body
	return string(out), err
}

func TestWhatTheSandboxGets(t *testing.T) {
	var got sdk.SpawnOptions
	w := newWorld(t, func(_ context.Context, o sdk.SpawnOptions) (sdk.Exit, error) {
		got = o
		return sdk.Exit{Cause: "exit", Stdout: []byte("hello")}, nil
	})
	w.profiles["alice"] = "#!python\r\nprint(1)\r\n# \r alone stays"
	out, err := w.run(t.Context(), "alice", "bob")
	if err != nil || out != "hello" {
		t.Fatalf("run = %q, %v", out, err)
	}
	if len(got.Files) != 1 || got.Files[0].Path != "/run/profile.py" ||
		string(got.Files[0].Data) != "#!python\nprint(1)\n# \r alone stays" {
		t.Errorf("files %q, want the code with line ends of its own", got.Files)
	}
	if got.Principal != "alice" || string(got.Bound) != "alice\nbob" || got.Wall != 5*time.Second {
		t.Errorf("principal %q, bound %q, wall %v", got.Principal, got.Bound, got.Wall)
	}
	if len(got.Args)+len(got.Env)+len(got.Stdin) != 0 {
		t.Errorf("the sandbox gets more: %+v", got)
	}
}

func TestOutput(t *testing.T) {
	var exit sdk.Exit
	var failure error
	w := newWorld(t, func(context.Context, sdk.SpawnOptions) (sdk.Exit, error) { return exit, failure })
	w.profiles["alice"] = "#!python"
	for _, tt := range []struct {
		what string
		exit sdk.Exit
		want string
	}{
		{"a traceback is not shown", sdk.Exit{Code: 1, Stdout: []byte("before"), Stderr: []byte("Traceback …\nE: x")}, "before"},
		{"what was printed before the kill is", sdk.Exit{Code: 137, Cause: "wall", Limit: "5s", Stdout: []byte("before")}, "before"},
		{"bytes that are no text", sdk.Exit{Stdout: []byte("a\xffb")}, "a\uFFFDb"},
		{"nothing", sdk.Exit{}, ""},
	} {
		exit = tt.exit
		if got, err := w.run(t.Context(), "alice", "bob"); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.what, got, err, tt.want)
		}
	}
	exit = sdk.Exit{Stdout: []byte(strings.Repeat("ü\xff", calls.MaxOutputBytes))}
	if got, err := w.run(t.Context(), "alice", "bob"); err != nil || len(got) > 2*calls.MaxOutputBytes || !utf8.ValidString(got) {
		t.Errorf("much output: %d bytes, %v", len(got), err)
	}
	failure = errors.New("no sandbox today")
	if _, err := w.run(t.Context(), "alice", "bob"); err == nil || !strings.Contains(err.Error(), "no sandbox today") {
		t.Errorf("a sandbox that does not start: %v", err)
	}
}

func TestRefusedRuns(t *testing.T) {
	w := newWorld(t, func(context.Context, sdk.SpawnOptions) (sdk.Exit, error) {
		t.Error("something was started")
		return sdk.Exit{}, nil
	})
	w.profiles["alice"] = "#!python"
	w.profiles["bob"] = "just text"
	for _, tt := range []struct{ what, owner, visitor string }{
		{"not a program", "bob", "alice"},
		{"nobody's", "carol", "alice"},
		{"no owner", "", "alice"},
		{"no visitor", "alice", ""},
		{"a visitor that reads as another binding", "alice", "x\ny"},
	} {
		if _, err := w.run(t.Context(), tt.owner, tt.visitor); err == nil {
			t.Errorf("%s: no error", tt.what)
		}
	}
	body := []byte(`{"user":"alice","visitor":"bob"}`)
	if _, err := w.AsSandbox(calls.Bound{Owner: "bob", Visitor: "bob"}).Call(t.Context(), calls.ProfileRun, body); !errors.Is(err, sdk.ErrDenied) {
		t.Errorf("a sandbox asks for a run: %v, want ErrDenied", err)
	}
}

// Runs of one owner take turns, those of others do not wait for them, and
// nobody waits for ever (gap 7).
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := make(map[string]int), make(map[string]int)
		w := newWorld(t, func(_ context.Context, o sdk.SpawnOptions) (sdk.Exit, error) {
			mu.Lock()
			running[o.Principal]++
			most[o.Principal] = max(most[o.Principal], running[o.Principal])
			mu.Unlock()
			if o.Principal == "slow" {
				time.Sleep(o.Wall)
			}
			mu.Lock()
			running[o.Principal]--
			mu.Unlock()
			return sdk.Exit{}, nil
		})
		w.profiles["slow"], w.profiles["quick"] = "#!python", "#!python"

		begun := time.Now()
		var wg sync.WaitGroup
		failed := 0
		for range 20 {
			wg.Go(func() {
				if _, err := w.run(t.Context(), "slow", "bob"); err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		if _, err := w.run(t.Context(), "quick", "bob"); err != nil || time.Since(begun) != 0 {
			t.Errorf("a quick profile took %v, %v, while a slow one was running", time.Since(begun), err)
		}
		wg.Wait()
		if most["slow"] != 1 {
			t.Errorf("%d runs of one owner at once, want 1", most["slow"])
		}
		if waited := time.Since(begun); waited > 20*time.Second || failed == 0 {
			t.Errorf("the last of 20 viewers had an answer after %v, and %d were refused", waited, failed)
		}
	})
}

func TestAPI(t *testing.T) {
	w := newWorld(t, nil)
	w.profiles["bob"] = "I am Bob"
	as := w.AsSandbox(calls.Bound{Owner: "alice", Visitor: "bob"})
	for _, tt := range []struct{ call, args, want string }{
		{calls.ProfileGetSelf, `{}`, `"alice"`},
		{calls.ProfileGetVisitor, `{}`, `"bob"`},
		{calls.ProfileGetUserInfo, `{"username":"alice"}`, `{"username":"alice","profile":"","zoobars":3}`},
		{calls.ProfileGetUserInfo, `{"username":"bob"}`, `{"username":"bob","profile":"I am Bob","zoobars":17}`},
		{calls.ProfileGetUserInfo, `{"username":"carol"}`, `null`},
	} {
		got, err := as.Call(t.Context(), tt.call, []byte(tt.args))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s %s = %s, %v, want %s", tt.call, tt.args, got, err, tt.want)
		}
	}
	for _, args := range []string{`{"owner":"bob"}`, `[]`, `{`, `"x"`} {
		if got, err := as.Call(t.Context(), calls.ProfileGetSelf, []byte(args)); err == nil {
			t.Errorf("get_self %s = %s, want an error", args, got)
		}
	}
	if got, err := w.AsSandbox(calls.Bound{}).Call(t.Context(), calls.ProfileGetSelf, []byte(`{}`)); err == nil {
		t.Errorf("get_self of a sandbox bound to nobody = %s, want an error", got)
	}
}
