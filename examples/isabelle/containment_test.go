package isabelle_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cofferdam/examples/isabelle/isabelletest"
)

type arg = isabelletest.Arg

// hostile is the class with mallory, who writes the theories of the directory
// hostile, and alice, who works meanwhile and has a secret.
type hostile struct {
	*class
	secret string            // of alice, in a file
	words  map[string]string // what stands between @ in theories
	heard  atomic.Int64      // connections to a port of the host that nobody was let to
}

func openHostile(t *testing.T) *hostile {
	h := &hostile{secret: "secret-" + rand.Text()}
	h.class = open(t, []string{"alice", "mallory"}, "-each", "100ms", "-burst", "100", "-use", "15s", "-answer", "3s", "-ping", "500ms")
	h.put(t, "alice", "Secret.thy", h.secret)
	for name, mode := range map[string]os.FileMode{"": 0o777, "Secret.thy": 0o666} { // not the modes keep it
		if err := os.Chmod(filepath.Join(h.of("alice"), name), mode); err != nil {
			t.Fatal(err)
		}
	}
	hostPort := h.listen(t, "tcp", "0.0.0.0:0")
	abstract := "@cofferdam-" + rand.Text()
	h.listen(t, "unix", abstract)
	_, gatePort, err := net.SplitHostPort(h.address)
	if err != nil {
		t.Fatal(err)
	}
	h.words = map[string]string{
		"SECRET": filepath.Join(h.of("alice"), "Secret.thy"), "OTHER": h.of("alice"),
		"STATE": h.State, "DIR": h.Dir, "HOSTPORT": hostPort, "HOSTIP": hostAddress(), "GATEPORT": gatePort, "ABSTRACT": abstract[1:],
	}
	return h
}

// listen counts who connects.
func (h *hostile) listen(t *testing.T, network, at string) (port string) {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.heard.Add(1)
			c.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// hostAddress is one of the host's own that is not the loopback's, if it has any.
func hostAddress() string {
	all, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range all {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
				return n.IP.String()
			}
		}
	}
	return "127.0.0.1"
}

// lay copies the theories and programs of the directory hostile for mallory, with
// the words filled in.
func (h *hostile) lay(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("hostile/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		filled := regexp.MustCompile(`@[A-Z]+@`).ReplaceAllStringFunc(string(text), func(w string) string {
			if v, ok := h.words[strings.Trim(w, "@")]; ok {
				return v
			}
			return w
		})
		h.put(t, "mallory", filepath.Base(file), filled)
	}
}

// put writes a file of a tenant's.
func (k *class) put(t *testing.T, name, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(k.of(name), file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start connects for a tenant and starts a session.
func (k *class) start(t *testing.T, name string) (c *isabelletest.Client, session string, err error) {
	if c, err = isabelletest.TryLogin(t, k.address, k.passwords[name]); err != nil {
		return nil, "", err
	}
	end, _, err := c.TryTask("session_start", arg{"session": "HOL"})
	if err == nil && end.Kind != "FINISHED" {
		err = fmt.Errorf("session_start: %s %s", end.Kind, end.Text)
	}
	if err != nil {
		c.Close()
		return nil, "", err
	}
	return c, end.String("session_id"), nil
}

// started is start, again and again until it works: after an instance was lost.
func (k *class) started(t *testing.T, name string) (c *isabelletest.Client, session string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		c, session, err := k.start(t, name)
		if err == nil {
			return c, session
		}
		if time.Now().After(end) {
			t.Fatalf("no session of %s in a minute: %v", name, err)
		}
	}
}

// said is what theories have told, as WHAT -> HOW.
func said(r isabelletest.Reply) map[string]string {
	all := make(map[string]string)
	for n := 0; r.Get(fmt.Sprintf("nodes.%d", n)) != nil; n++ {
		for m := 0; ; m++ {
			text, ok := r.Get(fmt.Sprintf("nodes.%d.messages.%d.message", n, m)).(string)
			if !ok {
				break
			}
			if what, how, ok := strings.Cut(text, " -> "); ok && !strings.HasPrefix(text, "val ") { // types have arrows, too
				all[what] = how
			}
		}
	}
	return all
}

// attack has mallory use a theory, and returns how that ended and what was told.
func (h *hostile) attack(t *testing.T, theory string, more arg) (isabelletest.Reply, map[string]string) {
	t.Helper()
	c, session := h.started(t, "mallory")
	a := arg{"session_id": session, "theories": []string{theory}, "master_dir": h.of("mallory")}
	for name, v := range more {
		a[name] = v
	}
	end, _, err := c.TryTask("use_theories", a)
	if err != nil {
		t.Fatalf("%s: the connection was lost: %v", theory, err)
	}
	if strings.Contains(end.Text, h.secret) {
		t.Errorf("%s: the secret got out: %s", theory, end.Text)
	}
	c.TryTask("session_stop", arg{"session_id": session})
	c.Close()
	return end, said(end)
}

// refused fails the test unless at least so many things were tried, and all were refused.
func refused(t *testing.T, said map[string]string, atLeast int, but ...string) {
	t.Helper()
	if len(said) < atLeast {
		t.Errorf("%d things were tried, want %d: %v", len(said), atLeast, said)
	}
	for what, how := range said {
		if !strings.HasPrefix(how, "refused") && !slices.Contains(but, what) {
			t.Errorf("%s: %s", what, how)
		}
	}
}

// lost fails the test unless the attack has cost mallory the instance, which was
// told, and recorded with this cause.
func (h *hostile) lost(t *testing.T, end isabelletest.Reply, before int, causes ...string) ended {
	t.Helper()
	if end.Kind != "FAILED" || !strings.Contains(end.String("message"), "server") {
		t.Errorf("mallory was told %s %.300s", end.Kind, end.Text)
	}
	var ends []ended
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		if ends = h.ends(t, "mallory"); len(ends) > before {
			break
		}
	}
	if len(ends) <= before {
		t.Fatalf("no end of an instance of mallory's is on record, of which there were %d", before)
	}
	got := ends[len(ends)-1]
	if !slices.Contains(causes, got.cause) {
		t.Errorf("the end is recorded as %v, want one of %q", got, causes)
	}
	return got
}

// ended is how an instance ended, by the audit log.
type ended struct {
	instance, cause, key string
	pids                 int // how many it had at most
}

// record is what the audit log has of a tenant's instances.
func (k *class) record(t *testing.T, name string) (ends []ended, attached int) {
	t.Helper()
	for line := range strings.Lines(k.Output(t, "audit", "-n", "-1", "--format", "jsonl")) {
		var r struct {
			Kind, Subject, Instance, Principal, Op, Object string
			End                                            struct {
				Key  string
				Pids int
			}
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case r.Principal != name || r.Subject != "server":
		case r.Kind == "exit":
			ends = append(ends, ended{r.Instance, r.Object, r.End.Key, r.End.Pids})
		case r.Kind == "decision" && r.Op == "attach":
			attached++
		}
	}
	return ends, attached
}

func (k *class) ends(t *testing.T, name string) []ended {
	t.Helper()
	ends, _ := k.record(t, name)
	return ends
}

// work has a tenant check a theory again and again until stop is closed, and tells how often
// that was done and what went wrong.
func (k *class) work(t *testing.T, name string, stop <-chan struct{}) (done int, wrong []string) {
	c, session, err := k.start(t, name)
	if err != nil {
		return 0, []string{err.Error()}
	}
	defer c.Close()
	for ; ; done++ {
		select {
		case <-stop:
			return done, wrong
		default:
		}
		k.put(t, name, "Work.thy", fmt.Sprintf("theory Work imports Main begin\nlemma \"A ⟶ A\" by simp\nML ‹writeln (Int.toString (%d + 1))›\nend", done))
		r, _, err := c.TryTask("use_theories", arg{"session_id": session, "theories": []string{"Work"}, "master_dir": k.of(name)})
		if err != nil {
			return done, append(wrong, err.Error())
		}
		if r.Kind != "FINISHED" || r.Get("ok") != true || !strings.Contains(r.Text, fmt.Sprintf(`"message":"%d"`, done+1)) {
			wrong = append(wrong, r.Kind+" "+r.Text)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestContainment(t *testing.T) {
	h := openHostile(t)
	h.lay(t)
	stop, worked := make(chan struct{}), make(chan struct{})
	var done int
	var wrong []string
	go func() {
		defer close(worked)
		done, wrong = h.work(t, "alice", stop)
	}()
	alice := h.ends(t, "alice")

	t.Run("files of the host and of others", func(t *testing.T) {
		end, said := h.attack(t, "Files", nil)
		refused(t, said, 40, "shares", "link", "list /run")
		if said["list /run"] != "LISTED: cofferdam" { // the monitor's socket is there
			t.Errorf("/run: %s", said["list /run"])
		}
		if mine := strings.Fields(said["shares"]); len(mine) != 2 || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(mine[0]) {
			t.Errorf("/shares has %q, want the aliases of what is its own and of the library: %s", mine, end.Text)
		}
	})
	t.Run("programs", func(t *testing.T) {
		_, said := h.attack(t, "Programs", nil)
		if said["system"] != "RUNS" {
			t.Errorf("nothing was tried: %v", said)
		}
		for _, process := range strings.Split(said["processes"], " | ") {
			if !slices.Contains([]string{"cat", "cofferdam-init", "init", "fakeserver", "poly", "server", "sh", "sort", "uniq", "[0]"}, process) {
				t.Errorf("mallory sees a process %q", process)
			}
		}
		if text := said["environment"]; strings.Contains(text, h.passwords["mallory"]) || strings.Contains(text, "alice") || strings.Contains(text, h.State) {
			t.Errorf("the environment tells %s", text)
		}
		for what, how := range said {
			if what != "system" && what != "processes" && what != "environment" && !regexp.MustCompile(`(?i)not permitted|denied|not found|no such|cannot|read-only|failed|must be|not implemented|-1|killed|only root`).MatchString(how) && !strings.HasSuffix(how, "[signal]") && !strings.HasPrefix(how, "refused") {
				t.Errorf("%s: %s", what, how)
			}
		}
	})
	t.Run("sockets", func(t *testing.T) {
		_, said := h.attack(t, "Sockets", nil)
		for what, how := range said {
			if strings.Contains(how, "CONNECTED") || strings.Contains(how, "KNOWN") || !strings.HasPrefix(how, "refused") && !strings.Contains(how, "Error") {
				t.Errorf("%s: %s", what, how)
			}
		}
		if len(said) < 26 {
			t.Errorf("%d things were tried: %v", len(said), said)
		}
		if n := h.heard.Load(); n != 0 {
			t.Errorf("%d connections arrived at the host", n)
		}
	})
	t.Run("the monitor's socket", func(t *testing.T) {
		_, said := h.attack(t, "Wire", nil)
		if how := said["wire"]; !strings.Contains(how, "sockets") || !strings.HasSuffix(how, "[0]") {
			t.Errorf("%v", said)
		}
		if _, attached := h.record(t, "mallory"); attached < 4 {
			t.Errorf("%d of 4 connections to the monitor are on record", attached)
		}
	})
	t.Run("disk", func(t *testing.T) {
		before := len(h.ends(t, "mallory"))
		end, said := h.attack(t, "Disk", nil)
		if end.Kind == "FAILED" { // these files are memory
			h.lost(t, end, before, "oom")
			return
		}
		for what, most := range map[string]int{"fill /tmp/fill": 64, "fill /dev/shm/fill": 64} {
			var n int
			if _, err := fmt.Sscanf(said[what], "refused after %d MiB", &n); err != nil || n > most {
				t.Errorf("%s: %q, want at most %d MiB", what, said[what], most)
			}
		}
		if strings.Contains(said["inodes"], "200000") {
			t.Errorf("inodes: %s", said["inodes"])
		}
	})
	t.Run("garbage to its server", func(t *testing.T) {
		end, _ := h.attack(t, "Pipe", arg{"watchdog_timeout": 1, "check_delay": 0.1})
		if end.Kind == "FINISHED" && end.Get("nodes.1.status.consolidated") != false {
			t.Errorf("%s %s", end.Kind, end.Text)
		}
	})
	t.Run("100 MB", func(t *testing.T) {
		end, _ := h.attack(t, "Prints", nil)
		if end.Kind != "FAILED" {
			t.Errorf("%s %.300s", end.Kind, end.Text)
		}
	})
	for _, tt := range []struct {
		theory string
		causes []string
	}{
		{"Memory", []string{"oom"}},
		{"Own", []string{"exit"}},
		{"Kill", []string{"exit"}},
		{"All", []string{"signal", "exit"}},
		{"Stop", []string{"policy", "exit", "signal"}},
	} {
		t.Run(tt.theory, func(t *testing.T) {
			before := len(h.ends(t, "mallory"))
			end, _ := h.attack(t, tt.theory, nil)
			if got := h.lost(t, end, before, tt.causes...); got.cause == "oom" && got.key != "limits.memory" {
				t.Errorf("the limit that is named is %q", got.key)
			}
			if end, said := h.attack(t, "Try", nil); end.Kind != "FINISHED" || end.Get("ok") != true {
				t.Errorf("the next instance: %s %s %v", end.Kind, end.Text, said)
			}
		})
	}
	t.Run("100 MB to the log", func(t *testing.T) {
		if end, said := h.attack(t, "Output", nil); said["output"] != "[0]" {
			t.Errorf("%s %.300s", end.Kind, end.Text)
		}
		size := int64(0)
		filepath.WalkDir(h.State, func(_ string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if info, err := d.Info(); err == nil {
					size += info.Size()
				}
			}
			return nil
		})
		if size > 32<<20 {
			t.Errorf("it has taken %d bytes of the host", size)
		}
	})
	t.Run("programs without end", func(t *testing.T) {
		most := 0
		for range 5 { // on a slow machine it may be stopped before it has many
			h.attack(t, "Forks", arg{"watchdog_timeout": 3, "check_delay": 0.1})
			before := len(h.ends(t, "mallory"))
			end, _ := h.attack(t, "Kill", nil)
			most = max(most, h.lost(t, end, before, "exit", "pids").pids)
			if most >= 32 {
				break
			}
		}
		if most < 32 || most > 64 {
			t.Errorf("it had up to %d processes, want nearly the limit of 64", most)
		}
		if end, _ := h.attack(t, "Try", nil); end.Kind != "FINISHED" {
			t.Errorf("afterwards: %s %s", end.Kind, end.Text)
		}
	})
	t.Run("a loop", func(t *testing.T) {
		end, _ := h.attack(t, "Loop", arg{"watchdog_timeout": 1, "check_delay": 0.1})
		if end.Kind != "FINISHED" || end.Get("nodes.1.status.running") != 1.0 {
			t.Errorf("%s %s", end.Kind, end.Text)
		}
	})

	close(stop)
	<-worked
	if t.Failed() {
		t.Logf("the manager's log:\n%s", h.Output(t, "logs", "manager"))
	}
	if done == 0 || len(wrong) > 0 {
		t.Errorf("alice has checked %d times, and: %v", done, wrong)
	}
	if now := h.ends(t, "alice"); len(now) != len(alice) {
		t.Errorf("an instance of alice's has ended: %v", now)
	}
	if h.heard.Load() != 0 {
		t.Errorf("%d connections arrived where nobody is let", h.heard.Load())
	}
}
