package executortest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// pathCases are about paths that are not what they seem.
var pathCases = []Case{
	{
		Name: "path/planted-links", Row: "CVE-2024-28185, CVE-2024-28189; CVE-2024-42472; CVE-2026-39861; CVE-2024-1329",
		Invisible: "who owns files in a volume is changed without following a link; that it was one is nobody's concern",
		Outside: func(t *Trial) {
			victim := t.Dir(map[string]string{"secret": "of the host", "d/f": "x"})
			before := inventory(t, victim)
			vol := t.Dir(nil)
			for _, part := range []string{"plant", "again", "again"} {
				spec := t.Spec(part, victim)
				Share(spec, vol, "/v", true)
				t.Run(spec)
			}
			t.Check("what the links lead to on the host", inventory(t, victim), before)
		},
		Inside: func(in *Inside) {
			victim := in.Args[1]
			if in.Part() == "plant" {
				in.Must(os.Symlink(victim, "/v/dir"))
				in.Must(os.Symlink(victim+"/secret", "/v/file"))
				in.Must(os.Symlink("../../../../../../.."+victim, "/v/up"))
				in.Must(os.Symlink("/proc/self/root"+victim, "/v/magic"))
				in.Must(os.Symlink("/proc/1/root"+victim, "/v/init"))
				in.Must(os.Symlink("loop", "/v/loop"))
				in.Must(os.MkdirAll("/v/a/b", 0o700))
				in.Must(os.Symlink(victim, "/v/a/b/c"))
			}
			for _, name := range []string{"dir/secret", "file", "up/secret", "magic/secret", "init/secret", "a/b/c/secret", "loop"} {
				_, err := os.ReadFile("/v/" + name)
				in.Attempt("read through /v/"+name, err, unix.ENOENT, unix.EACCES, unix.ELOOP)
			}
			in.Attempt("write through a link", os.WriteFile("/v/file", []byte("x"), 0o600), unix.ENOENT, unix.EACCES, unix.EROFS)
		},
	},
	{
		Name: "path/renaming-race", Row: "CVE-2024-28185, CVE-2024-28189; CVE-2024-45310",
		Invisible: "the walk sees a link, a directory or nothing, and follows no link",
		// One environment exchanges directories and links for as long as others come
		// and go, each of which has the files handed over and measured.
		Outside: func(t *Trial) {
			victim := t.Dir(map[string]string{"secret": "of the host", "d/f": "x"})
			before := inventory(t, victim)
			vol := t.Dir(nil)
			share := func(part string, round int) *executor.Spec {
				spec := t.Spec(part, victim, fmt.Sprintf("/v/stop%d", round))
				Share(spec, vol, "/v", true)
				return spec
			}
			// As they come at random: whoever is the last to go hands the files back.
			for round := range 12 {
				racer := t.Start(share("race", round))
				other := t.Start(share("stop", round))
				other.Wait()
				t.Check("the end of the racer", racer.Wait().Code, 0)
			}
			t.Check("what the links lead to on the host", inventory(t, victim), before)
		},
		Inside: func(in *Inside) {
			if in.Part() == "stop" {
				for range 40 {
					in.Must(os.WriteFile("/v/more", []byte("x"), 0o600))
					os.Remove("/v/more")
				}
				in.Must(os.WriteFile(in.Args[2], nil, 0o600))
				return
			}
			os.RemoveAll("/v/x")
			os.RemoveAll("/v/l")
			in.Must(os.MkdirAll("/v/x/y/z", 0o755))
			in.Must(os.WriteFile("/v/x/y/f", nil, 0o600))
			in.Must(os.Symlink(in.Args[1], "/v/l"))
			in.Must(os.Symlink(in.Args[1], "/v/x/y/l"))
			n := 0
			for end := time.Now().Add(patience / 5); time.Now().Before(end); n++ {
				unix.Renameat2(unix.AT_FDCWD, "/v/x", unix.AT_FDCWD, "/v/l", unix.RENAME_EXCHANGE)
				unix.Renameat2(unix.AT_FDCWD, "/v/x/y/z", unix.AT_FDCWD, "/v/x/y/l", unix.RENAME_EXCHANGE)
				if n > 500 && exists(in.Args[2]) {
					break
				}
			}
			in.Check("raced", n > 500, true)
		},
	},
	{
		Name: "path/planted-mount-point", Row: "CVE-2021-30465; CVE-2019-19921, CVE-2023-27561, CVE-2023-28642; CVE-2019-16884",
		Invisible: byClient,
		// What an earlier run left in a volume is where a later one has a mount point.
		Outside: func(t *Trial) {
			vol, shown := t.Dir(nil), t.Dir(map[string]string{"f": "of the operator"})
			plant := t.Spec("plant")
			Share(plant, vol, "/v", true)
			t.Run(plant)
			for _, target := range []string{"/v/link", "/v/via/sub", "/v/abs", "/v/proc/self", "/v/dev/null", "/v/file"} {
				for what, m := range map[string]executor.Mount{
					"a directory": {Kind: executor.MountBind, Source: shown, Target: target},
					"a volume":    {Kind: executor.MountBind, Source: shown, Target: target, Writable: true},
					"a tmpfs":     {Kind: executor.MountTmpfs, Target: target, Writable: true},
					"a file":      {Kind: executor.MountFile, Target: target, Data: []byte("x")},
					"a link":      {Kind: executor.MountSymlink, Target: target + "/l", Source: "/etc"},
				} {
					spec := t.Spec("check")
					Share(spec, vol, "/v", true)
					spec.Mounts = append(spec.Mounts, m)
					t.mustRefuse(what+" on "+target+", where a program left a link", spec)
				}
			}
			// A place that is what it seems works, for all of them.
			good := t.Spec("check")
			Share(good, vol, "/v", true)
			Share(good, shown, "/v/good/a", false)
			good.Mounts = append(good.Mounts,
				executor.Mount{Kind: executor.MountTmpfs, Target: "/v/good/b", Writable: true},
				executor.Mount{Kind: executor.MountFile, Target: "/v/good/c", Data: []byte("x")})
			t.Run(good)
			again, err := filepath.Glob(shown + "/*")
			t.Check("what is in the directory that was shown", fmt.Sprint(again, err), fmt.Sprint([]string{shown + "/f"}, nil))
		},
		Inside: func(in *Inside) {
			if in.Part() == "check" {
				b, err := os.ReadFile("/v/good/a/f")
				in.Check("read what is mounted", string(b)+ended(err), "of the operatorok")
				in.Attempt("write to the tmpfs", os.WriteFile("/v/good/b/x", nil, 0o600), 0)
				b, err = os.ReadFile("/v/good/c")
				in.Check("read the file", string(b)+ended(err), "xok")
				in.Attempt("remove a mount point", os.Remove("/v/good/c"), unix.EBUSY)
				in.Attempt("replace a mount point", os.Rename("/v/link", "/v/good/c"), unix.EBUSY)
				return
			}
			in.Must(os.MkdirAll("/v/good/a", 0o755))
			in.Must(os.MkdirAll("/v/good/b", 0o755))
			in.Must(os.WriteFile("/v/good/c", nil, 0o644))
			for link, to := range map[string]string{"link": "../tmp", "via": "..", "abs": "/", "proc": "../proc", "dev": "../dev", "file": "../etc/passwd"} {
				in.Must(os.Symlink(to, "/v/"+link))
			}
			in.Must(os.Mkdir("/tmp/sub", 0o755))
			in.Check("links are planted", true, true)
		},
	},
	{
		Name: "path/targets", Row: "CVE-2019-19921, CVE-2023-27561, CVE-2023-28642; CVE-2025-31133, CVE-2025-52565",
		Invisible: byClient,
		Outside: func(t *Trial) {
			dir := t.Dir(map[string]string{"f": "x"})
			s := t.Start(t.Spec("wait"))
			for _, target := range []string{
				"/", "//", "", ".", "..", "x", "/proc", "/proc/self", "/proc/sys/kernel", "/sys", "/sys/fs/cgroup", "/dev", "/dev/null", "/dev/console", "/dev/shm/x", "/a/../proc", "/a/./b", "/a//b", "/a/", "/../x", "/proc/../etc",
			} {
				for what, m := range map[string]executor.Mount{
					"a directory": {Kind: executor.MountBind, Source: dir, Target: target},
					"a file":      {Kind: executor.MountFile, Target: target, Data: []byte("x")},
					"a tmpfs":     {Kind: executor.MountTmpfs, Target: target, Writable: true},
					"a link":      {Kind: executor.MountSymlink, Target: target, Source: "/tmp"},
				} {
					spec := t.Spec("wait")
					spec.Mounts = append(spec.Mounts, m)
					t.mustRefuse(fmt.Sprintf("%s on %q", what, target), spec)
				}
				t.Check(fmt.Sprintf("take away %q while it runs", target), s.Unmount(context.Background(), target) != nil, true)
			}
		},
		Inside: func(*Inside) { time.Sleep(time.Hour) },
	},
	{
		Name: "path/sources", Row: "CVE-2022-23648, CVE-2024-1753, CVE-2025-9566; CVE-2026-1386; CVE-2025-59532",
		Invisible: byClient,
		Outside: func(t *Trial) {
			dir := t.Dir(map[string]string{"real/f": "x"})
			for link, to := range map[string]string{"link": "/etc", "via": "real", "file": "real/f", "proc": "/proc/self/root"} {
				if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			for _, source := range []string{
				dir + "/link", dir + "/via", dir + "/via/f", dir + "/file", dir + "/link/ssl", dir + "/real/../link", dir + "/real/", dir + "//real", dir + "/none", "relative", "", dir + "/proc/etc", "/proc/self/root/etc", "/proc/self/cwd", "/proc/self/fd/0", "/dev/null",
			} {
				for _, writable := range []bool{false, true} {
					spec := t.Spec()
					Share(spec, source, "/d", writable)
					t.mustRefuse(fmt.Sprintf("source %q, writable %t", source, writable), spec)
				}
			}
		},
	},
	{
		Name: "path/replaced-source", Row: "bind of a changing target",
		Invisible: byState,
		Outside: func(t *Trial) {
			dir := t.Dir(map[string]string{"f": "old", "other": "other"})
			file := filepath.Join(dir, "f")
			run := func(want string) {
				spec := t.Spec(want)
				Share(spec, file, "/f", false)
				t.Run(spec)
			}
			run("old")
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(os.WriteFile(file+".new", []byte("new"), 0o644))
			must(os.Rename(file+".new", file))
			run("new") // renamed over
			must(os.Remove(file))
			must(os.Link(filepath.Join(dir, "other"), file))
			run("other") // another file by a hard link
			must(os.Remove(file))
			must(os.Symlink("other", file))
			spec := t.Spec("other")
			Share(spec, file, "/f", false)
			t.mustRefuse("a source that has become a link", spec)
		},
		Inside: func(in *Inside) {
			b, err := os.ReadFile("/f")
			in.Check("read what is shown now", string(b)+" "+ended(err), in.Part()+" ok")
		},
	},
	{
		Name: "path/read-only", Row: "CVE-2022-0847; AF_ALG with splice, CVE-2026-31431; CVE-2024-34346",
		Invisible: byKernel,
		Outside: func(t *Trial) {
			content := bytes.Repeat([]byte("as it was "), 1000)
			dir := t.Dir(map[string]string{"f": string(content), "d/g": "x"})
			if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(dir+"/f", 0o666)); err != nil {
				t.Fatal(err)
			}
			spec := t.Spec()
			Share(spec, dir, "/ro", false)
			spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountFile, Target: "/run/secret", Data: content, Mode: 0o666})
			before := sha256.Sum256(content)
			t.Run(spec)
			b, err := os.ReadFile(dir + "/f")
			if err != nil {
				t.Fatal(err)
			}
			t.Check("the file afterwards", sha256.Sum256(b), before)
			names, _ := filepath.Glob(dir + "/*")
			t.Check("names in the directory", len(names), 2)
		},
		Inside: readOnly,
	},
	{
		Name: "path/hard-links", Row: "CVE-2024-28185, CVE-2024-28189; bind of a changing target",
		Invisible: byKernel,
		Outside: func(t *Trial) {
			spec := t.Spec()
			Share(spec, t.Dir(map[string]string{"f": "x"}), "/ro", false)
			Share(spec, t.Dir(map[string]string{"f": "x"}), "/rw", true)
			t.Run(spec)
		},
		Inside: func(in *Inside) {
			for _, from := range []string{"/ro/f", "/etc/passwd", "/usr/bin/env", probePath, "/proc/self/environ", "/tmp/x"} {
				if from == "/tmp/x" {
					in.Must(os.WriteFile(from, nil, 0o600))
				}
				in.Attempt("link "+from+" into a volume", os.Link(from, "/rw/l"), unix.EXDEV, unix.EPERM, unix.EACCES)
				fd, err := unix.Open(from, unix.O_PATH, 0)
				in.Must(err)
				in.Attempt("link "+from+" by descriptor", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, "/rw/l", unix.AT_SYMLINK_FOLLOW), unix.EXDEV, unix.EPERM, unix.EACCES)
				in.Attempt("rename "+from+" into a volume", os.Rename(from, "/rw/l"), unix.EXDEV, unix.EROFS, unix.EACCES, unix.EBUSY)
			}
			in.Attempt("link out of a volume", os.Link("/rw/f", "/tmp/l"), unix.EXDEV)
		},
	},
	{
		Name: "path/hostile-entries", Row: "open-ended reads of what a program left",
		Ends: executor.CauseDisk,
		// What is in the volume must stop neither the hand-over nor the measuring.
		Outside: func(t *Trial) {
			vol := t.Dir(nil)
			// By who ran before, without Landlock.
			if err := errors.Join(unix.Mknod(vol+"/socket", unix.S_IFSOCK|0o666, 0), unix.Mkfifo(vol+"/fifo", 0o644)); err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{"plant", "fill"} {
				spec := t.Spec(part)
				spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountBind, Source: vol, Target: "/v", Writable: true, SizeBytes: 4 << 20})
				r := t.Start(spec).Wait()
				if part == "plant" {
					t.Check("the end of who planted", r.Cause == executor.CauseExit && r.Code == 0, true)
				} else {
					t.Check("the end of who filled", r.Cause, t.c.Ends)
				}
			}
			d, err := os.Lstat(vol + "/fifo")
			t.Check("the fifo belongs to its owner of before", err == nil && int(d.Sys().(*syscall.Stat_t).Uid) == os.Geteuid(), true)
		},
		Inside: func(in *Inside) {
			if in.Part() == "fill" {
				for n := 0; ; n++ {
					os.WriteFile(fmt.Sprintf("/v/more%d", n), make([]byte, 256<<10), 0o600)
					time.Sleep(2 * time.Millisecond)
				}
			}
			in.Must(os.MkdirAll("/v/"+strings.Repeat("d/", 50), 0o755))
			in.Must(os.Mkdir("/v/closed", 0))
			in.Must(os.WriteFile("/v/unreadable", nil, 0))
			for _, name := range []string{"new\nline", "\x1b[2Jescape", "\xff\xfe", "-rf", "a b", strings.Repeat("n", 255)} {
				in.Must(os.WriteFile("/v/"+name, nil, 0o600))
			}
			in.Must(os.Symlink("fifo", "/v/to-fifo"))
			for what, nr := range map[string]uint32{"device": unix.S_IFCHR, "block device": unix.S_IFBLK} {
				in.Attempt("make a "+what, unix.Mknod("/v/"+what, nr|0o666, int(unix.Mkdev(1, 3))), unix.EPERM)
			}
		},
	},
	{
		Name: "path/set-id", Row: "cms#211; CVE-2021-26910",
		Invisible: byFilter,
		Outside: func(t *Trial) {
			dir := t.Dir(nil)
			if b, err := os.ReadFile("/proc/self/exe"); err != nil {
				t.Fatal(err)
			} else if err := os.WriteFile(dir+"/suid", b, 0o755); err != nil {
				t.Fatal(err)
			}
			// A program of somebody else's that has the bits already makes nobody that.
			if err := os.Chmod(dir+"/suid", 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
			spec := t.Spec()
			Share(spec, dir, "/ro", false)
			Share(spec, t.Dir(nil), "/rw", true)
			t.Run(spec)
		},
		Inside: func(in *Inside) {
			if in.Part() == "who" {
				in.Check("who a set-user-id program is", fmt.Sprint(os.Getuid(), os.Geteuid(), os.Getegid()), "1000 1000 1000")
				return
			}
			in.Must(os.WriteFile("/rw/f", nil, 0o755))
			f, err := os.Create("/rw/g")
			in.Must(err)
			for _, mode := range []uint32{unix.S_ISUID, unix.S_ISGID, unix.S_ISUID | unix.S_ISGID} {
				mode |= 0o755
				in.Attempt(fmt.Sprintf("chmod %o", mode), unix.Chmod("/rw/f", mode), unix.EPERM)
				in.Attempt(fmt.Sprintf("fchmod %o", mode), unix.Fchmod(int(f.Fd()), mode), unix.EPERM)
				in.Attempt(fmt.Sprintf("fchmodat2 %o", mode), raw0(unix.SYS_FCHMODAT2, unix.AT_FDCWD, "/rw/f", mode, 0), unix.EPERM)
				in.Attempt(fmt.Sprintf("mkdir %o and chmod", mode), errors.Join(os.MkdirAll("/rw/d", 0o755), unix.Chmod("/rw/d", mode)), unix.EPERM)
				in.Attempt(fmt.Sprintf("mknod %o", mode), unix.Mknod("/rw/n", mode|unix.S_IFREG, 0), unix.EPERM)
				_, err := unix.Open("/rw/o", unix.O_CREAT|unix.O_WRONLY, mode)
				in.Attempt(fmt.Sprintf("open %o", mode), err, unix.EPERM)
				_, err = unix.Open("/rw", unix.O_TMPFILE|unix.O_WRONLY, mode)
				in.Attempt(fmt.Sprintf("open without a name %o", mode), err, unix.EPERM)
				in.Attempt(fmt.Sprintf("creat %o", mode), creat("/rw/c", mode), unix.EPERM)
			}
			// VFS_CAP_REVISION_2 with everything.
			in.Attempt("give a file capabilities", unix.Setxattr("/rw/f", "security.capability", append([]byte{1, 0, 0, 2}, bytes.Repeat([]byte{0xff}, 16)...), 0), unix.EPERM, unix.EOPNOTSUPP)
			in.Attempt("give a file away", os.Chown("/rw/f", 0, 0), unix.EPERM, unix.EINVAL)
			cmd := in.Again("who")
			cmd.Path = "/ro/suid"
			out, err := cmd.Output()
			in.Must(err)
			os.Stdout.Write(out)
		},
	},
	{
		Name: "path/root", Row: "CVE-2026-25725; firejail#7154",
		Invisible: byKernel,
		// Nothing can be made that somebody would read later, and nothing is littered.
		Outside: func(t *Trial) {
			dir := t.Dir(map[string]string{"f": "x"})
			spec := t.Spec()
			Share(spec, dir, "/ro", false)
			spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountFile, Target: "/ro/missing", Data: []byte("x")})
			t.mustRefuse("a file in a directory of the host where there is none", spec)
			spec = t.Spec()
			Share(spec, dir, "/ro", true)
			spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountFile, Target: "/ro/missing", Data: []byte("x")})
			t.mustRefuse("a file in a volume where there is none", spec)
			names, err := filepath.Glob(dir + "/*")
			t.Check("what is left in the directory of the host", fmt.Sprint(names, err), fmt.Sprint([]string{dir + "/f"}, nil))
			t.Run(t.Spec())
		},
		Inside: func(in *Inside) {
			for _, name := range []string{
				"/x", "/etc/ld.so.preload", "/etc/profile", "/etc/environment", "/etc/cron.d/x", "/usr/x", "/usr/lib/x", "/usr/local/bin/x", "/root/.bashrc", "/home/x/.ssh/authorized_keys", "/var/x", "/run/x", "/lib/x", "/.git/hooks/x", "/dev/x",
			} {
				in.Attempt("make "+name, os.WriteFile(name, nil, 0o600), unix.EROFS, unix.EACCES, unix.ENOENT)
			}
			for _, name := range []string{"/etc/passwd", "/etc/hosts", "/usr/bin/env", "/bin", "/usr", "/tmp", "/proc", "/dev", "/etc"} {
				in.Attempt("remove "+name, os.Remove(name), unix.EROFS, unix.EACCES, unix.EBUSY, unix.ENOTEMPTY)
				in.Attempt("rename "+name, os.Rename(name, "/tmp/renamed"), unix.EROFS, unix.EACCES, unix.EBUSY, unix.EXDEV, unix.EINVAL)
				in.Attempt("chmod "+name, os.Chmod(name, 0o777), unix.EROFS, unix.EPERM, 0)
			}
			names, err := os.ReadDir("/")
			in.Must(err)
			var all []string
			for _, n := range names {
				all = append(all, n.Name())
			}
			known := []string{"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "probe", "proc", "sbin", "tmp", "usr"}
			all = slices.DeleteFunc(all, func(n string) bool { return slices.Contains(known, n) })
			in.Check("what else there is in /", strings.Join(all, " "), "")
			b, err := os.ReadFile("/etc/passwd")
			in.Must(err)
			in.Check("users in /etc/passwd", strings.Count(string(b), "\n"), 3)
			_, err = os.Open("/etc/shadow")
			in.Attempt("open /etc/shadow", err, unix.ENOENT)
		},
	},
	{
		Name: "path/existence", Row: "isolate 2.5",
		Invisible: byAbsent,
		Outside: func(t *Trial) {
			t.Run(t.Spec(t.Dir(map[string]string{"f": "x"})))
		},
		Inside: func(in *Inside) {
			for _, name := range []string{in.Part(), in.Part() + "/f", "/root", "/home", "/var/log", "/etc/shadow", "/boot", "/no/such/thing", in.Part() + "/absent"} {
				_, err := os.Lstat(name)
				in.Attempt("look at "+name, err, unix.ENOENT)
				in.Attempt("chdir to "+name, os.Chdir(name), unix.ENOENT)
				_, err = os.OpenFile(name, os.O_WRONLY, 0)
				in.Attempt("write "+name, err, unix.ENOENT)
			}
		},
	},
	{
		Name: "path/dash", Row: "CVE-2024-32462",
		Invisible: byState,
		Outside: func(t *Trial) {
			self, err := filepath.EvalSymlinks("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			dir := t.Dir(nil)
			b, err := os.ReadFile(self)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"--bind", "-c", "--", "-"} {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
					t.Fatal(err)
				}
				spec := t.Spec("-x", "--bind", "/", "/", "; id", "$(id)", "`id`", "a\nb", "")
				Share(spec, dir, "/bin2", false)
				spec.Command.Env = []string{"PATH=/bin2"}
				spec.Command.Args[0] = name
				t.Run(spec)
			}
			for _, name := range []string{"--help", "-e", "; id", "$(id)"} {
				spec := t.Spec()
				spec.Command.Args[0] = name
				_, err := t.Executor.Start(context.Background(), spec)
				var start *executor.StartError
				t.Check(fmt.Sprintf("a program called %q", name), errors.As(err, &start) && errors.Is(err, syscall.ENOENT), true)
			}
		},
		Inside: func(in *Inside) {
			in.Check("arguments", fmt.Sprintf("%q", in.Args), fmt.Sprintf("%q", []string{"-x", "--bind", "/", "/", "; id", "$(id)", "`id`", "a\nb", ""}))
		},
	},
	{
		Name: "path/mount-race", Row: "CVE-2021-30465; CVE-2025-52881; CVE-2024-45310",
		Invisible: byClient,
		// Whoever runs inside has a say in none of the places where something can
		// appear while it runs.
		Outside: func(t *Trial) {
			dir, vol := t.Dir(map[string]string{"f": "x"}), t.Dir(nil)
			spec := t.Spec("race")
			Share(spec, vol, "/v", true)
			spec.Mounts = append(spec.Mounts, executor.Mount{Kind: executor.MountPoints, Target: "/mnt"})
			s := t.Start(spec)
			t.waitFor(s, "/tmp/racing")
			before := inventory(t, dir)
			open, err := t.Executor.Open(context.Background(), dir)
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			for _, target := range []string{"/tmp/x", "/v/x", "/tmp/x/y", "/v/x/y", "/mnt", "/mnt/../v/x", "/mnt/a/b", "/mnt/.", "/mnt/..", "/usr", "/proc/x", "/dev/x", "/etc/x", "/", ""} {
				for range 10 {
					err := s.Mount(context.Background(), executor.Share{Dir: open, Target: target})
					t.Check(fmt.Sprintf("show a directory on %q", target), err != nil, true)
				}
				t.Check(fmt.Sprintf("take away %q", target), s.Unmount(context.Background(), target) != nil, true)
			}
			for range 40 {
				t.Attempt("show a directory where it may be", s.Mount(context.Background(), executor.Share{Dir: open, Target: "/mnt/s"}), 0)
				t.Attempt("take it away", s.Unmount(context.Background(), "/mnt/s"), 0)
			}
			if err := s.Mount(context.Background(), executor.Share{Dir: open, Target: "/mnt/s"}); err != nil {
				t.Fatal(err)
			}
			s.Also("whole")
			t.Check("the directory of the host", inventory(t, dir), before)
		},
		Inside: func(in *Inside) {
			if in.Part() == "whole" {
				var fs unix.Statfs_t
				in.Must(unix.Statfs("/proc", &fs))
				in.Check("file system of /proc", fs.Type, unix.PROC_SUPER_MAGIC)
				for _, name := range []string{"/proc/self/status", "/etc/passwd", "/usr/bin/env", "/dev/null"} {
					_, err := os.Stat(name)
					in.Attempt("look at "+name, err, 0)
				}
				b, err := os.ReadFile("/mnt/s/f")
				in.Check("read what was shown", string(b)+ended(err), "xok")
				for _, name := range []string{"/mnt/f", "/v/f", "/tmp/f", "/v/x/f", "/tmp/x/f", "/f", "/usr/f", "/etc/f", "/proc/f", "/dev/f"} {
					_, err := os.Stat(name)
					in.Attempt("look for what was mounted at "+name, err, unix.ENOENT)
				}
				return
			}
			for _, at := range []string{"/tmp", "/v"} {
				in.Must(os.MkdirAll(at+"/x/y", 0o755))
				in.Must(os.Symlink("/", at+"/l1"))
				in.Must(os.Symlink("../proc/self", at+"/l2"))
			}
			in.Must(os.WriteFile("/tmp/racing", nil, 0o600))
			in.Attempt("make a link where things appear", os.Symlink("/", "/mnt/s"), unix.EROFS, unix.EACCES)
			in.Attempt("rename what things appear in", os.Rename("/mnt", "/tmp/mnt"), unix.EROFS, unix.EACCES, unix.EXDEV, unix.EBUSY)
			for {
				for _, l := range []string{"/mnt/s", "/mnt/t"} {
					os.Remove(l)
					os.Symlink("/", l)
					unix.Renameat2(unix.AT_FDCWD, "/v/l1", unix.AT_FDCWD, l, unix.RENAME_EXCHANGE)
				}
				for _, at := range []string{"/tmp", "/v"} {
					for _, l := range []string{"/l1", "/l2"} {
						unix.Renameat2(unix.AT_FDCWD, at+"/x", unix.AT_FDCWD, at+l, unix.RENAME_EXCHANGE)
						unix.Renameat2(unix.AT_FDCWD, at+l, unix.AT_FDCWD, at+"/x", unix.RENAME_EXCHANGE)
					}
				}
			}
		},
	},
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// inventory says for everything below dir who owns it, its mode and its content.
func inventory(t *Trial, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(name string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %v %d %d %d", strings.TrimPrefix(name, dir), fi.Mode(), st.Uid, st.Gid, st.Ctim.Nano())
		if fi.Mode().IsRegular() {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", content)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
