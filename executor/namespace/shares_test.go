package namespace_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"

	"golang.org/x/sys/unix"
)

// guest is a running environment with a directory for mount points.
type guest struct {
	t *testing.T
	e *namespace.Executor
	p executor.Process
}

func newGuest(t *testing.T, writable bool, change ...func(*executor.Spec)) *guest {
	t.Helper()
	g := &guest{t: t, e: open(t)}
	spec := host("sleep", "3600")
	spec.Limits.Wall = time.Minute
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountPoints, Target: "/shares", Writable: writable})
	for _, c := range change {
		c(spec)
	}
	var err error
	if g.p, err = g.e.Start(context.Background(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.p.Kill(executor.CausePolicy, "")
		<-g.p.Done()
	})
	return g
}

// run runs a shell script inside and returns what it prints.
func (g *guest) run(script string) string {
	g.t.Helper()
	var out bytes.Buffer
	cmd := &executor.Command{Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: &out, Stderr: &out}
	if x, err := g.p.Exec(context.Background(), cmd); err != nil {
		g.t.Fatalf("exec %q: %v, %+v", script, err, x)
	}
	return strings.TrimSpace(out.String())
}

// open opens a directory of the host as the trusted process would.
func (g *guest) open(dir string) *os.File {
	g.t.Helper()
	f, err := g.e.Open(context.Background(), dir)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { f.Close() })
	return f
}

func (g *guest) mount(dir, target string, writable bool) {
	g.t.Helper()
	if err := g.p.Mount(context.Background(), executor.Share{Dir: g.open(dir), Target: target, Writable: writable}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) unmount(target string) {
	g.t.Helper()
	if err := g.p.Unmount(context.Background(), target); err != nil {
		g.t.Fatal(err)
	}
}

// TestMountWhileRunning has a program try what it can with what it is shown
// while it runs.
func TestMountWhileRunning(t *testing.T) {
	g := newGuest(t, true)
	dir, all := tree(t, "a", "shared\n"), t.TempDir()
	for _, err := range []error{
		os.Chmod(all, 0o777),
		os.Mkdir(filepath.Join(dir, "sub"), 0o755),
		os.Symlink("/etc/hostname", filepath.Join(dir, "absolute")),
		os.Symlink("../../../../../etc/hostname", filepath.Join(dir, "climbing")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := g.run("ls -A /shares"); got != "" {
		t.Errorf("before any mount /shares has %q", got)
	}
	g.mount(dir, "/shares/ro", false)
	g.mount(all, "/shares/rw", true)

	for script, want := range map[string]string{
		"cat /shares/ro/a":         "shared",
		"ls /shares":               "ro\nrw",
		"echo out >/shares/rw/new": "",
		"cat /shares/ro/../ro/a":   "shared",
		// Links lead where they lead inside.
		"cat /shares/ro/absolute /shares/ro/climbing": "t\nt",
		// Up from a descriptor is up inside.
		"cd /shares/ro/sub; cat /proc/self/cwd/../../../etc/hostname":                                                                    "t",
		"exec 3</shares/ro/sub; cat /proc/self/fd/3/../../../../etc/hostname; ls -d /proc/self/fd/3/../../../root 2>&1 | grep -c cannot": "t\n1",
	} {
		if got := g.run(script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(all, "new")); err != nil || string(b) != "out\n" {
		t.Errorf("what was written in a writable share is %q, %v", b, err)
	}
	for _, script := range []string{
		"echo x >/shares/ro/a", "echo x >/shares/ro/new", "rm /shares/ro/a", "mv /shares/ro/a /shares/ro/b", "chmod 777 /shares/ro/a",
		"ln /shares/ro/a /shares/rw/a", "mkdir /shares/ro/d", "touch /shares/ro/a", "truncate -s 0 /shares/ro/a",
		"mkdir /shares/x", "touch /shares/x", "rmdir /shares/ro", "mv /shares/ro /shares/x", "mv /shares /x", "ln -s / /shares/x", "chmod 777 /shares",
		"umount /shares/ro", "umount -l /shares", "mount -o remount,rw,bind /shares", "mount -o remount,rw,bind /shares/ro", "mount --bind /shares/rw /shares/ro",
		"unshare -Urm true", "chroot /shares/ro /bin/true", "mknod /shares/rw/null c 1 3",
	} {
		if got := g.run("(" + script + ") 2>/dev/null && echo done"); got != "" {
			t.Errorf("a program could %s", script)
		}
	}
	if got := g.run("cat /shares/ro/a; ls /shares"); got != "shared\nro\nrw" {
		t.Errorf("after all that: %q", got)
	}

	// A file that is open stays open. A directory does too, but with Landlock
	// nothing can be opened from it any more: what is not mounted is below no
	// directory that a rule names.
	held := make(chan string)
	go func() {
		held <- g.run("cd /shares/ro; exec 3<a; touch /tmp/in; while [ ! -e /tmp/go ]; do sleep 0.01; done; cat <&3; " +
			"cat a 2>/dev/null || echo closed; cat /shares/ro/a 2>/dev/null || echo gone; cat ../etc/hostname 2>/dev/null || echo lost")
	}()
	g.run("while [ ! -e /tmp/in ]; do sleep 0.01; done")
	g.unmount("/shares/ro")
	g.run("touch /tmp/go")
	want := "shared\nclosed\ngone\nlost"
	for _, p := range g.e.Protections() {
		if p.Name == "landlock" && p.Status == executor.Fail {
			want = "shared\nshared\ngone\nlost"
		}
	}
	if got := <-held; got != want {
		t.Errorf("from within, after unmount: %q, want %q", got, want)
	}
	if got := g.run("ls -A /shares"); got != "rw" {
		t.Errorf("after unmount /shares has %q", got)
	}
	g.mount(dir, "/shares/ro", false)
	if got := g.run("cat /shares/ro/a"); got != "shared" {
		t.Errorf("mounted again: %q", got)
	}
}

// Where no share may be written, Landlock says so as well.
func TestReadOnlyPoints(t *testing.T) {
	g := newGuest(t, false)
	all := t.TempDir()
	if err := os.Chmod(all, 0o777); err != nil {
		t.Fatal(err)
	}
	g.mount(all, "/shares/a", false)
	if got := g.run("touch /shares/a/x 2>/dev/null && echo done"); got != "" {
		t.Error("a program wrote to a share that is read-only")
	}
}

// What was opened is what is shown, wherever its path leads by now.
func TestMountsWhatWasOpened(t *testing.T) {
	g := newGuest(t, false)
	top := tree(t, "real/a", "real\n")
	real, other := filepath.Join(top, "real"), filepath.Join(top, "moved")
	dir := g.open(real)
	for _, err := range []error{os.Rename(real, other), os.Symlink("/etc", real)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := g.p.Mount(context.Background(), executor.Share{Dir: dir, Target: "/shares/a"}); err != nil {
		t.Fatal(err)
	}
	if got := g.run("ls /shares/a"); got != "a" {
		t.Errorf("a directory that was moved shows %q", got)
	}
	if f, err := g.e.Open(context.Background(), real); err == nil {
		f.Close()
		t.Error("a link was opened")
	}
}

// Who stands in a directory of a share that somebody moves out of it on the host is
// no nearer to what it is beside there.
func TestMovedOutOfAShare(t *testing.T) {
	top := tree(t, "share/a/b/c", "c\n")
	if err := os.WriteFile(filepath.Join(top, "SECRET"), []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, false)
	g.mount(filepath.Join(top, "share"), "/shares/s", false)
	r, w := io.Pipe()
	go func() {
		_, err := g.p.Exec(context.Background(), &executor.Command{Args: []string{"sh", "-c", `cd /shares/s/a/b && echo in
			while [ -e /shares/s/a/b ]; do sleep 0.02; done
			for up in .. ../.. ../../.. ../../../..; do ls $up; cat $up/SECRET; (cd $up && ls && cat SECRET); done 2>/dev/null
			(cd -P .. && cat SECRET) 2>/dev/null; cat c 2>/dev/null || echo refused`}, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: w})
		w.CloseWithError(err)
	}()
	out := bufio.NewReader(r)
	if got, err := out.ReadString('\n'); got != "in\n" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := os.Rename(filepath.Join(top, "share/a/b"), filepath.Join(top, "b")); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(out)
	// Landlock of some kernels refuses what is in a directory that nothing leads to any more.
	ended := strings.HasSuffix(string(got), "c\n") || strings.HasSuffix(string(got), "refused\n")
	if err != nil || !ended || strings.Contains(strings.ToLower(string(got)), "secret") {
		t.Errorf("from a directory that was moved away a program sees %q, %v", got, err)
	}
}

// What is mounted below a directory on the host is seen with it, as read-only as
// the rest; what is mounted there later is not.
func TestSubMounts(t *testing.T) {
	dir := tree(t, "a", "x")
	var disks []string
	for _, name := range []string{"disk", "later"} {
		disk := filepath.Join(dir, name)
		if err := os.Mkdir(disk, 0o755); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, disk)
	}
	mount := func(disk string) {
		if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16k,mode=777"); err != nil {
			t.Skip("needs root: to mount a tmpfs: ", err)
		}
		t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
		if err := os.WriteFile(filepath.Join(disk, "on-disk"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mount(disks[0])
	g := newGuest(t, false)
	g.mount(dir, "/shares/a", false)
	mount(disks[1])
	if got := g.run("ls /shares/a/disk; (echo x >/shares/a/disk/new) 2>/dev/null || echo no; ls /shares/a/later; umount /shares/a/disk 2>/dev/null || echo stays"); got != "on-disk\nno\nstays" {
		t.Errorf("below a share there is %q", got)
	}
	g.unmount("/shares/a")
	if got := g.run("ls -A /shares"); got != "" {
		t.Errorf("after unmount: %q", got)
	}
}

func TestMountWhileRunningRefusals(t *testing.T) {
	g := newGuest(t, false, func(s *executor.Spec) {
		s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountTmpfs, Target: "/mnt", Writable: true})
	})
	top := tree(t, "d/a", "x")
	dir := g.open(filepath.Join(top, "d"))
	g.run("mkdir /mnt/x; ln -s /shares /mnt/l")
	g.mount(filepath.Join(top, "d"), "/shares/there", false)
	ctx := context.Background()
	for _, target := range []string{
		"", "/", "/shares", "/shares/", "/shares/.", "/shares/..", "/shares/../x", "/shares/a/b", "shares/x", "/mnt/x", "/mnt/l/x", "/tmp/x", "/proc/x", "/x",
		"/shares/there", "/shares/there/a", "/shares/" + strings.Repeat("x", 300), "/shares/a\x00b",
	} {
		if err := g.p.Mount(ctx, executor.Share{Dir: dir, Target: target}); err == nil {
			t.Errorf("mounted on %q", target)
		}
	}
	for _, target := range []string{"/shares", "/shares/absent", "/proc", "/mnt", "/usr", "/tmp", "/"} {
		if err := g.p.Unmount(ctx, target); err == nil {
			t.Errorf("unmounted %q", target)
		}
	}
	file, err := os.Open(filepath.Join(top, "d/a"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := g.p.Mount(ctx, executor.Share{Dir: file, Target: "/shares/file"}); err == nil {
		t.Error("mounted a file")
	}
	for _, path := range []string{filepath.Join(top, "d/a"), "relative", top + "/d/../d", filepath.Join(top, "absent"), ""} {
		if f, err := g.e.Open(ctx, path); err == nil {
			f.Close()
			t.Errorf("opened %q", path)
		}
	}
	if got := g.run("ls -A /shares"); got != "there" {
		t.Errorf("after all refusals /shares has %q", got)
	}
}

func TestMaxShares(t *testing.T) {
	g := newGuest(t, false)
	dir := g.open(tree(t, "a", "x"))
	ctx := context.Background()
	for n := range executor.MaxShares {
		if err := g.p.Mount(ctx, executor.Share{Dir: dir, Target: fmt.Sprintf("/shares/%d", n)}); err != nil {
			t.Fatalf("mount %d: %v", n+1, err)
		}
	}
	if err := g.p.Mount(ctx, executor.Share{Dir: dir, Target: "/shares/more"}); err == nil {
		t.Errorf("more than %d mounts", executor.MaxShares)
	}
	g.unmount("/shares/7")
	if err := g.p.Mount(ctx, executor.Share{Dir: dir, Target: "/shares/more"}); err != nil {
		t.Errorf("after one went: %v", err)
	}
}

// A writable share has its quota, and only while it is mounted.
func TestShareQuota(t *testing.T) {
	g := newGuest(t, true)
	all := t.TempDir()
	if err := os.Chmod(all, 0o777); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	share := executor.Share{Dir: g.open(all), Target: "/shares/a", Writable: true, SizeBytes: 1 << 20}
	if err := g.p.Mount(ctx, share); err != nil {
		t.Fatal(err)
	}
	g.unmount("/shares/a")
	if err := os.WriteFile(filepath.Join(all, "host"), make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	g.run("sleep 0.6") // more than two measurements
	if err := os.Remove(filepath.Join(all, "host")); err != nil {
		t.Fatal(err)
	}
	if err := g.p.Mount(ctx, share); err != nil {
		t.Fatal(err)
	}
	cmd := &executor.Command{Args: []string{"sh", "-c", "head -c 4M /dev/zero >/shares/a/x; sleep 30"}, Env: []string{"PATH=/usr/bin:/bin"}}
	g.p.Exec(ctx, cmd)
	<-g.p.Done()
	if x := g.p.Exit(); x.Cause != executor.CauseDisk {
		t.Errorf("it ended with %+v, want the quota", x)
	}
}

// A quota that is only watched has to be allowed when the environment is started,
// not first when something is mounted.
func TestShareQuotaIsAllowedByName(t *testing.T) {
	e := open(t)
	for size, refused := range map[int64]bool{1 << 20: true, 0: true, executor.Unlimited: false} {
		spec := host("true")
		spec.AllowDegraded = []string{"cgroup", "landlock"}
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountPoints, Target: "/shares", Writable: true, SizeBytes: size})
		p, err := e.Start(context.Background(), spec)
		if err == nil {
			<-p.Done()
		}
		if errors.Is(err, executor.ErrUnsupported) != refused || err != nil && !strings.Contains(err.Error(), `"disk-quota"`) {
			t.Errorf("with %d bytes: %v", size, err)
		}
	}
}

// BenchmarkMount measures a mount and its unmount in a running environment.
func BenchmarkMount(b *testing.B) {
	e := open(b)
	spec := host("sleep", "3600")
	spec.Limits.Wall = time.Hour
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountPoints, Target: "/shares"})
	ctx := context.Background()
	p, err := e.Start(ctx, spec)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Kill(executor.CausePolicy, "")
	dir, err := e.Open(ctx, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	for b.Loop() {
		if err := p.Mount(ctx, executor.Share{Dir: dir, Target: "/shares/a"}); err != nil {
			b.Fatal(err)
		}
		if err := p.Unmount(ctx, "/shares/a"); err != nil {
			b.Fatal(err)
		}
	}
}
