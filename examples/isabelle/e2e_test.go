package isabelle_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/examples/apptest"
	"cofferdam/examples/isabelle/isabelletest"
)

// class is the application with its tenants.
type class struct {
	*apptest.App
	address   string
	passwords map[string]string
}

var passwordIn = regexp.MustCompile(`\(password "([^"]+)"\)`)

// open starts the application for some tenants. The manager is started with further
// arguments.
func open(t *testing.T, tenants []string, manager ...string) *class {
	t.Helper()
	if _, err := os.Stat("/usr/bin/poly"); err != nil {
		t.Skipf("needs poly: %v", err)
	}
	c := &class{passwords: make(map[string]string)}
	c.App = apptest.Lay(t, apptest.Options{
		Programs: []string{"cofferdam/examples/isabelle/cmd/..."},
		Shown:    []string{"testdata"},
		Change: func(m string) string {
			command := "[/app/manager"
			for _, a := range manager {
				command += fmt.Sprintf(", %q", a)
			}
			return strings.Replace(m, "[/app/manager", command, 1)
		},
	})
	if err := os.Mkdir(filepath.Join(c.home(), "library"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range tenants {
		cmd := exec.Command("bin/tenant", "-library", "library", name)
		cmd.Dir = c.home()
		out, err := cmd.CombinedOutput()
		m := passwordIn.FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("tenant %s: %v\n%s", name, err, out)
		}
		c.passwords[name] = string(m[1])
	}
	c.up(t)
	return c
}

// up starts the application, and finds out where it listens.
func (c *class) up(t *testing.T) {
	t.Helper()
	c.Up(t)
	var status []struct {
		Service string
		Listens []struct{ At string }
	}
	out := c.Output(t, "ps", "--format", "json")
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, s := range status {
		for _, l := range s.Listens {
			c.address = l.At
		}
	}
	if c.address == "" {
		t.Fatalf("nobody listens:\n%s", out)
	}
}

// home is the directory of the manifest.
func (c *class) home() string { return filepath.Dir(c.Manifest) }

// of is a tenant's directory.
func (c *class) of(tenant string) string { return filepath.Join(c.home(), "tenants", tenant) }

func (c *class) login(t *testing.T, tenant string) *isabelletest.Client {
	t.Helper()
	return isabelletest.Login(t, c.address, c.passwords[tenant])
}

func (c *class) target(tenant string) isabelletest.Target {
	return isabelletest.Target{Address: c.address, Password: c.passwords[tenant], Gateway: true}
}

// TestIsabelle is the whole of it, as tenants see it: what their clients are used to, and
// nothing of each other.
func TestIsabelle(t *testing.T) {
	c := open(t, []string{"alice", "bob"}, "-each", "1ms", "-burst", "100")
	t.Run("conforms", func(t *testing.T) { isabelletest.Conforms(t, c.target("alice")) })
	t.Run("runs", func(t *testing.T) { isabelletest.Runs(t, c.target("alice"), c.of("alice")) })
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("clients", func(t *testing.T) {
		isabelletest.Clients(t, c.target("bob"), filepath.Join(here, "clients"), c.of("bob"))
	})
}

// theory writes one of a tenant's, which runs some ML.
func (c *class) theory(t *testing.T, tenant, name, ml string) {
	t.Helper()
	text := "theory " + name + " imports Main begin\nML ‹" + ml + "›\nend\n"
	if err := os.WriteFile(filepath.Join(c.of(tenant), name+".thy"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func use(c *isabelletest.Client, session, theory string) isabelletest.Reply {
	end, _ := c.Task("use_theories", isabelletest.Arg{"session_id": session, "theories": []string{theory}, "master_dir": "."})
	return end
}

// works fails the test unless the tenant can use a theory, in a session of which the id
// may be given.
func (c *class) works(t *testing.T, tenant, session string) {
	t.Helper()
	c.theory(t, tenant, "Fine", `writeln "fine"`)
	client := c.login(t, tenant)
	defer client.Close()
	if session == "" {
		session, _ = client.Start("HOL")
		defer client.Task("session_stop", isabelletest.Arg{"session_id": session})
	}
	if end := use(client, session, "Fine"); end.Kind != "FINISHED" || end.Get("ok") != true || !strings.Contains(end.Text, `"message":"fine"`) {
		t.Errorf("%s: %s %s", tenant, end.Kind, end.Text)
	}
}

// TestTenantsApart: a tenant's theories find nothing of another one's, whoever names it
// where, and what was tried can be traced to who did.
func TestTenantsApart(t *testing.T) {
	c := open(t, []string{"alice", "mallory"})
	c.theory(t, "alice", "Secret", `writeln "the secret of alice"`)
	if err := os.Chmod(c.of("alice"), 0o755); err != nil { // others on the host could read it
		t.Fatal(err)
	}
	client := c.login(t, "mallory")
	session, tmp := client.Start("HOL")
	if want := filepath.Join(c.of("mallory"), ".isabelle") + "/"; !strings.HasPrefix(tmp, want) {
		t.Errorf("the session's directory is %q, want one in %s", tmp, want)
	}
	if info, err := os.Stat(tmp); err != nil || !info.IsDir() {
		t.Errorf("the session's directory is not there: %v", err)
	}
	missing := func(dir string) string {
		return `ERROR {"kind":"error","message":"No such directory: \"` + dir + `\""}`
	}
	for _, tt := range []struct {
		command string
		arg     isabelletest.Arg
		want    string
	}{
		{"session_start", isabelletest.Arg{"session": "HOL", "dirs": []string{c.of("alice")}}, missing(c.of("alice"))},
		{"session_build", isabelletest.Arg{"session": "HOL", "dirs": []string{"../alice"}}, missing(c.of("alice"))},
		{"use_theories", isabelletest.Arg{"session_id": session, "theories": []string{"Secret"}, "master_dir": c.of("alice")}, missing(c.of("alice"))},
		{"use_theories", isabelletest.Arg{"session_id": session, "theories": []string{"../alice/Secret"}, "master_dir": c.of("mallory")}, missing(c.of("alice"))},
		{"use_theories", isabelletest.Arg{"session_id": session, "theories": []string{c.of("alice") + "/Secret"}}, missing(c.of("alice"))},
		{"use_theories", isabelletest.Arg{"session_id": session, "theories": []string{"Secret"}, "master_dir": "/no/such"}, missing("/no/such")}, // the same as what is not there at all
		{"purge_theories", isabelletest.Arg{"session_id": session, "theories": []string{"Secret"}, "master_dir": c.of("alice")}, missing(c.of("alice"))},
		{"use_theories", isabelletest.Arg{"session_id": session, "theories": []string{"Secret"}, "master_dir": "~/alice"}, missing("~/alice")},
		{"use_theories", isabelletest.Arg{"session_id": session, "theories": []string{"Secret"}, "master_dir": "$HOME"}, missing("$HOME")},
	} {
		if end, _ := client.Task(tt.command, tt.arg); end.Kind+" "+end.Text != tt.want {
			t.Errorf("%s %v: %s %s, want %s", tt.command, tt.arg, end.Kind, end.Text, tt.want)
		}
	}
	// From inside, by every way to name it that there is; the last one shows that it would be seen.
	if err := os.Symlink(c.of("alice"), filepath.Join(c.of("mallory"), "link")); err != nil {
		t.Fatal(err)
	}
	c.theory(t, "mallory", "Own", `writeln "the secret of mallory"`)
	c.theory(t, "mallory", "Peek", `
  fun look file = (TextIO.inputAll (TextIO.openIn file)) handle _ => "nothing";
  val list = OS.Process.system "cat `+c.of("alice")+`/* /shares/*/../alice/* link/* /shares/*/link/* 2>/dev/null | grep secret >/tmp/found; ls /shares | wc -l >>/tmp/found; cat /shares/*/Own.thy >>/tmp/found";
  writeln (look "/tmp/found" ^ look "`+c.of("alice")+`/Secret.thy")`)
	end := use(client, session, "Peek")
	if end.Get("ok") != true || strings.Contains(end.Text, "secret of alice") || !strings.Contains(end.Text, "secret of mallory") || !strings.Contains(end.Text, `2\ntheory Own`) {
		t.Errorf("from inside: %s %s", end.Kind, end.Text)
	}
	if end := use(client, session, "link/Secret"); end.Get("ok") == true {
		t.Errorf("by a link: %s %s", end.Kind, end.Text)
	}
	// Who has the id of somebody's session has nothing.
	alice := c.login(t, "alice")
	alices, _ := alice.Start("HOL")
	if end := use(client, alices, "Own"); end.Kind != "ERROR" || end.String("message") != "No session '"+alices+"'" {
		t.Errorf("alice's session: %s %s", end.Kind, end.Text)
	}
	task := alice.Do("use_theories", isabelletest.Arg{"session_id": alices, "theories": []string{"Secret"}}).String("task")
	client.Do("cancel", isabelletest.Arg{"task": task})
	if end, _ := alice.Wait(task); end.String("message") == "Interrupt" {
		t.Errorf("mallory has canceled alice's task: %s", end.Text)
	}
	if r := client.Do("shutdown", nil); r.Kind != "OK" {
		t.Errorf("shutdown: %s %s", r.Kind, r.Text)
	}
	c.works(t, "alice", alices)
	// The record names the tenant with each connection, mount and instance.
	records := c.Output(t, "audit", "query", "--principal", "mallory", "--format", "jsonl")
	for _, want := range []string{`"op":"connect"`, `"op":"mount"`} {
		found := false
		for line := range strings.Lines(records) {
			found = found || strings.Contains(line, want)
		}
		if !found {
			t.Errorf("no record has %s and mallory:\n%s", want, records)
		}
	}
	if log := c.Output(t, "logs", "manager"); !strings.Contains(log, "tenant=mallory event=begun command=use_theories") || !strings.Contains(log, "about=Peek") {
		t.Errorf("the manager's log does not tell of Peek:\n%s", log)
	}
}

// TestReplaced: an instance that was crashed, stopped, kept busy for ever or full is
// replaced, and nobody else notices.
func TestReplaced(t *testing.T) {
	c := open(t, []string{"alice", "mallory"}, "-use", "4s", "-answer", "3s", "-ping", "500ms")
	alice := c.login(t, "alice")
	alices, _ := alice.Start("HOL")
	for _, tt := range []struct {
		name, ml string
		lost     bool // the instance, with its sessions
		full     bool // it stays, as full as it is, until its tenant gives it up
	}{
		{"Crash", `OS.Process.system "kill -9 -1"`, true, false},
		{"Hang", `OS.Process.system "kill -STOP -1"`, true, false},
		{"Loop", `fun f () = f () : unit; val () = f ()`, false, false},
		{"Stubborn", `fun f () = (f () handle _ => f ()) : unit; val () = OS.Process.sleep (Time.fromSeconds 1) handle _ => f ()`, false, false},
		{"Fork", `OS.Process.system "f() { f | f & }; f"`, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := c.login(t, "mallory")
			session, _ := client.Start("HOL")
			c.theory(t, "mallory", tt.name, tt.ml)
			begin := time.Now()
			end := use(client, session, tt.name)
			took := time.Since(begin)
			if tt.lost && (end.Kind != "FAILED" || end.String("kind") != "error" || end.String("message") != "The server was lost") {
				t.Errorf("the task ends as %s %s", end.Kind, end.Text)
			}
			c.works(t, "alice", alices)
			if tt.lost {
				if end := use(client, session, tt.name); end.Kind != "ERROR" || end.String("message") != "No session '"+session+"'" {
					t.Errorf("afterwards: %s %s", end.Kind, end.Text)
				}
			}
			if tt.full {
				client.Do("shutdown", nil)
			}
			begin = time.Now()
			c.works(t, "mallory", "")
			t.Logf("%s ended as %s after %v; the next theory was through after %v", tt.name, end.Kind, took.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
			if !tt.lost && !tt.full {
				client.Task("session_stop", isabelletest.Arg{"session_id": session})
			}
			client.Close()
		})
	}
}

// TestLiar: an instance that says what no server does is ended, over the real thing.
func TestLiar(t *testing.T) {
	c := open(t, []string{"alice", "mallory"}, "-gone", "1500ms")
	c.Down(t)
	text, err := os.ReadFile(c.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	liar := strings.NewReplacer("[/app/server, /app/fakeserver]", "[/app/server, /usr/bin/python3, -I, /app/liar.py]",
		"{from: bin/fakeserver, to: /app/fakeserver}", "{from: testdata/liar.py, to: /app/liar.py}").Replace(string(text))
	if err := os.WriteFile(c.Manifest, []byte(liar), 0o644); err != nil {
		t.Fatal(err)
	}
	c.up(t)
	for _, lie := range []string{"garbage", "ok", "finished", "huge", "session"} {
		client := c.login(t, "mallory")
		end, _ := client.Task("session_start", isabelletest.Arg{"session": lie})
		if end.Kind != "FAILED" || end.String("message") != "The server was lost" {
			t.Errorf("%s: %s %s", lie, end.Kind, end.Text)
		}
		client.Close()
	}
	if log := c.Output(t, "logs", "manager"); strings.Count(log, "tenant=mallory event=hostile") != 5 || strings.Contains(log, "tenant=alice event=hostile") {
		t.Errorf("the manager's log:\n%s", log)
	}
	// Each of them has ended, and is on record with whose it was.
	if ends := strings.Count(c.Output(t, "audit", "query", "--principal", "mallory", "--kind", "exit", "--format", "jsonl"), "\n"); ends < 4 {
		t.Errorf("%d instances of mallory's have ended, want those of the lies", ends)
	}
}

// TestKilledUnnoticed: of an instance that is killed while nothing runs in it, a client
// over its one connection sees nothing but its sessions gone.
func TestKilledUnnoticed(t *testing.T) {
	tenants := []string{"a", "b", "c", "d", "e", "f", "g"} // one kill each: who crashes often has to wait
	c := open(t, tenants)
	var usual, after []time.Duration
	for _, tenant := range tenants {
		client := c.login(t, tenant)
		echo := func() time.Duration {
			begin := time.Now()
			if r := client.Do("echo", "still there?"); r.Kind != "OK" {
				t.Fatalf("echo: %s %s", r.Kind, r.Text)
			}
			return time.Since(begin)
		}
		echo()
		usual = append(usual, echo())
		pid := c.pid(t, tenant)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for syscall.Kill(pid, 0) == nil && time.Since(begin) < time.Minute { // or the old one would answer
			time.Sleep(100 * time.Microsecond)
		}
		echo()
		after = append(after, time.Since(begin))
	}
	slices.Sort(usual)
	slices.Sort(after)
	t.Logf("an echo takes %v, and after a kill %v (medians of %d)", usual[len(usual)/2], after[len(after)/2], len(after))
}

// TestRealIsabelle runs a theory in the server of $ISABELLE_HOME; where that is not set, in
// one that lies there as Isabelle would.
func TestRealIsabelle(t *testing.T) {
	c := open(t, []string{"alice"}, "-answer", "2m")
	c.Down(t)
	home, limits := os.Getenv("ISABELLE_HOME"), "{memory: 4G, pids: 512, cpus: 2, tmp: 2G,"
	if home == "" {
		home, limits = filepath.Join(c.home(), "Isabelle"), "{memory: 96M, pids: 64, cpus: 0.5, tmp: 64M,"
		if err := os.MkdirAll(filepath.Join(home, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(c.home(), "bin", "fakeserver"), filepath.Join(home, "bin", "isabelle")); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(c.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(
		"[/app/server, /app/fakeserver]", "[/app/server]",
		"{from: bin/fakeserver, to: /app/fakeserver}", fmt.Sprintf("{from: %q, to: /opt/isabelle}", home),
		"instances: per-principal", "instances: per-principal\n    environment: {ISABELLE_HOME: /opt/isabelle}",
		"{memory: 96M, pids: 64, cpus: 0.5, tmp: 64M,", limits).Replace(string(text))
	if strings.Contains(changed, "fakeserver") {
		t.Fatalf("the manifest runs the other one:\n%s", changed)
	}
	if err := os.WriteFile(c.Manifest, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	c.up(t)
	c.works(t, "alice", "")
}

// pid is that of the init of a tenant's instance.
func (c *class) pid(t *testing.T, tenant string) int {
	t.Helper()
	var status []struct {
		Principal string
		Pid       int
	}
	if err := json.Unmarshal([]byte(c.Output(t, "ps", "--format", "json")), &status); err != nil {
		t.Fatal(err)
	}
	for _, s := range status {
		if s.Principal == tenant && s.Pid != 0 {
			return s.Pid
		}
	}
	t.Fatalf("no instance runs for %s", tenant)
	return 0
}
