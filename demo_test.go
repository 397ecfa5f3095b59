package cofferdam_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDemo types `make demo`, uses the site as a person would, and stops it.
// Nothing may be left: no process, mount, cgroup, socket or temporary file.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("needs full: it builds and runs the whole application")
	}
	cmd := exec.Command("make", "demo")
	demo(t, cmd)
}

// TestDemoAsOrdinaryUser runs the same as a user without any privilege, from
// a copy that this user can read.
func TestDemoAsOrdinaryUser(t *testing.T) {
	if testing.Short() {
		t.Skip("needs full: it builds and runs the whole application")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: TestDemo is this test for everybody else")
	}
	const uid = 23456
	dir, err := os.MkdirTemp("", "cofferdam-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if out, err := exec.Command("make", "build").CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	for _, path := range []string{"bin/cofferdam", "scripts", "examples/zoobar", "sdk/python"} {
		to := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-r", path, to).CombinedOutput(); err != nil {
			t.Fatalf("copy %s: %v\n%s", path, err, out)
		}
	}
	if out, err := exec.Command("chown", "-R", fmt.Sprint(uid), dir).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v\n%s", err, out)
	}
	cmd := exec.Command("scripts/demo")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	demo(t, cmd)
}

func demo(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	state, err := os.MkdirTemp("", "cofferdam-demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	if err := os.Chmod(state, 0o777); err != nil {
		t.Fatal(err)
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "COFFERDAM_STATE_DIR="+state+"/state", "COFFERDAM_RUNTIME_DIR="+state+"/run")
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // a Ctrl-C goes to all of it
	before := look(t, state)

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	stopped := make(chan error, 1)
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	site := make(chan string, 1)
	var said []string
	go func() {
		defer close(site)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			said = append(said, lines.Text())
			if _, at, ok := strings.Cut(lines.Text(), "open      "); ok {
				site <- strings.TrimSpace(at)
			}
		}
		stopped <- cmd.Wait()
	}()
	var at string
	select {
	case at = <-site:
	case <-time.After(8 * time.Minute):
	}
	if at == "" {
		t.Fatalf("the demo never said where the site is:\n%s", strings.Join(said, "\n"))
	}
	use(t, strings.TrimSuffix(at, "/"))

	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("the demo does not stop")
	}
	// The kernel takes down network namespaces and cgroups in its own time.
	var after map[string][]string
	for range 50 {
		if after = look(t, state); same(before, after) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	for what := range after {
		for _, one := range after[what] {
			if !slices.Contains(before[what], one) {
				t.Errorf("left behind, %s: %s", what, one)
			}
		}
	}
}

// use registers two people, moves money, and views a profile that is a program.
func use(t *testing.T, site string) {
	t.Helper()
	home := site + "/zoobar/index.cgi/"
	alice, bob := browser(t), browser(t)
	for name, c := range map[string]*http.Client{"alice": alice, "bob": bob} {
		page := post(t, c, home+"login", url.Values{
			"login_username": {name}, "login_password": {"secret of " + name}, "submit_registration": {"Register"}, "nexturl": {"/zoobar/index.cgi/"},
		})
		want(t, page, "Log out "+name, "10 zoobars")
	}
	want(t, post(t, alice, home+"transfer", url.Values{"recipient": {"bob"}, "zoobars": {"3"}, "submission": {"Send"}}), "Sent 3 zoobars")
	want(t, get(t, bob, home), "13 zoobars")
	code, err := os.ReadFile("examples/zoobar/profiles/visit-tracker.py")
	if err != nil {
		t.Fatal(err)
	}
	post(t, alice, home, url.Values{"profile_update": {string(code)}, "profile_submit": {"Save"}})
	want(t, get(t, bob, home+"users?user=alice"), "Your visit count: 0", `<span id="zoobars" class="7">`)
	want(t, get(t, bob, home+"users?user=alice"), "Your visit count: 1")
	want(t, get(t, bob, site+"/"), "zoobar")
}

func browser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// No connection outlives its request: it would count as something left.
	return &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
}

func get(t *testing.T, c *http.Client, at string) string {
	t.Helper()
	r, err := c.Get(at)
	return read(t, at, r, err)
}

func post(t *testing.T, c *http.Client, at string, form url.Values) string {
	t.Helper()
	r, err := c.PostForm(at, form)
	return read(t, at, r, err)
}

func read(t *testing.T, at string, r *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", at, r.Status, err, b)
	}
	return string(b)
}

func want(t *testing.T, page string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(page, p) {
			t.Errorf("the page has no %q:\n%s", p, page)
		}
	}
}

// look lists what an application could leave behind.
func look(t *testing.T, state string) map[string][]string {
	t.Helper()
	seen := make(map[string][]string)
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		b, err := os.ReadFile(p + "/cmdline")
		if err == nil && strings.Contains(string(b), "cofferdam") {
			seen["process"] = append(seen["process"], filepath.Base(p)+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	seen["mount"] = strings.Split(string(mounts), "\n")
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), "zoobar") {
			seen["cgroup"] = append(seen["cgroup"], path)
		}
		return nil
	})
	sockets, _ := filepath.Glob(state + "/run/apps/*/*")
	for _, s := range sockets {
		if info, err := os.Lstat(s); err == nil && info.Mode()&os.ModeSocket != 0 {
			seen["socket"] = append(seen["socket"], s)
		}
	}
	wire, _ := filepath.Glob(state + "/run/apps/*/wire/*")
	seen["socket"] = append(seen["socket"], wire...)
	temp, err := filepath.Glob("/tmp/*cofferdam*")
	if err != nil {
		t.Fatal(err)
	}
	seen["temporary file"] = temp
	return seen
}

func same(before, after map[string][]string) bool {
	for what, list := range after {
		for _, one := range list {
			if !slices.Contains(before[what], one) {
				return false
			}
		}
	}
	return true
}
