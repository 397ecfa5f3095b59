package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/sdk"
)

// keep tries to get at volumes before it is anybody's, and from then on, keeps its principal's name
// in its own, and says what it has found.
func keep(ctx context.Context) error {
	var claimed atomic.Bool
	early := make(chan string, 1)
	began := make(chan struct{})
	go func() {
		first := true
		for met := ""; ; first = false {
			was := claimed.Load()
			for _, name := range []string{"/data/x", "/run/cofferdam/volumes/x", "/run/cofferdam/volumes/0/x", "/run/cofferdam/volumes/1/x"} {
				if err := os.WriteFile(name, nil, 0o600); err == nil {
					met += " wrote " + name
				}
			}
			all, _ := filepath.Glob("/run/cofferdam/volumes/*")
			if _, err := os.ReadDir("/data"); len(all) > 0 || !errors.Is(err, fs.ErrNotExist) {
				met += fmt.Sprint(" saw ", all, err)
			}
			if first {
				close(began)
			}
			if met != "" || was {
				if was && !claimed.Load() {
					met = ""
				}
				early <- met
				return
			}
		}
	}()
	<-began
	c, err := sdk.Connect(ctx) // which is answered when this is somebody's
	if err != nil {
		return err
	}
	who := c.Self().Principal
	names, err := filepath.Glob("/data/*")
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	count, _ := os.ReadFile("/data/" + who)
	own, writeErr := os.OpenFile("/data/"+who, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if writeErr == nil {
		_, writeErr = own.Write([]byte("x")) // which is there whole or not at all, should we be killed
	}
	fixed, _ := os.ReadDir("/run/cofferdam/volumes")
	fmt.Printf("%s found %q %v, kept %d %v, of %d; %v %v %v\n", who, slices.DeleteFunc(names, func(n string) bool { return n == "x" }), err, len(count)+1, writeErr, len(fixed),
		os.Remove("/data") != nil, os.Mkdir("/run/cofferdam/volumes/more", 0o700) != nil, syscall.Unmount("/run/cofferdam/volumes/0", 0) != nil)
	claimed.Store(true)
	return c.Serve(ctx, map[string]sdk.Handler{
		"who": func(context.Context, sdk.Caller, []byte) ([]byte, error) { return []byte(who), nil },
	})
}

func keeper(more string) string {
	return `
  each: {{program}keep], instances: per-principal, label: 'True %% {principal}', owns: '{principal}', stop_grace_period: 100ms,
    volumes: [{name: 'of-{principal}', to: /data, size: 1M}], provides: [{call: who, from: []}], ` + more + `}
`
}

// A spare sees the volumes of whom it becomes, and nothing before; nobody sees anybody else's.
func TestVolumesOfSpares(t *testing.T) {
	a := start(t, keeper("warm: 1, idle: 100ms"))
	want := make(map[string]int)
	for n := range 3 {
		for _, who := range []string{"alice", "bob"} {
			spare := a.warm("each", 1)[0]
			a.mustUse(who)()
			if in := a.of(who).Instance; in != "" && in != spare {
				t.Errorf("%s has %s, which was not the spare %s", who, in, spare)
			}
			found := "[]"
			if n > 0 {
				found = fmt.Sprintf("[%q]", who)
			}
			want[fmt.Sprintf("%s stdout: %s found %s <nil>, kept %d <nil>, of 1; true true true", spare, who, found, n+1)]++
			a.eventually("what there was has ended", func() bool { return len(a.running()) == 1 && len(a.spares("each")) == 1 })
		}
	}
	for line := range want {
		if !strings.Contains(a.output(), line+"\n") {
			t.Errorf("not said: %s\n%s", line, a.output())
		}
	}
}

// What a volume may hold is the same however late it comes.
func TestVolumeOfSpareIsBounded(t *testing.T) {
	a := start(t, keeper("warm: 1"))
	spare := a.warm("each", 1)[0]
	defer a.mustUse("alice")()
	got := ""
	if a.isImage() {
		if got = a.exec(spare, "fill"); !strings.Contains(got, "no space left") {
			t.Errorf("as much as it likes: %q", got)
		}
		return
	}
	go a.sup.Exec(t.Context(), spare, executor.Command{Args: []string{"/app/p", "program", "fill"}})
	a.eventually("it is ended for it", func() bool {
		return len(a.recorded(`"instance":"`+spare+`"`, `"op":"exit"`, `"object":"disk"`)) == 1
	})
}

// isImage tells whether volumes are file systems of their size here.
func (a *app) isImage() bool {
	for _, p := range a.parts[0].(executor.Executor).Protections() {
		if p.Name == "disk-quota" {
			return p.Status == executor.Pass
		}
	}
	return false
}

// One that is killed while it becomes somebody's loses nothing of anybody's, and the next one has it.
func TestSpareWithVolumeThatIsKilled(t *testing.T) {
	a := start(t, keeper("warm: 1, idle: 1ms, restart: {intensity: 1000, period: 1m, backoff: 1ms, backoff_max: 1ms}"))
	for n := range 30 {
		spare := a.warm("each", 1)[0]
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(time.Duration(n) * 200 * time.Microsecond)
			a.kill(spare)
		}()
		a.mustUse([]string{"alice", "bob"}[n%2])()
		<-killed
	}
	counts := make(map[string]int)
	for line := range strings.Lines(a.output()) {
		_, said, _ := strings.Cut(line, "stdout: ")
		who, rest, ok := strings.Cut(said, " found ")
		if !ok {
			continue
		}
		if _, others, _ := strings.Cut(rest, map[string]string{"alice": "bob", "bob": "alice"}[who]); others != "" {
			t.Errorf("%s saw what is not %s's: %s", who, who, said)
		}
		var kept int
		fmt.Sscanf(rest[strings.Index(rest, "kept"):], "kept %d", &kept)
		if kept < counts[who] {
			t.Errorf("%s had %d before, and now: %s", who, counts[who], said)
		}
		counts[who] = kept
	}
	t.Logf("kept %v", counts)
	if counts["alice"] == 0 || counts["bob"] == 0 {
		t.Errorf("nobody came to keep anything:\n%s", a.output())
	}
}
