package supervisor_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/executor"
	"cofferdam/monitor"
	"cofferdam/sdk"
)

// share is a program that mounts or unmounts: DIR INTO PRINCIPAL CLIENT.
func share(ctx context.Context, what string, args []string) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	args = append(args, "", "", "")
	o := sdk.MountOptions{Into: args[1], Principal: args[2], Client: args[3]}
	path := ""
	if what == "mount" {
		path, err = c.Mount(ctx, args[0], o)
	} else {
		err = c.Unmount(ctx, args[0], o)
	}
	if err != nil {
		path = "error: " + err.Error()
	}
	fmt.Println(path)
	return nil
}

// sh runs a shell script inside a service.
func (a *app) sh(service, script string) string {
	a.t.Helper()
	var out strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := a.sup.Exec(ctx, service, executor.Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil {
		a.t.Fatalf("exec %q in %s: %v", script, service, err)
	}
	return strings.TrimSpace(out.String())
}

// mount has a service mount something, which must work.
func (a *app) mount(service string, args ...string) string {
	a.t.Helper()
	path := a.exec(service, append([]string{"mount"}, args...)...)
	if !strings.HasPrefix(path, monitor.SharesDir+"/") {
		log, _ := os.ReadFile(filepath.Join(a.dirs.State, "audit.jsonl"))
		a.t.Fatalf("mount %q: %s\nrecorded:\n%s", args, path, log[max(0, len(log)-4000):])
	}
	return path
}

// makeTree makes files with their names as content, and directories for names
// that end in /.
func makeTree(t *testing.T, top string, names ...string) {
	t.Helper()
	for _, n := range names {
		path := filepath.Join(top, n)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if strings.HasSuffix(n, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if err == nil {
			err = os.WriteFile(path, []byte(n), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const sharing = `
  manager: {{program}deaf], stop_grace_period: 100ms, uses: [{share: theories, into: prover}, {share: out, into: self}, {spawn: box}, {share: theories, into: box}]}
  prover: {{program}deaf], stop_grace_period: 100ms, restart: {intensity: 100, backoff: 1ms}}
  other: {{program}deaf], stop_grace_period: 100ms}
  box: {{program}deaf], template: true}
budget: {memory: unlimited, pids: unlimited, instances: unlimited}
shares:
  - {name: theories, from: %[1]s/theories}
  - {name: out, from: %[1]s/out, writable: true, size: 1M}
`

// TestShares is the whole way: a manager mounts for its clients in a prover.
func TestShares(t *testing.T) {
	top := t.TempDir()
	makeTree(t, top, "theories/a/A", "theories/a/sub/S", "theories/b/B", "theories/file", "out/", "outside/SECRET")
	for _, err := range []error{os.Chmod(filepath.Join(top, "out"), 0o777), os.Symlink("../outside", filepath.Join(top, "theories/link"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a := start(t, fmt.Sprintf(sharing, top))
	theories := top + "/theories"

	if got := a.sh("prover", "ls -A /shares"); got != "" {
		t.Errorf("before any mount /shares has %q", got)
	}
	if got := a.sh("other", "ls -d /shares 2>/dev/null"); got != "" {
		t.Errorf("a service in which nothing can be mounted has %q", got)
	}
	path := a.mount("manager", theories+"/a", "prover", "", "alice")
	if strings.Contains(path, "a/") || strings.Contains(path, "theories") {
		t.Errorf("the path %q tells of the host's", path)
	}
	for script, want := range map[string]string{
		"cat " + path + "/A " + path + "/sub/S":                                   "theories/a/Atheories/a/sub/S",
		"(echo x >" + path + "/A) 2>/dev/null || echo no":                         "no",
		"ls " + path + "/..":                                                      filepath.Base(path),
		"cd " + path + "/sub; ls ../..; cat /proc/self/cwd/../../../etc/hostname": filepath.Base(path) + "\n" + a.status("prover").Instance,
	} {
		if got := a.sh("prover", script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	if got := a.sh("manager", "ls -A /shares"); got != "" {
		t.Errorf("who mounted for another sees %q", got)
	}
	if again := a.mount("manager", theories+"/a", "prover", "", "alice"); again != path {
		t.Errorf("the same client got %q and then %q", path, again)
	}
	if bob := a.mount("manager", theories+"/a", "prover", "", "bob"); bob != path {
		t.Errorf("another client got %q, not %q", bob, path)
	}
	if m := a.sup.Mounts(); len(m) != 1 || m[0].References != 2 || m[0].Dir != theories+"/a" || m[0].Share != "theories" || m[0].Path != path {
		t.Errorf("Mounts() = %+v", m)
	}

	// Refused and absent look the same.
	denied := a.exec("manager", "mount", "/etc", "prover")
	for _, args := range [][]string{
		{top + "/outside", "prover"}, {top, "prover"}, {theories + "x", "prover"}, {theories + "/absent", "prover"}, {theories + "/link", "prover"},
		{theories + "/file", "prover"}, {theories + "/a"}, {theories + "/a", "other"}, {theories + "/a", "nobody"}, {top + "/out", "prover"},
	} {
		got := a.exec("manager", append([]string{"mount"}, args...)...)
		if strings.Replace(got, args[0], "/etc", 1) != denied || !strings.HasSuffix(denied, ": denied") {
			t.Errorf("mount %q: %q, and of /etc %q", args, got, denied)
		}
	}
	if got := a.exec("other", "mount", theories+"/a", "prover"); !strings.HasSuffix(got, ": denied") {
		t.Errorf("a service without a grant: %q", got)
	}
	if got := a.exec("manager", "mount", theories+"/a", "box", "alice"); !strings.HasSuffix(got, ": unavailable") {
		t.Errorf("into an instance that does not run: %q", got)
	}

	// Another directory in its place is another mount.
	for _, rename := range [][2]string{{"a", "old"}, {"b", "a"}} {
		if err := os.Rename(filepath.Join(theories, rename[0]), filepath.Join(theories, rename[1])); err != nil {
			t.Fatal(err)
		}
	}
	next := a.mount("manager", theories+"/a", "prover", "", "alice")
	if got := a.sh("prover", "ls "+next+"; ls "+path); next == path || got != "B\nA\nsub" {
		t.Errorf("after a rename at %q there is %q", next, got)
	}
	a.exec("manager", "unmount", theories+"/a", "prover", "", "alice")
	if got := a.sh("prover", "ls /shares"); got != filepath.Base(path) {
		t.Errorf("what bob has and alice took back: %q", got)
	}
	a.exec("manager", "unmount", theories+"/a", "prover", "", "bob")
	if got := a.sh("prover", "ls -A /shares"); got != "" {
		t.Errorf("at the end: %q", got)
	}

	// A hard link is in the share as much as any other name of its file, and as
	// read-only; what is renamed over a file is seen.
	if err := os.Link(top+"/outside/SECRET", theories+"/a/hard"); err != nil {
		t.Fatal(err)
	}
	path = a.mount("manager", theories+"/a", "prover")
	if got := a.sh("prover", "cat "+path+"/hard; (echo x >"+path+"/hard) 2>/dev/null || echo no"); got != "outside/SECRETno" {
		t.Errorf("a hard link: %q", got)
	}
	makeTree(t, theories, "new")
	if err := os.Rename(theories+"/new", theories+"/a/B"); err != nil {
		t.Fatal(err)
	}
	if got := a.sh("prover", "cat "+path+"/B"); got != "new" {
		t.Errorf("after a rename over a file: %q", got)
	}
}

// A writable share, and one in the instance of a principal; and the ends of both
// sides.
func TestSharesEnd(t *testing.T) {
	top := t.TempDir()
	makeTree(t, top, "theories/a/A", "out/")
	if err := os.Chmod(filepath.Join(top, "out"), 0o777); err != nil {
		t.Fatal(err)
	}
	a := start(t, fmt.Sprintf(sharing, top))
	out := a.mount("manager", top+"/out")
	if got := a.sh("manager", "echo new >"+out+"/f && ls "+out); got != "f" {
		t.Errorf("in a writable share: %q", got)
	}
	if b, err := os.ReadFile(top + "/out/f"); err != nil || string(b) != "new\n" {
		t.Errorf("on the host: %q, %v", b, err)
	}

	// Two instances of a template, for two principals.
	for _, principal := range []string{"alice", "bob"} {
		go a.sup.Exec(t.Context(), "manager", executor.Command{ // for as long as the instance runs
			Args: []string{"/app/p", "program", "spawn", "box", principal}, Stdout: io.Discard, Stderr: io.Discard,
		})
	}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n := 0
		for _, s := range a.sup.Status() {
			if s.Service == "box" && s.Pid != 0 { // and does not wait for the budget
				n++
			}
		}
		if n == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d boxes run\n%s", n, a.output())
		}
	}
	a.mount("manager", top+"/theories/a", "box", "alice")
	var seen []string
	for _, m := range a.sup.Mounts() {
		for _, s := range a.sup.Status() {
			if s.Instance == m.Instance && s.Service == "box" {
				seen = append(seen, s.Principal)
			}
		}
	}
	if len(seen) != 1 || seen[0] != "alice" {
		t.Errorf("mounted for alice, seen by %q", seen)
	}

	// An instance that ends loses its mounts, and the next one begins with none.
	a.mount("manager", top+"/theories", "prover")
	before := a.status("prover").Instance
	if err := syscall.Kill(a.status("prover").Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for a.status("prover").Instance == before || a.status("prover").State != "ready" {
		time.Sleep(5 * time.Millisecond)
	}
	if got := a.sh("prover", "ls -A /shares"); got != "" {
		t.Errorf("a new instance has %q", got)
	}
	for _, m := range a.sup.Mounts() {
		if m.Instance == before {
			t.Errorf("still counted: %+v", m)
		}
	}
	a.mount("manager", top+"/theories", "prover")

	// When who asked has ended, nothing stays mounted.
	if err := syscall.Kill(a.status("manager").Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for len(a.sup.Mounts()) > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	if got := a.sh("prover", "ls -A /shares"); got != "" {
		t.Errorf("without who asked for it: %q", got)
	}
}

// TestSharesQuota: what is written through a share is bounded.
func TestSharesQuota(t *testing.T) {
	top := t.TempDir()
	makeTree(t, top, "theories/", "out/")
	if err := os.Chmod(filepath.Join(top, "out"), 0o777); err != nil {
		t.Fatal(err)
	}
	a := start(t, fmt.Sprintf(sharing, top))
	out := a.mount("manager", top+"/out")
	a.sh("manager", "head -c 4M /dev/zero >"+out+"/f; sleep 15")
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if s := a.status("manager"); s.LastExit != nil {
			if s.LastExit.Cause != executor.CauseDisk {
				t.Errorf("it ended with %+v, want the quota", s.LastExit)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("it runs on")
		}
	}
}

func TestShareThatIsNoDirectory(t *testing.T) {
	top := t.TempDir()
	makeTree(t, top, "theories", "out/")
	_, err := try(t, fmt.Sprintf(sharing, top))
	if err == nil || !strings.HasPrefix(err.Error(), "test.yaml:") || !strings.Contains(err.Error(), `share "theories": open `) {
		t.Errorf("New = %v, want an error that names the share", err)
	}
}

// race is a program that mounts, looks around in every way that it knows, and
// unmounts, while the host renames what it can. It prints what it has seen that
// it must not see.
func race(ctx context.Context, top string) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	var bad []string
	shown, denied := 0, 0
	names := []string{"a", "a/sub", "a/sub/deep", "b", "link", "."}
	for i := range 600 {
		dir := filepath.Join(top, names[i%len(names)])
		path, err := c.Mount(ctx, dir, sdk.MountOptions{})
		if err != nil {
			denied++
			continue
		}
		shown++
		bad = append(bad, look(path)...)
		// From within, after it was renamed or is no longer mounted.
		if d, err := os.Open(path); err == nil {
			if i%2 == 0 {
				c.Unmount(ctx, dir, sdk.MountOptions{})
			}
			for _, name := range []string{"..", "../..", "../../..", "sub/..", "sub/../..", "sub/deep/../../.."} {
				fd, err := unix.Openat(int(d.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
				if err != nil {
					continue
				}
				at := fmt.Sprintf("/proc/self/fd/%d/", fd)
				bad = append(append(append(bad, marks(at)...), marks(at+"..")...), marks(at+"../outside")...)
				unix.Close(fd)
			}
			d.Close()
		}
		c.Unmount(ctx, dir, sdk.MountOptions{})
	}
	fmt.Printf("shown %d, denied %d, bad %q\n", shown, denied, bad)
	return nil
}

// look lists the marks of the host's outside that are below path, links followed.
func look(path string) (bad []string) {
	for _, name := range []string{"", "/link", "/absolute", "/magic", "/sub/link", "/../outside", "/../../outside"} {
		bad = append(bad, marks(path+name)...)
	}
	filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "OUTSIDE" {
			bad = append(bad, p)
		}
		return nil
	})
	return bad
}

// marks lists those of the outside, or of what lies beside the share, in a directory.
func marks(dir string) (bad []string) {
	names, _ := os.ReadDir(dir)
	for _, n := range names {
		if n.Name() == "OUTSIDE" || n.Name() == "outside" {
			bad = append(bad, filepath.Join(dir, n.Name()))
		}
	}
	return bad
}

// TestSharesRace: whatever is renamed while directories are mounted, what is
// seen inside was in the share.
func TestSharesRace(t *testing.T) {
	top := t.TempDir()
	makeTree(t, top, "share/a/sub/deep/IN", "share/b/sub/deep/IN", "outside/OUTSIDE", "outside/sub/deep/OUTSIDE", "outside/a/sub/deep/OUTSIDE")
	dir, outside := filepath.Join(top, "share"), filepath.Join(top, "outside")
	for name, to := range map[string]string{"link": "../outside", "absolute": outside, "magic": "/proc/self/root" + outside, "a/sub/link": "../../../outside", "b/link": "../../outside"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	a := start(t, fmt.Sprintf(`
  racer: {{program}deaf], stop_grace_period: 100ms, uses: [{share: s, into: self}]}
shares: [{name: s, from: %s}]
`, dir))
	stop := make(chan struct{})
	var racer sync.WaitGroup
	defer racer.Wait()
	defer close(stop)
	racer.Go(func() {
		in := func(name string) string { return filepath.Join(dir, name) }
		exchange := func(x, y string) { unix.Renameat2(unix.AT_FDCWD, x, unix.AT_FDCWD, y, unix.RENAME_EXCHANGE) }
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, link := range []string{"link", "absolute", "magic"} {
				exchange(in("a"), in(link))
				exchange(in("a"), in(link))
			}
			exchange(in("a/sub"), in("b"))
			exchange(in("a/sub"), in("b"))
			os.Rename(in("a"), filepath.Join(outside, "away")) // out, where ".." would be the outside
			time.Sleep(50 * time.Microsecond)
			os.Rename(filepath.Join(outside, "away"), in("a"))
			os.Rename(in("a/sub"), filepath.Join(outside, "away"))
			time.Sleep(50 * time.Microsecond)
			os.Rename(filepath.Join(outside, "away"), in("a/sub"))
			os.Rename(dir, dir+"-away") // the share itself, and the outside in its place
			os.Rename(outside, dir)
			time.Sleep(50 * time.Microsecond)
			os.Rename(dir, outside)
			os.Rename(dir+"-away", dir)
			time.Sleep(200 * time.Microsecond)
		}
	})
	got := a.exec("racer", "race", dir)
	t.Log(got)
	var shown, denied int
	if n, _ := fmt.Sscanf(got, "shown %d, denied %d", &shown, &denied); n != 2 || shown == 0 || denied == 0 {
		t.Errorf("there was no race: %q", got)
	}
	if !strings.HasSuffix(got, "bad []") {
		t.Errorf("the outside was seen: %q", got)
	}
	if m := a.sup.Mounts(); len(m) > 0 {
		t.Errorf("still mounted: %+v", m)
	}
}

// TestSharesAsOrdinaryUser does all of this once more, when it was started by root.
func TestSharesAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: this is an ordinary user already")
	}
	dir, err := os.MkdirTemp("", "user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, tmp := filepath.Join(dir, "supervisor.test"), filepath.Join(dir, "t")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(binary, self, 0o755), os.Mkdir(tmp, 0o700), os.Chown(tmp, 1000, 1000)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, "-test.v", "-test.run", "^TestShare")
	cmd.Dir = tmp
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=" + tmp}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestSharesRace") {
		t.Errorf("the tests did not run:\n%s", out)
	}
}
