package secretary_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/examples/apptest"
)

// unlabel is how README.md takes the labels out of the manifest: see [TestUnlabelled].
const unlabel = `grep -v -e '%%' -e '-/->' -e '^assert:'`

// orders are what alice's page proposes.
const orders = "Pay what I owe, and see what is new.\n!settle bob\n!settle plumber\n!news\n!get /news.txt\n"

// shown is what the manifest names, and the rogue.
var shown = []string{"model.py", "inbox.py", "bank.py", "page.py", "auth.py", "mail", "testdata"}

// office is the application, and the web that it has a way to.
type office struct {
	*apptest.App

	mu   sync.Mutex
	told []string // the queries of what was asked of the web
}

func open(t *testing.T, change func(manifest string) string) *office {
	o := new(office)
	pages := http.FileServer(http.Dir("web"))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			o.mu.Lock()
			o.told = append(o.told, r.URL.RawQuery)
			o.mu.Unlock()
		}
		pages.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	o.App = apptest.Start(t, apptest.Options{
		Shown: shown,
		Change: func(m string) string {
			return change(strings.ReplaceAll(m, "127.0.0.1:8099", strings.TrimPrefix(web.URL, "http://")))
		},
	})
	return o
}

func labelled(m string) string { return m }

func unlabelled(t *testing.T) func(string) string {
	if readme, err := os.ReadFile("README.md"); err != nil || !strings.Contains(string(readme), unlabel) {
		t.Fatalf("README.md does not say %s: %v", unlabel, err)
	}
	return func(m string) string {
		cmd := exec.Command("sh", "-c", unlabel)
		cmd.Stdin = strings.NewReader(m)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
}

// leaks is what of the inbox the web was told.
func (o *office) leaks() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, query := range o.told {
		if text, err := url.QueryUnescape(query); err == nil && strings.Contains(text, "gall bladder") {
			all = append(all, text)
		}
	}
	return all
}

// waits until a service has printed a text.
func (o *office) waits(t *testing.T, service, text string) string {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		log := o.Output(t, "logs", service)
		if strings.Contains(log, text) {
			return log
		}
		if time.Now().After(end) {
			t.Fatalf("%s has not printed %q:\n%s\n%s", service, text, log, o.Output(t, "audit", "--denied"))
		}
	}
}

// visitor is somebody with a browser.
type visitor struct {
	t      *testing.T
	office *office
	http.Client
}

func (o *office) visitor(t *testing.T) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, office: o}
	v.Jar, v.Timeout = jar, 30*time.Second
	v.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v
}

// login is a visitor who has given a name and a password.
func (o *office) login(t *testing.T, name, password string) *visitor {
	v := o.visitor(t)
	if status, _ := v.post("/login", "name", name, "password", password); status != http.StatusSeeOther {
		t.Fatalf("log in as %s: %d", name, status)
	}
	return v
}

func (v *visitor) get(path string) (int, string) {
	v.t.Helper()
	return v.read(v.Get(v.office.URL + path))
}

func (v *visitor) post(path string, form ...string) (int, string) {
	v.t.Helper()
	values := make(url.Values)
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	return v.read(v.PostForm(v.office.URL+path, values))
}

func (v *visitor) read(r *http.Response, err error) (int, string) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return r.StatusCode, string(page)
}

var asked = regexp.MustCompile(`>pay (\S+ \d+)\s*<input type=hidden name=nonce value=([0-9a-f]+)>`)

// approves waits until the page asks for a payment, and clicks.
func (v *visitor) approves(payment string) {
	v.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		status, page := v.get("/")
		for _, m := range asked.FindAllStringSubmatch(page, -1) {
			if m[1] != payment {
				v.t.Errorf("alice is asked to pay %s", m[1])
			} else if status, _ := v.post("/approve", "nonce", m[2]); status != http.StatusSeeOther {
				v.t.Fatalf("approve: %d", status)
			} else {
				return
			}
		}
		if time.Now().After(end) {
			v.t.Fatalf("alice is not asked to pay %s: %d\n%s\n%s", payment, status, page, v.office.Output(v.t, "logs", "planner"))
		}
	}
}

// shows waits until services have printed just the lines of a block of README.md, in
// whatever order.
func (o *office) shows(t *testing.T, block int, services ...string) {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```text\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) <= block {
		t.Fatalf("README.md has %d blocks of text", len(blocks))
	}
	want := sorted(blocks[block][1])
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var log strings.Builder
		for _, s := range services {
			log.WriteString(o.Output(t, "logs", s))
		}
		if slices.Equal(sorted(log.String()), want) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("printed:\n%s\nREADME.md:\n%s", &log, blocks[block][1])
		}
	}
}

func sorted(text string) []string {
	return slices.Sorted(strings.Lines(text))
}

func TestSecretary(t *testing.T) {
	o := open(t, labelled)

	t.Run("what alice orders is done", func(t *testing.T) {
		alice := o.login(t, "alice", "rosebud")
		if status, _ := alice.post("/order", "text", orders); status != http.StatusSeeOther {
			t.Fatalf("order: %d", status)
		}
		alice.approves("plumber 700")
		o.waits(t, "bank", "paid bob 42\n")
		o.waits(t, "bank", "paid plumber 700\n")
	})
	t.Run("what the gate lets go of is recorded", func(t *testing.T) {
		log := o.Output(t, "audit", "--service", "inbox", "--tail", "-1", "--format", "jsonl")
		for who, owed := range map[string]string{"bob": "42", "plumber": "700"} {
			want := fmt.Sprintf("request sha256:%x, answer sha256:%x", sha256.Sum256([]byte(who)), sha256.Sum256([]byte(owed)))
			if !strings.Contains(log, want) {
				t.Errorf("no %s:\n%s", want, log)
			}
		}
	})
	t.Run("what a text orders is not", func(t *testing.T) {
		o.shows(t, 0, "planner", "reader", "browser", "bank")
		if leaks := o.leaks(); len(leaks) > 0 {
			t.Errorf("the web was told: %q", leaks)
		}
	})
	t.Run("alice's page is hers", func(t *testing.T) {
		nobody := o.visitor(t)
		for v, want := range map[*visitor]int{o.login(t, "mallory", "12345"): http.StatusForbidden, nobody: http.StatusSeeOther} {
			if status, page := v.get("/"); status != want || strings.Contains(page, "Secretary") {
				t.Errorf("%d, want %d: %s", status, want, page)
			}
			if status, _ := v.post("/order", "text", "!pay mallory 94"); status != want {
				t.Errorf("order: %d, want %d", status, want)
			}
		}
		if status, _ := nobody.post("/login", "name", "alice", "password", "guess"); status != http.StatusForbidden {
			t.Errorf("log in with a wrong password: %d", status)
		}
		if log := o.Output(t, "logs", "planner"); strings.Contains(log, "94") {
			t.Error(log)
		}
	})
}

// What README.md says that check says, it says; and of a manifest that does not keep
// what is asserted, that it does not.
func TestCheck(t *testing.T) {
	a := apptest.Lay(t, apptest.Options{Shown: shown})
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	report := regexp.MustCompile("(?s)```text\n(service inbox: .*?)```").FindSubmatch(readme)
	if report == nil {
		t.Fatal("README.md shows no report")
	}
	want := string(report[1])
	if got := a.Output(t, "check"); !strings.Contains(got, want) {
		t.Errorf("check says\n%s\nand not\n%s", got, want)
	}
	manifest, err := os.ReadFile(a.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(manifest), "  reader:\n", "  reader:\n    owns: alice\n", 1)
	if err := os.WriteFile(a.Manifest, []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := a.Command("check").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "inbox does reach internet: inbox → reader (lets go) → 127.0.0.1:8099") {
		t.Errorf("a reader that owns alice: %v\n%s", err, out)
	}
}

// The same programs under the same manifest without its labels.
func TestUnlabelled(t *testing.T) {
	o := open(t, unlabelled(t))
	alice := o.login(t, "alice", "rosebud")
	o.waits(t, "planner", "!pay mallory 91 ->")
	o.waits(t, "planner", "!pay mallory 93 ->")
	if status, _ := alice.post("/order", "text", orders); status != http.StatusSeeOther {
		t.Fatalf("order: %d", status)
	}
	alice.approves("plumber 700")
	o.shows(t, 1, "planner", "reader", "browser", "bank")
	if leaks := o.leaks(); len(leaks) != 1 {
		t.Errorf("the web was told: %q", leaks)
	}
}

// A planner of which every line is mallory's is held by the bank, the gate and its clearance.
func TestRogue(t *testing.T) {
	o := open(t, func(m string) string {
		planner := regexp.MustCompile(`(?s)model\.py, desk\]\n    files: \[\{from: model\.py`)
		if len(planner.FindAllString(m, -1)) != 1 {
			t.Fatal("the planner is not where it was")
		}
		return planner.ReplaceAllString(m, "model.py, desk]\n    files: [{from: testdata/rogue.py")
	})
	o.login(t, "alice", "rosebud").approves("plumber 700")
	log := o.waits(t, "planner", "that was all")
	for _, want := range []string{
		"pay a little -> paid",
		"pay nothing -> Malformed ",
		"pay much -> Failed more than 100 takes an approval",
		"approve myself -> Failed not an approval of alice's",
		"show what is no capsule -> Failed not an approval of alice's",
		"show what I do not hold -> Denied ",
		"get the unsealer -> Denied ",
		"read the inbox -> Denied ",
		"rise to the inbox -> LabelError ",
		"clear me for the web -> LabelError ",
		"clear me for the inbox, with alice's privilege -> LabelError ",
		"ask for text -> Deadline ",
		`have another paid -> Failed approved is something else: {"by": "planner-1", "to": "plumber", "amount": 700}`,
		`pay more -> Failed approved is something else: {"by": "planner-1", "to": "plumber", "amount": 700}`,
		"pay as approved -> paid",
		"pay again -> Failed that approval is used up",
	} {
		if !strings.Contains(log, "| "+want+"\n") {
			t.Errorf("not %q:\n%s", want, log)
		}
	}
	if log := o.waits(t, "bank", "paid plumber 700\n"); strings.Count(log, "paid") != 2 || !strings.Contains(log, "paid mallory 100\n") {
		t.Error(log)
	}
}
