package executortest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cofferdam/executor"
	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

// platformCases are about what is built around environments: pools, checks, a second
// way in.
var platformCases = []Case{
	{
		Name: "platform/pool", Row: "OpenShell#1447",
		Invisible: byAbsent,
		// One tenant leaves a mark wherever it can; those after it find none, however
		// often what made its environment is used again.
		Outside: func(t *Trial) {
			for range 3 {
				spec := t.Spec("mark")
				spec.Name = "tenant-a"
				spec.Hosts = []executor.Host{{Name: "tenant-a-host", Addr: netip.MustParseAddr("127.0.0.9")}}
				spec.Command.Env = append(spec.Command.Env, "TENANT=a")
				t.Run(spec)
			}
			nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
			if err != nil {
				t.Fatal(err)
			}
			for n := range 12 {
				spec := t.Spec("look")
				spec.Name = "tenant-b"
				spec.Command.Env = append(spec.Command.Env, fmt.Sprint("NICE=", nice))
				s := t.Start(spec)
				r := s.Wait()
				t.Check(fmt.Sprintf("the end of tenant b, time %d", n), r.Cause == executor.CauseExit && r.Code == 0, true)
			}
		},
		Inside: func(in *Inside) {
			if in.Part() == "mark" {
				hold(in)
				in.Must(os.WriteFile("/proc/self/comm", []byte("tenant-a"), 0))
				unix.Setpriority(unix.PRIO_PROCESS, 0, 5)
				in.Check("the mark is left", true, true)
				return
			}
			for _, f := range findings() {
				in.Attempt("find another tenant's "+f.what, f.err, unix.ENOENT, unix.ECONNREFUSED, unix.ENOSYS, unix.EACCES)
			}
			for _, dir := range []string{"/tmp", "/dev/shm"} {
				names, err := os.ReadDir(dir)
				in.Must(err)
				in.Check("what there is in "+dir, len(names), 0)
			}
			name, err := os.ReadFile("/etc/hostname")
			in.Must(err)
			in.Check("name of the host", strings.TrimSpace(string(name)), "tenant-b")
			real, err := os.Hostname()
			in.Must(err)
			in.Check("name that uname tells", real, "tenant-b")
			hosts, err := os.ReadFile("/etc/hosts")
			in.Must(err)
			in.Check("other tenant among the hosts", strings.Contains(string(hosts), "tenant-a"), false)
			in.Check("variable of the other tenant", os.Getenv("TENANT"), "")
			nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
			in.Must(err)
			in.Check("nice value, as the kernel returns it", strconv.Itoa(nice), os.Getenv("NICE"))
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			in.Must(err)
			in.Check("other tenant among the mounts", strings.Contains(string(mounts), "tenant-a"), false)
			tcp, err := os.ReadFile("/proc/self/net/tcp")
			in.Must(err)
			in.Check("connections, past and present", strings.Count(string(tcp), "\n"), 1)
		},
	},
	{
		Name: "platform/promises", Row: "claude-code#79316; open-managed-agents#85",
		Invisible: byState,
		// What the executor says that this host gives is looked for in an environment
		// and, where it can only be seen there, on the host.
		Outside: func(t *Trial) {
			s := t.Start(t.Spec("look"))
			t.waitFor(s, "/tmp/ready")
			checked := 0
			for _, p := range t.Executor.Protections() {
				if p.Status != executor.Pass {
					continue
				}
				t.promise(s, p)
				checked++
			}
			t.Check("promises looked into", checked > 4, true)
		},
		Inside: func(in *Inside) {
			switch in.Part() {
			case "look":
				_, errno := raw.Call(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0)
				in.Attempt("make a socket", errno, 0)
				fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
				in.Must(err)
				in.Must(unix.Bind(fd, &unix.SockaddrUnix{Name: "@promise"}))
				in.Must(unix.Listen(fd, 1))
				in.Must(os.WriteFile("/tmp/ready", nil, 0o600))
				time.Sleep(time.Hour)
			case "seccomp":
				in.Attempt("what the filter refuses", raw0(unix.SYS_UNSHARE, 0), unix.EPERM)
				in.Check("mode of seccomp", strings.TrimSpace(statusLine(in, "Seccomp")), "2")
			case "landlock":
				fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
				in.Must(err)
				// Another program of the same environment, in a domain of its own.
				in.Attempt("connect to another domain", unix.Connect(fd, &unix.SockaddrUnix{Name: "@promise"}), unix.EPERM)
			}
		},
	},
	{
		Name: "platform/second-way-in", Row: "traverse#1524",
		Invisible: byState,
		// A program started by Exec is under everything that the first one is under.
		Outside: func(t *Trial) {
			spec := t.Spec("first")
			spec.Limits.OpenFiles, spec.Limits.FileBytes = 77, 7<<20
			s := t.Start(spec)
			t.waitFor(s, "/tmp/first")
			s.Also("second")
		},
		Inside: func(in *Inside) {
			var now bytes.Buffer
			for _, file := range []string{"status", "limits", "uid_map", "gid_map", "cgroup", "mountinfo"} {
				b, err := os.ReadFile("/proc/self/" + file)
				in.Must(err)
				for line := range strings.Lines(string(b)) {
					name, _, _ := strings.Cut(line, ":")
					if file != "status" || strings.HasPrefix(name, "Cap") || strings.Contains(" Uid Gid Groups NoNewPrivs Seccomp SigBlk Seccomp_filters ", " "+name+" ") {
						fmt.Fprintf(&now, "%s %s", file, line)
					}
				}
			}
			for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
				link, err := os.Readlink("/proc/self/ns/" + ns)
				in.Must(err)
				fmt.Fprintln(&now, link)
			}
			if in.Part() == "first" {
				in.Must(os.WriteFile("/tmp/first.new", now.Bytes(), 0o600))
				in.Must(os.Rename("/tmp/first.new", "/tmp/first"))
				time.Sleep(time.Hour)
			}
			first, err := os.ReadFile("/tmp/first")
			in.Must(err)
			a, b := strings.Split(string(first), "\n"), strings.Split(now.String(), "\n")
			in.Check("number of restrictions", len(b) > 30 && len(a) == len(b), true)
			for i := range min(len(a), len(b)) {
				in.Check("restriction", b[i], a[i])
			}
		},
	},
	{
		Name: "side/locks", Row: "file locks and inotify on shared mounts",
		Invisible: byKernel,
		// Who only reads a file cannot keep its writer on the host waiting.
		Outside: func(t *Trial) {
			dir := t.Dir(map[string]string{"f": "x"})
			if err := os.Chmod(dir+"/f", 0o666); err != nil {
				t.Fatal(err)
			}
			spec := t.Spec()
			Share(spec, dir, "/ro", false)
			s := t.Start(spec)
			t.waitFor(s, "/tmp/ready")
			f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR|unix.O_NONBLOCK, 0)
			t.Attempt("open it for writing on the host meanwhile", err, 0)
			if err == nil {
				f.Close()
			}
			if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			t.Check("the end of who locks", s.Wait().Code, 0)
		},
		Inside: func(in *Inside) {
			f, err := os.Open("/ro/f")
			in.Must(err)
			for what, kind := range map[string]int{"read": unix.F_RDLCK, "write": unix.F_WRLCK} {
				_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, kind)
				in.Attempt("a lease to "+what, err, unix.EPERM)
			}
			in.Attempt("a lock for writing", lockForWriting(f), unix.EBADF)
			in.Attempt("a lock of the open file for writing", unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}), unix.EBADF)
			in.Must(os.WriteFile("/tmp/ready", nil, 0o600))
			for !exists("/ro/end") { // which the host says: a program here would be ended with it
				time.Sleep(5 * time.Millisecond)
			}
		},
	},
}

// promise looks into one protection that is said to be there.
func (t *Trial) promise(s *Started, p executor.Protection) {
	t.Helper()
	pid := descendants(s.Pid())[0]
	differs := func(ns string) {
		t.Helper()
		ours, err1 := os.Readlink("/proc/self/ns/" + ns)
		theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if errors.Is(err2, os.ErrPermission) {
			// What is not ours to look at is somebody else's.
			t.Check(p.Name+": of its own", err1 == nil, true)
			return
		}
		t.Check(p.Name+": of its own", errors.Join(err1, err2) == nil && ours != theirs, true)
	}
	switch p.Name {
	case "user-namespace":
		differs("user")
	case "mount-namespace":
		differs("mnt")
	case "pid-namespace":
		differs("pid")
	case "network-namespace":
		differs("net")
	case "seccomp":
		s.Also("seccomp")
	case "landlock":
		if n, _ := strconv.Atoi(strings.TrimPrefix(strings.SplitN(p.Detail, ",", 2)[0], "ABI ")); n >= 6 {
			s.Also("landlock")
		}
	case "uid-range":
		other := t.Start(t.Spec("look"))
		a, b := hostUser(t, pid), hostUser(t, descendants(other.Pid())[0])
		t.Check("uid-range: users of the host", a != b && a != os.Getuid() && b != os.Getuid(), true)
		other.Kill(executor.CausePolicy, "")
	case "cgroup.memory", "cgroup.pids", "cgroup.cpu":
		ours, err1 := os.ReadFile("/proc/self/cgroup")
		theirs, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		t.Check(p.Name+": a group of its own", errors.Join(err1, err2) == nil && string(ours) != string(theirs), true)
	}
}

// hostUser is the user of a process, as the host sees it.
func hostUser(t *Trial, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(b), "\nUid:\t")
	uid, err := strconv.Atoi(strings.Fields(line)[0])
	if err != nil {
		t.Fatal(err)
	}
	return uid
}
