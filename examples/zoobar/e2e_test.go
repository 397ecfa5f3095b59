package zoobar_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/examples/apptest"
	"cofferdam/examples/zoobar/auth"
	"cofferdam/examples/zoobar/bank"
	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/zoobartest"
	"cofferdam/supervisor"
)

// site is the whole application under the real cofferdam, with the probe in every
// service.
type site struct {
	*apptest.App
	visitor *zoobartest.Browser // test2, who looks at all the profiles
}

// start builds and starts the site, and stops it with the test.
func start(t *testing.T) *site {
	t.Helper()
	s := &site{App: apptest.Start(t, apptest.Options{
		Programs: []string{"cofferdam/examples/zoobar/cmd/...", "cofferdam/examples/zoobar/probe"},
		Shown:    []string{"media", "sandbox"},
		Change: func(manifest string) string {
			// Everybody who registers has twenty words hashed.
			manifest = strings.Replace(manifest, "HASH_ITERATIONS: 100000", "HASH_ITERATIONS: 1000", 1)
			return regexp.MustCompile(`\{from: bin/(\w+), to: /app/\w+\}`).
				ReplaceAllString(manifest, "$0, {from: bin/probe, to: /app/probe}")
		},
	})}
	t.Cleanup(func() {
		if t.Failed() {
			if out, err := s.Command("logs", "profile", "dynamic", "front").CombinedOutput(); err == nil {
				t.Logf("profile said:\n%s", out)
			}
		}
	})
	return s
}

// probe runs the probe inside a service and returns its verdicts by name.
func (s *site) probe(t *testing.T, service string, args ...string) map[string]string {
	t.Helper()
	cmd := s.Command(append([]string{"exec", service, "/app/probe"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probe %v in %s: %v\n%s", args, service, err, &stderr)
	}
	found := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		name, verdict, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[name] = verdict
	}
	return found
}

// volume is where the test sees what is in a volume: in the directory that it is, or
// as root, where it is a file system of its own, through the program that has it.
func (s *site) volume(t *testing.T, name string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return filepath.Join(s.State, "volumes", name)
	}
	owner := map[string]string{"person": "roster", "cred": "auth", "index": "honeychecker", "bank": "bank", "profile": "store", "visits": "visits"}[name]
	for _, one := range s.instances(t) {
		if one.Service == owner && one.Pid != 0 {
			return fmt.Sprintf("/proc/%d/root/data", one.Pid)
		}
	}
	t.Fatalf("%s does not run", owner)
	return ""
}

// database opens a copy of a service's database.
func (s *site) database(t *testing.T, volume, name string) *sql.DB {
	t.Helper()
	dir := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		from, err := os.Open(filepath.Join(s.volume(t, volume), name+suffix))
		if err != nil {
			if suffix != "" && os.IsNotExist(err) {
				continue
			}
			t.Fatal(err)
		}
		to, err := os.Create(filepath.Join(dir, name+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(to, from); err != nil {
			t.Fatal(err)
		}
		from.Close()
		to.Close()
	}
	return zoobartest.Open(t, filepath.Join(dir, name), "")
}

var services = []string{"static", "dynamic", "front", "roster", "auth", "honeychecker", "bank", "store", "profile", "visits", "echo"}

// TestZoobar starts the site once and lets everything happen to it in turn.
func TestZoobar(t *testing.T) {
	s := start(t)
	if !t.Run("lab", func(t *testing.T) { zoobartest.Lab(t, s.URL, "/data") }) {
		return // nothing below says more
	}
	t.Run("2 services", s.testServices)
	t.Run("3 5 9 12 nobody reaches whom it need not", s.testReach)
	t.Run("who takes one person's pages over", s.testTakenOver)
	t.Run("4 6 7 databases", s.testDatabases)
	t.Run("defects", s.testDefects)
	t.Run("gateway", s.testGateway)
	t.Run("profiles", s.testProfiles)
	t.Run("honeywords", s.testHoneywords)
	t.Run("killed bank", s.testKilledBank)
}

// instances is what ps says.
func (s *site) instances(t *testing.T) []supervisor.Status {
	t.Helper()
	out, err := s.Command("ps", "--format", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []supervisor.Status
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("ps: %v\n%s", err, out)
	}
	return all
}

// status is what ps says of each service.
func (s *site) status(t *testing.T) map[string]supervisor.Status {
	of := make(map[string]supervisor.Status)
	for _, one := range s.instances(t) {
		of[one.Service] = one
	}
	return of
}

func (s *site) testServices(t *testing.T) {
	status := s.status(t)
	for _, service := range append([]string{"gateway"}, services...) {
		if got := status[service]; got.State != supervisor.Ready || got.Restarts != 0 {
			t.Errorf("%s is %q after %d restarts, want ready", service, got.State, got.Restarts)
		}
	}
	for _, service := range []string{"static", "profile", "echo"} {
		for path, there := range s.probe(t, service, "exists", "/data", "/zoobar", "/etc/shadow", "/app/bank", "/usr") {
			if there != "no" {
				t.Errorf("%s sees %s", service, path)
			}
		}
	}
}

// testReach tries every connection and every call from every service.
func (s *site) testReach(t *testing.T) {
	ports := []string{strings.TrimPrefix(s.URL, "http://"), "1.1.1.1:53", "gateway:8080", "main:8080"}
	var names []string
	for name := range zoobartest.Grants {
		names = append(names, name)
	}
	names = append(names, "bank.nothing", "nobody.nothing", "sandbox.run")
	for _, from := range services {
		at := from
		if from == "dynamic" { // of which there is one for each who has logged in
			at = s.instance(t, from, "test1")
		}
		addrs := slices.Clone(ports)
		for _, to := range services {
			if to != from {
				addrs = append(addrs, to+":8081")
			}
		}
		for addr, verdict := range s.probe(t, at, append([]string{"connect"}, addrs...)...) {
			if verdict != "closed" {
				t.Errorf("%s can connect to %s", from, addr)
			}
		}
		for name, verdict := range s.probe(t, at, append([]string{"call"}, names...)...) {
			want := "denied"
			if slices.Contains(zoobartest.Grants[name], from) {
				want = "answered"
			}
			if verdict != want {
				t.Errorf("call of %s from %s: %s, want %s", name, from, verdict, want)
			}
		}
	}
}

// testTakenOver does what a program could that has taken over the pages of one person
// and got hold of another one's cookie.
func (s *site) testTakenOver(t *testing.T) {
	mallory, victim := zoobartest.NewBrowser(t, s.URL), zoobartest.NewBrowser(t, s.URL)
	mallory.Register("mallory", "pass")
	victim.Register("victim", "pass")
	victim.SaveProfile("as it was")
	zoobartest.Contains(t, mallory.Get("/"), "Log out mallory")

	verdicts := s.probe(t, s.instance(t, "dynamic", "mallory"), "act", victim.Cookie())
	if len(verdicts) != 11 {
		t.Errorf("%d things were tried: %v", len(verdicts), verdicts)
	}
	for what, verdict := range verdicts {
		want := "refused"
		switch {
		case strings.HasPrefix(what, "theirs:") || what == "delegate" || what == "vouch":
			want = "label" // the monitor knows what it owns
		case strings.HasSuffix(what, calls.ProfileRun):
			want = "answered" // with an error
		}
		if verdict != want {
			t.Errorf("%s: %s, want %s", what, verdict, want)
		}
	}
	zoobartest.Contains(t, victim.Get("/"), "<b>Balance:</b> 10 zoobars")
	zoobartest.Contains(t, victim.View("victim"), "as it was")

	// What the victim does itself works, with the same cookie.
	zoobartest.Contains(t, victim.Transfer("mallory", "1"), "Sent 1 zoobars")
	for _, one := range s.instances(t) {
		if one.Service == "dynamic" && one.Principal == "" {
			t.Errorf("%s has the pages of nobody", one.Instance)
		}
	}
}

// instance is the one of a service that runs for a principal.
func (s *site) instance(t *testing.T, service, principal string) string {
	t.Helper()
	for _, one := range s.instances(t) {
		if one.Service == service && one.Pid != 0 && one.Principal == principal {
			return one.Instance
		}
	}
	t.Fatalf("no instance of %s runs for %q", service, principal)
	return ""
}

func (s *site) testDatabases(t *testing.T) {
	for _, tt := range []struct {
		volume, file, table string
		has, lacks          []string
	}{
		{"person", "person.db", "person", []string{"username"}, []string{"password", "token", "zoobars", "profile"}},
		{"cred", "cred.db", "cred", []string{"username", "password", "token", "salt", "iterations"}, []string{"zoobars"}},
		{"index", "index.db", "sugar", []string{"username", "position"}, []string{"password", "token"}},
		{"visits", "visits.db", "visit", []string{"owner", "visitor"}, []string{"password", "token", "zoobars"}},
		{"bank", "bank.db", "bank", []string{"username", "zoobars"}, []string{"password", "token"}},
		{"bank", "bank.db", "transfer", []string{"id", "sender", "recipient", "amount", "time"}, nil},
		{"profile", "profile.db", "profile", []string{"username", "profile"}, []string{"password", "token", "zoobars"}},
	} {
		var create string
		db := s.database(t, tt.volume, tt.file)
		if err := db.QueryRow(`SELECT sql FROM sqlite_master WHERE name = ?`, tt.table).Scan(&create); err != nil {
			t.Errorf("%s: table %s: %v", tt.file, tt.table, err)
		}
		for _, column := range tt.has {
			if !strings.Contains(create, column) {
				t.Errorf("%s has no column %s: %s", tt.table, column, create)
			}
		}
		for _, column := range tt.lacks {
			if strings.Contains(create, column) {
				t.Errorf("%s has %s in it: %s", tt.table, column, create)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(s.volume(t, "cred"), "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files of auth: %q, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("supersecretpassword")) {
			t.Errorf("%s has the password", file)
		}
	}
	s.checkBooks(t)
}

// checkBooks holds the invariants of the money.
func (s *site) checkBooks(t *testing.T) (transfers int) {
	t.Helper()
	var sum, accounts, negative, unexplained int
	err := s.database(t, "bank", "bank.db").QueryRow(`SELECT
		(SELECT count(*) FROM transfer), (SELECT sum(zoobars) FROM bank), (SELECT count(*) FROM bank),
		(SELECT count(*) FROM bank WHERE zoobars < 0),
		(SELECT count(*) FROM bank b WHERE zoobars != 10
			+ (SELECT coalesce(sum(amount), 0) FROM transfer WHERE recipient = b.username)
			- (SELECT coalesce(sum(amount), 0) FROM transfer WHERE sender = b.username))`).
		Scan(&transfers, &sum, &accounts, &negative, &unexplained)
	if err != nil {
		t.Fatal(err)
	}
	if sum != bank.Opening*accounts || negative != 0 || unexplained != 0 {
		t.Errorf("%d zoobars in %d accounts, %d negative, %d not explained by the log", sum, accounts, negative, unexplained)
	}
	return transfers
}

// testDefects does what broke the original.
func (s *site) testDefects(t *testing.T) {
	b := zoobartest.NewBrowser(t, s.URL)
	b.Register("careful", "pass")
	zoobartest.NewBrowser(t, s.URL).Register("other", "pass")
	for _, tt := range []struct{ what, recipient, zoobars string }{
		{"a: a negative amount", "other", "-5"},
		{"b: to oneself", "careful", "5"},
		{"c: to nobody", "nobody", "5"},
		{"f: not an integer", "other", "1.5"},
		{"f: an expression", "other", "__import__('os').getpid()"},
		{"more than there is", "other", "11"},
	} {
		page := b.Transfer(tt.recipient, tt.zoobars)
		zoobartest.Contains(t, page, "Transfer to "+tt.recipient+" failed")
		if strings.Contains(page, "Sent ") {
			t.Errorf("%s: the page says that zoobars were sent", tt.what)
		}
	}
	zoobartest.Contains(t, b.Get("/"), "<b>Balance:</b> 10 zoobars")
	zoobartest.Contains(t, b.View("nobody"), "Cannot find that user.") // g
	zoobartest.Contains(t, b.Get("/echo?s=x"), "from dynamic")
	zoobartest.Contains(t, zoobartest.NewBrowser(t, s.URL).Register("long", strings.Repeat("p", auth.MaxPasswordBytes+1)), "Registration failed.")
	s.checkBooks(t) // d, e
}

// testKilledBank kills the bank among transfers: what the page has confirmed is
// in the books, and the site goes on.
func (s *site) testKilledBank(t *testing.T) {
	a, b := zoobartest.NewBrowser(t, s.URL), zoobartest.NewBrowser(t, s.URL)
	a.Register("kill1", "pass")
	b.Register("kill2", "pass")
	before := s.checkBooks(t)
	var err error
	stop, confirmed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		from, to := a, "kill2"
		for {
			select {
			case <-stop:
				confirmed <- n
				return
			default:
			}
			page, err := from.TryPost("/transfer", zoobartest.TransferForm(to, "1"))
			if err == nil && strings.Contains(page, "Sent 1 zoobars") {
				n++
			}
			if to == "kill2" {
				from, to = b, "kill1"
			} else {
				from, to = a, "kill2"
			}
		}
	}()
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		err = syscall.Kill(s.status(t)["bank"].Pid, syscall.SIGKILL)
		time.Sleep(time.Second) // until it is up again
	}
	close(stop)
	n := <-confirmed
	if err != nil {
		t.Skipf("needs root: kill the bank from outside: %v", err)
	}
	after := s.checkBooks(t)
	if n == 0 || after-before < n || after-before > n+3 {
		t.Errorf("%d transfers confirmed, %d in the books", n, after-before)
	}
	zoobartest.Contains(t, a.Get("/"), "zoobars</p>")
}

// testGateway asks for what is not there, and what should not be said.
func (s *site) testGateway(t *testing.T) {
	for _, tt := range []struct {
		path string
		want int
	}{
		{"/", http.StatusOK},
		{"/index.html", http.StatusOK},
		{"/favicon.ico", http.StatusOK},
		{"/zoobar/media/zoobar.css", http.StatusOK},
		{"/zoobar/media/lion_awake.jpg", http.StatusOK},
		{"/zoobar/media/lion_sleeping.jpg", http.StatusOK},
		{"/zoobar/db/person/person.db", http.StatusNotFound},
		{"/zoobar/media/nothing.jpg", http.StatusNotFound},
		{"/zoobar/index.cgix", http.StatusNotFound},
		{"/nothing", http.StatusNotFound},
	} {
		response, err := http.Get(s.URL + tt.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != tt.want {
			t.Errorf("%s = %s, %v, want %d", tt.path, response.Status, err, tt.want)
		}
		if bytes.Contains(body, []byte(s.Dir)) || bytes.Contains(body, []byte("/srv")) {
			t.Errorf("%s tells where things are: %s", tt.path, body)
		}
	}
	// Browsers say where a form stands; only forms of this site are taken.
	for origin, want := range map[string]int{s.URL: http.StatusOK, "http://evil.example": http.StatusForbidden} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+zoobartest.Prefix+"/login", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("a form on %s = %s, want %d", origin, response.Status, want)
		}
	}
}
