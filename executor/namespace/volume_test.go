package namespace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"

	"golang.org/x/sys/unix"
)

// store is a directory for volumes, and the option that says so.
func store(t testing.TB) (string, func(*namespace.Options)) {
	t.Helper()
	dir := t.TempDir()
	return dir, func(o *namespace.Options) { o.Volumes = dir }
}

// needImages skips a test of what only an image gives.
func needImages(t *testing.T, e *namespace.Executor) {
	t.Helper()
	for _, p := range e.Protections() {
		if p.Name == "disk-quota" && p.Status != executor.Pass {
			t.Skipf("needs image: %s", p.Detail)
		}
	}
}

// withVolume is a spec that runs a script with the volume name at /data.
func withVolume(name string, size int64, script string) *executor.Spec {
	spec := host("sh", "-c", script)
	spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountVolume, Source: name, Target: "/data", Writable: true, SizeBytes: size})
	return spec
}

// What is in a volume is there the next time, and belongs to the program.
func TestVolumeStays(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	if got := finish(t, e, withVolume("v", 1<<20, "ls -A /data; mkdir /data/d; echo hello > /data/d/f")); got.Code != 0 || got.stdout != "" {
		t.Fatalf("the first time: %+v", got)
	}
	again := open(t, at)
	for n, on := range []*namespace.Executor{e, again, e} {
		got := finish(t, on, withVolume("v", 1<<20, "stat -c '%u %g' /data /data/d/f; cat /data/d/f; echo hello > /data/d/f"))
		if got.Code != 0 || got.stdout != "1000 1000\n1000 1000\nhello\n" {
			t.Errorf("time %d: %+v", n+2, got)
		}
	}
}

// Two environments with one volume see what each other writes.
func TestVolumeShared(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	p, err := e.Start(context.Background(), withVolume("v", 1<<20, "while ! [ -e /data/there ]; do sleep 0.02; done; rm /data/there; touch /data/back; sleep 60"))
	if err != nil {
		t.Fatal(err)
	}
	if got := finish(t, e, withVolume("v", 1<<20, "touch /data/there; while ! [ -e /data/back ]; do sleep 0.02; done; rm /data/back")); got.Code != 0 {
		t.Errorf("%+v", got)
	}
	p.Kill(executor.CausePolicy, "enough")
	<-p.Done()
}

// Whoever reads a volume that somebody else writes to cannot be heard there, by a socket or a pipe that lies in it.
func TestVolumeHasNoSockets(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	for _, p := range e.Protections() {
		if p.Name == "landlock" && p.Status != executor.Pass {
			t.Skip("needs landlock: ", p.Detail)
		}
	}
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("needs python3: ", err)
	}
	const script = `/usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('/data/s')" 2>&1 | tail -1; mkfifo /data/p || ls -A /data; /usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('/tmp/s')" && ls /tmp`
	if got := finish(t, e, withVolume("v", 1<<20, script)); got.stdout != "PermissionError: [Errno 13] Permission denied\ns\n" {
		t.Errorf("%+v", got)
	}
}

// No more fits into a volume than its size, however fast it is written, and the
// program is told so by the kernel.
func TestVolumeIsFull(t *testing.T) {
	dir, at := store(t)
	e := open(t, at)
	needImages(t, e)
	for _, tt := range []struct {
		name  string
		size  int64
		limit string
	}{{"small", 1 << 20, "1MiB"}, {"large", 32 << 20, "32MiB"}} {
		t.Run(tt.name, func(t *testing.T) {
			script := "cat /dev/zero 2>&1 > /data/a; s=$?; stat -c %s /data/a; exit $s"
			got := finish(t, e, withVolume(tt.name, tt.size, script))
			if got.Cause != executor.CauseDisk || got.Key != "volumes.size" || got.Limit != tt.limit || got.Code != 1 || !strings.Contains(got.stdout, "No space left") {
				t.Fatalf("%+v, want cause disk", got)
			}
			var stored int64
			for _, c := range got.stdout[strings.LastIndexByte(strings.TrimSpace(got.stdout), '\n')+1:] {
				if c >= '0' && c <= '9' {
					stored = stored*10 + int64(c-'0')
				}
			}
			if stored < tt.size || stored > tt.size+tt.size/10+(1<<20) {
				t.Errorf("%d bytes went into a volume of %d", stored, tt.size)
			}
			image, err := os.Stat(filepath.Join(dir, tt.name))
			if err != nil || image.Sys().(*syscall.Stat_t).Blocks*512 > image.Size()+64<<10 {
				t.Errorf("the image: %v, %v", image, err)
			}
			// A program that makes room and goes on has not failed.
			if got := finish(t, e, withVolume(tt.name, tt.size, "rm /data/a && echo ok > /data/b")); got.Cause != executor.CauseExit || got.Code != 0 {
				t.Errorf("after making room: %+v", got)
			}
		})
	}
}

// Names cost too.
func TestVolumeInodes(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	spec := withVolume("v", 4<<20, "i=0; while touch /data/$i 2>/dev/null; do i=$((i+1)); done; echo $i; exit 1")
	spec.Mounts[len(spec.Mounts)-1].Inodes = 300
	got := finish(t, e, spec)
	if got.Cause != executor.CauseDisk || got.Key != "volumes.inodes" || got.Code == 137 != (got.stdout == "") {
		t.Errorf("%+v, want some hundred files and cause disk, or an end of it", got)
	}
}

// A file that has no name any more counts as long as anybody has it.
func TestVolumeDeletedFiles(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	needImages(t, e)
	spec := withVolume("v", 1<<20, `
		exec 3> /data/a; rm /data/a; head -c 900K /dev/zero >&3
		head -c 900K /dev/zero > /data/b`)
	if got := finish(t, e, spec); got.Code == 0 || !strings.Contains(got.stderr, "No space left") {
		t.Errorf("%+v, want no space left", got)
	}
}

// A directory of an earlier version becomes an image with what is in it. What does
// not fit stays as it was, and so does what is there when the size changes.
func TestVolumeAdopted(t *testing.T) {
	dir, at := store(t)
	e := open(t, at, func(o *namespace.Options) { o.Stderr, _ = os.Create(filepath.Join(t.TempDir(), "said")) })
	needImages(t, e)
	for _, name := range []string{"fits", "not"} {
		for _, err := range []error{
			os.MkdirAll(filepath.Join(dir, name, "d"), 0o700),
			os.WriteFile(filepath.Join(dir, name, "d/f"), bytes.Repeat([]byte("x"), 700<<10), 0o600),
			os.Symlink("/etc/passwd", filepath.Join(dir, name, "link")),
			os.Lchown(filepath.Join(dir, name, "d/f"), 4711, 4711),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	look := "wc -c < /data/d/f; readlink /data/link; stat -c %u /data /data/d/f; ls /data"
	if got := finish(t, e, withVolume("fits", 1<<20, look)); got.stdout != "716800\n/etc/passwd\n1000\n1000\nd\nlink\n" {
		t.Errorf("the image: %+v", got)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "fits~was/files/d/f")); err != nil || len(b) != 700<<10 {
		t.Errorf("what it was: %d bytes, %v", len(b), err)
	}
	_, err := e.Start(context.Background(), withVolume("not", 64<<10, "true"))
	if err == nil || !strings.Contains(err.Error(), "volumes.size") {
		t.Errorf("700 KiB into 64: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "not/d/f")); err != nil || len(b) != 700<<10 {
		t.Errorf("what does not fit: %d bytes, %v", len(b), err)
	}
	if got := finish(t, e, withVolume("fits", 8<<20, look+"; head -c 6M /dev/zero > /data/more && echo more")); !strings.HasSuffix(got.stdout, "link\nmore\n") {
		t.Errorf("larger: %+v", got)
	}
	if _, err := e.Start(context.Background(), withVolume("fits", 1<<20, "true")); err == nil || !strings.Contains(err.Error(), "volumes.size") {
		t.Errorf("smaller than what it holds: %v", err)
	}
	if got := finish(t, e, withVolume("fits", 8<<20, "rm /data/more; "+look)); !strings.HasPrefix(got.stdout, "716800\n") {
		t.Errorf("after that: %+v", got)
	}
	if got := finish(t, e, withVolume("fits", 2<<20, look)); !strings.HasPrefix(got.stdout, "716800\n") {
		t.Errorf("smaller: %+v", got)
	}
}

// Whoever makes an image of a directory may be killed after any step: the next one
// goes on from there. What was an image once does not come back with its removal.
func TestVolumeAdoptedHalfway(t *testing.T) {
	dir, at := store(t)
	e := open(t, at, func(o *namespace.Options) { o.Stderr, _ = os.Create(filepath.Join(t.TempDir(), "said")) })
	needImages(t, e)
	put := func(name string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	see := func(name, want string) {
		t.Helper()
		if got := finish(t, e, withVolume(name, 1<<20, "ls /data")); got.Code != 0 || got.stdout != want {
			t.Errorf("volume %s: %+v, want %q in it", name, got, want)
		}
	}
	put("made/old")
	if err := os.Mkdir(filepath.Join(dir, "made~moving"), 0o700); err != nil {
		t.Fatal(err)
	}
	put("moved~moving/files/old")
	put("begun~moving/files/old")
	put("begun~new")
	for _, name := range []string{"made", "moved", "begun"} {
		see(name, "old\n")
		see(name, "old\n")
		if _, err := os.Stat(filepath.Join(dir, name+"~was/files/old")); err != nil {
			t.Errorf("what it was: %v", err)
		}
	}
	// The last step is made up for, too.
	if err := os.Rename(filepath.Join(dir, "made~was"), filepath.Join(dir, "made~moving")); err != nil {
		t.Fatal(err)
	}
	see("made", "old\n")
	if err := os.Remove(filepath.Join(dir, "made")); err != nil {
		t.Fatal(err)
	}
	see("made", "")
	if err := os.Remove(filepath.Join(dir, "made")); err != nil {
		t.Fatal(err)
	}
	put("made/new")
	if _, err := e.Start(context.Background(), withVolume("made", 1<<20, "true")); err == nil || !strings.Contains(err.Error(), "made~was") {
		t.Errorf("with another one in the way: %v", err)
	}
}

// Images can be promised more than the disk has. When it is full a program is told,
// nothing hangs, and with room again the volume is what it was.
func TestVolumesOfAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("disk", dir, "tmpfs", 0, "size=28m,mode=755"); err != nil {
		t.Skip("needs root: to mount a tmpfs: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	e := open(t, func(o *namespace.Options) { o.Volumes = dir })
	needImages(t, e)
	if got := finish(t, e, withVolume("b", 16<<20, "echo kept > /data/kept; sync -f /data")); got.Code != 0 {
		t.Fatalf("%+v", got)
	}
	fill := "cat /dev/zero > /data/zero; sync -f /data && echo stored"
	if got := finish(t, e, withVolume("a", 16<<20, fill)); got.stdout != "stored\n" {
		t.Errorf("with room on the disk: %+v", got)
	}
	if got := finish(t, e, withVolume("b", 16<<20, fill)); got.Code == 0 || got.stdout != "" || got.stderr == "" {
		t.Errorf("more than the disk has: %+v", got)
	}
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "b"} {
		got := finish(t, e, withVolume(name, 16<<20, "rm -f /data/zero; cat /data/kept; echo new > /data/new && sync -f /data && cat /data/new"))
		if got.Code != 0 || got.stdout != "kept\nnew\n" {
			t.Errorf("with room again: %+v", got)
		}
	}
	if got := finish(t, e, withVolume("c", 1<<20, "echo x > /data/x && sync -f /data")); got.Code != 0 {
		t.Errorf("a new one, with room: %+v", got)
	}
}

// Nothing of a volume remains when the spawner is killed, and the next one has it.
func TestVolumeOutlivesTheSpawner(t *testing.T) {
	dir, at := store(t)
	e := open(t, at)
	needImages(t, e)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	spec := withVolume("v", 1<<20, "echo hello > /data/f; echo written; sleep 600")
	spec.Command.Stdout = w
	p, err := e.Start(context.Background(), spec)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if backed := loops(t, dir); len(backed) != 1 {
		t.Errorf("loop devices in use: %q", backed)
	}
	killSpawner(t, p)
	<-p.Done()
	next := open(t, at)
	if got := finish(t, next, withVolume("v", 1<<20, "cat /data/f")); got.stdout != "hello\n" {
		t.Errorf("afterwards: %+v", got)
	}
	next.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		backed := loops(t, dir)
		if len(backed) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("loop devices left: %q", backed)
		}
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("mounts left:\n%s", mounts)
	}
}

// killSpawner kills the spawner that made p.
func killSpawner(t *testing.T, p executor.Process) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var spawner int
	if _, err := fmt.Sscan(strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1], &spawner); err != nil || spawner < 2 {
		t.Fatalf("the spawner is process %d: %v", spawner, err)
	}
	if err := syscall.Kill(spawner, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// loops lists the files of loop devices below dir.
func loops(t *testing.T, dir string) (files []string) {
	t.Helper()
	names, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(b), filepath.Base(filepath.Dir(dir))) {
			files = append(files, string(b))
		}
	}
	return files
}

// Two spawners never have one image at the same time.
func TestVolumeHasOneUser(t *testing.T) {
	_, at := store(t)
	e, other := open(t, at), open(t, at)
	needImages(t, e)
	p, err := e.Start(context.Background(), withVolume("v", 1<<20, "sleep 600"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Start(context.Background(), withVolume("v", 1<<20, "true")); err == nil || !strings.Contains(err.Error(), "another application has it") {
		t.Errorf("mounted twice: %v", err)
	}
	p.Kill(executor.CausePolicy, "enough")
	<-p.Done()
	if got := finish(t, other, withVolume("v", 1<<20, "true")); got.Code != 0 {
		t.Errorf("afterwards: %+v", got)
	}
}

// A quota that is only watched has to be allowed by name.
func TestWatchedQuotaMustBeAllowed(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	images := true
	for _, p := range e.Protections() {
		images = images && (p.Name != "disk-quota" || p.Status == executor.Pass)
	}
	bind := executor.Mount{Kind: executor.MountBind, Source: t.TempDir(), Target: "/data", Writable: true, SizeBytes: 1 << 20}
	volume := executor.Mount{Kind: executor.MountVolume, Source: "v", Target: "/data", Writable: true, SizeBytes: 1 << 20}
	for _, tt := range []struct {
		name    string
		mount   executor.Mount
		refused bool
	}{{"a directory", bind, true}, {"a volume", volume, !images}} {
		t.Run(tt.name, func(t *testing.T) {
			spec := host("true")
			spec.Mounts, spec.AllowDegraded = append(spec.Mounts, tt.mount), degraded[:2]
			p, err := e.Start(context.Background(), spec)
			if refused := errors.Is(err, executor.ErrUnsupported) && strings.Contains(err.Error(), `"disk-quota"`); refused != tt.refused {
				t.Errorf("Start: %v, want it refused: %v", err, tt.refused)
			}
			if err == nil {
				<-p.Done()
			}
			unlimited := tt.mount
			unlimited.SizeBytes = executor.Unlimited
			unlimited.Source += "2"
			if tt.mount.Kind == executor.MountBind {
				unlimited.Source = tt.mount.Source
			}
			spec = host("true")
			spec.Mounts, spec.AllowDegraded = append(spec.Mounts, unlimited), degraded[:2]
			if got := finish(t, e, spec); got.Code != 0 {
				t.Errorf("without a quota: %+v", got)
			}
			spec = host("sleep", "60")
			spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountPoints, Target: "/shares", Writable: true})
			spec.AllowDegraded = degraded[:2]
			if _, err = e.Start(context.Background(), spec); !errors.Is(err, executor.ErrUnsupported) {
				t.Errorf("Start with shares to come that may be written: %v, want it refused", err)
			}
			spec.Mounts[len(spec.Mounts)-1].SizeBytes = executor.Unlimited
			p, err = e.Start(context.Background(), spec)
			if err != nil {
				t.Fatal(err)
			}
			if tt.mount.Kind == executor.MountBind {
				dir, err := os.Open(tt.mount.Source)
				if err != nil {
					t.Fatal(err)
				}
				defer dir.Close()
				share := executor.Share{Dir: dir, Target: "/shares/x", Writable: true}
				if err := p.Mount(context.Background(), share); !errors.Is(err, executor.ErrUnsupported) {
					t.Errorf("Mount: %v, want it refused", err)
				}
			}
			p.Kill(executor.CausePolicy, "enough")
			<-p.Done()
		})
	}
}

func TestVolumeNames(t *testing.T) {
	_, at := store(t)
	e := open(t, at)
	for _, name := range []string{"", ".", "..", "a/b", "/etc", "a~was", strings.Repeat("x", 300)} {
		if _, err := e.Start(context.Background(), withVolume(name, 1<<20, "true")); err == nil || !strings.Contains(err.Error(), "not the name of a volume") {
			t.Errorf("volume %q: %v", name, err)
		}
	}
}

// A directory that others may write to would let them write file systems that the
// kernel then parses.
func TestVolumesBelongToRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: an ordinary user has no images")
	}
	dir := t.TempDir()
	for _, change := range []func() error{
		func() error { return os.Chmod(dir, 0o777) },
		func() error { return errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, 1000, 1000)) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		_, err := namespace.New(namespace.Options{App: "test", Executable: []string{"/proc/self/exe", "spawner"}, Volumes: dir})
		if err == nil || !strings.Contains(err.Error(), "must be root's") {
			t.Errorf("New: %v", err)
		}
	}
}
