package namespace_test

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// tree makes a directory of the host with a file.
func tree(t *testing.T, name, content string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMounts(t *testing.T) {
	e := open(t)
	dir, vol := tree(t, "a", "read\n"), tree(t, "b", "old\n")
	spec := host("sh", "-c", `cat /srv/x/a /run/f /tmp/deep/g; cat /data/b; echo new >/data/b; echo s >/scratch/s; cat /scratch/s /lnk;
		for f in /srv/x/a /srv/x/new /run/f /run/new /tmp/deep/g; do (echo x >$f) 2>&1; done; stat -c %a /run/f`)
	spec.Mounts = append(spec.Mounts,
		executor.Mount{Kind: executor.MountBind, Source: dir, Target: "/srv/x"},
		executor.Mount{Kind: executor.MountBind, Source: vol, Target: "/data", Writable: true},
		executor.Mount{Kind: executor.MountFile, Target: "/run/f", Data: []byte("file\n"), Mode: 0o400},
		executor.Mount{Kind: executor.MountFile, Target: "/tmp/deep/g", Data: []byte("deep\n")},
		executor.Mount{Kind: executor.MountTmpfs, Target: "/scratch", Writable: true},
		executor.Mount{Kind: executor.MountSymlink, Source: "/srv/x/a", Target: "/lnk"},
	)
	got := finish(t, e, spec)
	if want := "read\nfile\ndeep\nold\ns\nread\n"; !strings.HasPrefix(got.stdout, want) || !strings.HasSuffix(got.stdout, "400\n") {
		t.Errorf("%+v, want first %q", got, want)
	}
	if n := strings.Count(got.stdout, "cannot create"); n != 5 {
		t.Errorf("%d of 5 writes refused:\n%s", n, got.stdout)
	}
	if b, _ := os.ReadFile(filepath.Join(vol, "b")); string(b) != "new\n" {
		t.Errorf("volume holds %q, want new", b)
	}
}

func TestVolumeGoesToTheNext(t *testing.T) {
	e := open(t)
	vol := t.TempDir()
	for n := range 3 {
		spec := host("sh", "-c", "mkdir -p /v/d && echo line >>/v/d/f && wc -l </v/d/f && ln -sf /etc/passwd /v/d/l")
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: vol, Target: "/v", Writable: true})
		if got := finish(t, e, spec); strings.TrimSpace(got.stdout) != strconv.Itoa(n+1) {
			t.Errorf("start %d: %+v", n, got)
		}
	}
}

func TestMountRefusals(t *testing.T) {
	dir := tree(t, "a", "")
	if err := os.Symlink("/etc", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	e := open(t, func(o *namespace.Options) { o.Roots = []string{dir} })
	for _, tt := range []struct{ name, source, target, want string }{
		{"proc", dir, "/proc/x", "/proc"},
		{"dev", dir, "/dev/x", "/dev"},
		{"root", dir, "/", "below the root"},
		{"unclean", dir, "/a/../b", "clean"},
		{"outside", "/etc", "/x", "none of the directories"},
		{"relative", "etc", "/x", "absolute"},
		{"dots", dir + "/../../etc", "/x", "clean"},
		{"link", dir + "/link", "/x", "symbolic link"},
		{"through a link", dir + "/link/ssl", "/x", "symbolic link"},
		{"absent", dir + "/none", "/x", "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := host("true")
			spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: tt.source, Target: tt.target})
			_, err := e.Start(context.Background(), spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	e := open(t)
	spec := host("getent", "hosts", "bank")
	spec.Hosts = []executor.Host{{Name: "bank", Addr: netip.MustParseAddr("127.0.0.9")}}
	if got := finish(t, e, spec); !strings.Contains(got.stdout, "127.0.0.9") {
		t.Errorf("%+v, want 127.0.0.9", got)
	}
}

func TestNoMountsRunsNothing(t *testing.T) {
	e := open(t)
	spec := host("/bin/true")
	spec.Mounts = nil
	if _, err := e.Start(context.Background(), spec); err == nil {
		t.Error("a program ran in an empty root")
	}
}

func TestExec(t *testing.T) {
	e := open(t)
	p, err := e.Start(context.Background(), host("sleep", "3600"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill(executor.CausePolicy, "")
	var out bytes.Buffer
	x, err := p.Exec(context.Background(), &executor.Command{
		Args: []string{"/bin/sh", "-c", "cat; id -u; grep -E 'CapBnd|Seccomp:|NoNewPrivs' /proc/self/status; ls /proc | grep -cE '^[0-9]+$'; exit 7"},
		Env:  []string{"PATH=/usr/bin"}, Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &out,
	})
	if err != nil || x.Cause != executor.CauseExit || x.Code != 7 {
		t.Fatalf("Exec: %+v, %v, %s", x, err, out.String())
	}
	for _, want := range []string{"in\n1000\n", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
	if _, err := p.Exec(context.Background(), &executor.Command{Args: []string{"/none"}}); err == nil {
		t.Error("Exec of a missing program succeeded")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if x, err := p.Exec(ctx, &executor.Command{Args: []string{"/bin/sleep", "3600"}}); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("given up: %+v, %v after %v", x, err, time.Since(began))
	}
	spec := &executor.Command{Args: []string{"/bin/sh", "-c", "sleep 3601 & wait"}}
	ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	p.Exec(ctx, spec)
	out.Reset()
	p.Exec(context.Background(), &executor.Command{Args: []string{"/bin/sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"}, Env: []string{"PATH=/usr/bin"}, Stdout: &out})
	if strings.Contains(out.String(), "sleep 3601") {
		t.Errorf("what a program that was given up had started is left: %s", out.String())
	}
	flood, err := p.Exec(context.Background(), &executor.Command{Args: []string{"/usr/bin/yes"}, Stdout: new(bytes.Buffer)})
	if err != nil || flood.Cause != executor.CauseOutput {
		t.Errorf("Exec of a flood: %+v, %v, want cause output", flood, err)
	}
	p.Kill(executor.CausePolicy, "")
	<-p.Done()
	if _, err := p.Exec(context.Background(), &executor.Command{Args: []string{"/bin/true"}}); err != executor.ErrStopped {
		t.Errorf("Exec after the end: %v, want ErrStopped", err)
	}
}

// Two environments may write to one place at the same time, and what they leave
// belongs to whom it belonged before.
func TestVolumeOfTwo(t *testing.T) {
	e := open(t)
	vol := tree(t, "f", "")
	start := func(script string) executor.Process {
		spec := host("sh", "-c", script)
		spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: vol, Target: "/v", Writable: true})
		p, err := e.Start(context.Background(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a := start("until test -e /v/go; do sleep 0.02; done; echo a >>/v/f && mkdir /v/d && echo a >/v/d/f")
	b := start("echo b >>/v/f && touch /v/go")
	for _, p := range []executor.Process{a, b} {
		<-p.Done()
		if p.Exit().Code != 0 {
			t.Errorf("%+v", p.Exit())
		}
	}
	for _, name := range []string{"", "f", "d", "d/f", "go"} {
		fi, err := os.Stat(filepath.Join(vol, name))
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != os.Geteuid() {
			t.Errorf("%q belongs to %d afterwards", name, st.Uid)
		}
	}
}
