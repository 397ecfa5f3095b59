package executortest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// ipcCases are about talking to whom nobody granted it.
var ipcCases = []Case{
	{
		Name: "ipc/neighbours", Row: "CVE-2021-3283; /dev/shm, SysV and POSIX queues; /proc/PID/root, cwd, mem, environ",
		Invisible: byAbsent,
		Outside: func(t *Trial) {
			held := t.Start(t.Spec("hold"))
			t.waitFor(held, "/tmp/holding")
			held.Also("find") // it finds everything itself
			pids := strings.Fields(fmt.Sprint(append(descendants(held.Pid()), held.Pid())))
			for _, x := range []executor.Executor{t.Executor, t.Another()} {
				spec := t.Spec(append([]string{"seek"}, pids...)...)
				r := t.StartIn(x, spec).Wait()
				t.Check("the end of the seeker", r.Code, 0)
			}
			held.Also("find") // and it is all still there
		},
		Inside: neighbours,
	},
	{
		Name: "ipc/abstract-sockets", Row: "CVE-2020-15257; abstract sockets and signals across domains",
		Invisible: byKernel,
		Outside: func(t *Trial) {
			name := fmt.Sprintf("\x00cofferdam-test-%d", os.Getpid())
			l, err := net.Listen("unix", "@"+name[1:])
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			t.Run(t.Spec("host", name[1:]))
			// One that another environment listens on.
			s := t.Start(t.Spec("listen"))
			t.waitFor(s, "/tmp/ready")
			t.Run(t.Spec("neighbour"))
			b, err := os.ReadFile("/proc/net/unix")
			if err != nil {
				t.Fatal(err)
			}
			t.Check("abstract sockets of ours on the host", strings.Contains(string(b), "@cofferdam\n"), false)
			t.Check("abstract sockets of an environment on the host", strings.Contains(string(b), "@inside"), false)
		},
		Inside: func(in *Inside) {
			switch in.Part() {
			case "listen":
				_, err := net.Listen("unix", "@inside")
				in.Must(err)
				in.Must(os.WriteFile("/tmp/ready", nil, 0o600))
				time.Sleep(time.Hour)
			case "neighbour":
				_, err := net.Dial("unix", "@inside")
				in.Attempt("connect to the socket of a neighbour", err, unix.ECONNREFUSED)
			case "host":
				_, err := net.Dial("unix", "@"+in.Args[1])
				in.Attempt("connect to the host's socket", err, unix.ECONNREFUSED)
				c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
				in.Must(err)
				in.Attempt("send to the host's socket", unix.Sendto(c, []byte("x"), 0, &unix.SockaddrUnix{Name: "@" + in.Args[1]}), unix.ECONNREFUSED)
			}
		},
	},
	{
		Name: "ipc/signals", Row: "abstract sockets and signals across domains",
		Invisible: byKernel,
		Outside: func(t *Trial) {
			s := t.Start(t.Spec("wait"))
			t.waitFor(s, "/tmp/ready")
			victims := append(descendants(s.Pid()), s.Pid(), os.Getpid())
			if parent := os.Getppid(); parent != 1 { // inside, 1 is the init
				victims = append(victims, parent)
			}
			t.Run(t.Spec(strings.Fields(strings.Trim(fmt.Sprint(victims), "[]"))...))
			s.Also("alive")
		},
		Inside: func(in *Inside) {
			switch in.Part() {
			case "wait":
				in.Must(os.WriteFile("/tmp/ready", nil, 0o600))
				time.Sleep(time.Hour)
			case "alive":
				in.Check("it is alive", true, true)
				return
			}
			for _, a := range in.Args {
				pid, err := strconv.Atoi(a)
				in.Must(err)
				in.Attempt("kill "+a, syscall.Kill(pid, syscall.SIGKILL), unix.ESRCH)
				in.Attempt("kill the group of "+a, syscall.Kill(-pid, syscall.SIGKILL), unix.ESRCH)
				_, err = unix.PidfdOpen(pid, 0)
				in.Attempt("open "+a, err, unix.ESRCH, unix.EINVAL)
				in.Attempt("schedule "+a, unix.SchedSetaffinity(pid, &unix.CPUSet{1}), unix.ESRCH)
				in.Attempt("limit "+a, unix.Prlimit(pid, unix.RLIMIT_CPU, nil, new(unix.Rlimit)), unix.EPERM)
			}
			syscall.Kill(-1, syscall.SIGSTOP) // whoever is there
			unix.Setpriority(unix.PRIO_USER, 0, 19)
			in.Check("everybody was stopped, and we go on", true, true)
		},
	},
	{
		Name: "ipc/pathname-sockets", Row: "pathname sockets",
		Invisible: byAbsent,
		Outside: func(t *Trial) {
			dir := shortDir(t)
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			os.Chmod(filepath.Join(dir, "s"), 0o777)
			t.Run(t.Spec(dir))
		},
		Inside: func(in *Inside) {
			for _, name := range []string{
				in.Part() + "/s", "/proc/1/root" + in.Part() + "/s", "/proc/self/cwd/.." + in.Part() + "/s", "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
				"/run/dbus/system_bus_socket", "/run/user/1000/bus", "/run/systemd/private", "/run/systemd/notify", "/tmp/.X11-unix/X0", "/tmp/ssh-agent", "/dev/log", "/run/systemd/journal/socket", "/var/run/nscd/socket", "/run/snapd.socket",
			} {
				_, err := net.Dial("unix", name)
				in.Attempt("connect to "+name, err, unix.ENOENT, unix.EACCES)
			}
		},
	},
	{
		Name: "ipc/shared-sockets", Row: "pathname sockets in what two are shown",
		Invisible: byKernel,
		// Who may only read what somebody else may write to is not to be heard there.
		Outside: func(t *Trial) {
			if !t.enforced("landlock") {
				t.Skip("needs landlock: sockets are files like others without it")
			}
			dir := t.Dir(nil)
			os.Chmod(dir, 0o777)
			if err := errors.Join(unix.Mkfifo(dir+"/host", 0o666), os.Chmod(dir+"/host", 0o666)); err != nil {
				t.Fatal(err)
			}
			writer := t.Spec("writer")
			Share(writer, dir, "/d", true)
			s := t.Start(writer)
			t.waitFor(s, "/tmp/ready")
			reader := t.Spec("reader")
			Share(reader, dir, "/d", false)
			t.Run(reader)
			if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
				t.Error("the writer cannot make files: ", err)
			}
			s.Kill(executor.CausePolicy, "it has been seen")
			s.Wait()
		},
		Inside: func(in *Inside) {
			if in.Part() == "reader" {
				for _, name := range []string{"/d/s", "/d/datagrams", "/d/node", "/d/moved", "/d/linked"} {
					_, err := net.Dial("unix", name)
					in.Attempt("connect to "+name, err, unix.ENOENT)
				}
				for name, want := range map[string]syscall.Errno{"/d/fifo": unix.ENOENT, "/d/host": unix.EACCES} {
					_, err := os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
					in.Attempt("write to the pipe "+name, err, want)
				}
				return
			}
			in.Must(os.WriteFile("/d/f", nil, 0o666))
			in.Attempt("make a pipe where somebody reads", unix.Mkfifo("/d/fifo", 0o666), unix.EACCES)
			_, err := net.Listen("unix", "/d/s")
			in.Attempt("listen where somebody reads", err, unix.EACCES)
			_, err = net.ListenPacket("unixgram", "/d/datagrams")
			in.Attempt("take datagrams there", err, unix.EACCES)
			in.Attempt("make a socket there", unix.Mknod("/d/node", unix.S_IFSOCK|0o666, 0), unix.EACCES)
			_, err = net.Listen("unix", "/tmp/s")
			in.Attempt("listen where nobody else is", err, 0)
			in.Attempt("move that one there", os.Rename("/tmp/s", "/d/moved"), unix.EXDEV, unix.EACCES)
			in.Attempt("link it there", os.Link("/tmp/s", "/d/linked"), unix.EXDEV, unix.EACCES)
			for _, name := range []string{"/d/s", "/d/datagrams", "/d/node", "/d/fifo"} {
				os.Chmod(name, 0o777) // for the other one, should it be there
			}
			in.Must(os.WriteFile("/tmp/ready", nil, 0o600))
			time.Sleep(time.Hour)
		},
	},
	{
		Name: "ipc/network", Row: "proxy variables only; CVE-2024-29021; CVE-2025-9074",
		Invisible: "there is no route in the network of an environment; the kernel says so by itself",
		Outside: func(t *Trial) {
			var at []string
			for _, a := range append(hostAddresses(t), "127.0.0.1", "::1") {
				l, err := net.Listen("tcp", net.JoinHostPort(a, "0"))
				if err != nil {
					continue // an address that cannot be listened at
				}
				defer l.Close()
				at = append(at, l.Addr().String())
			}
			if len(at) == 0 {
				t.Fatal("the host has no address")
			}
			for _, v := range []string{"http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
				t.Setenv(v, "http://"+at[0])
			}
			t.Run(t.Spec(at...))
		},
		Inside: func(in *Inside) {
			for _, at := range in.Args {
				addr := netip.MustParseAddrPort(at)
				want := []syscall.Errno{unix.ENETUNREACH, unix.EADDRNOTAVAIL}
				if addr.Addr().IsLoopback() {
					want = []syscall.Errno{unix.ECONNREFUSED}
				}
				_, err := net.DialTimeout("tcp", at, 2*time.Second)
				in.Attempt("connect to a listener of the host at "+at, err, want...)
			}
			for _, at := range []string{
				"192.0.2.1:80", "169.254.169.254:80", "10.0.0.1:443", "172.17.0.1:2375", "224.0.0.1:5353", "255.255.255.255:67", "[::ffff:192.0.2.1]:80", "[2001:db8::1]:80", "[fe80::1%lo]:80", "[fd00:ec2::254]:80", "[ff02::1%lo]:80",
			} {
				for _, network := range []string{"tcp", "udp"} {
					c, err := net.DialTimeout(network, at, 2*time.Second)
					if err == nil && network == "udp" {
						_, err = c.Write([]byte("x"))
					}
					in.Attempt("reach "+at+" by "+network, err, unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EACCES, unix.EINVAL, unix.EHOSTUNREACH, unix.EPERM)
				}
			}
			_, err := net.LookupHost("example.com")
			in.Check("resolve a name of the world", err != nil, true)
			_, err = net.Interfaces()
			in.Attempt("ask for interfaces by netlink", err, unix.EAFNOSUPPORT)
			b, err := os.ReadFile("/proc/self/net/dev")
			in.Must(err)
			in.Check("interfaces but the loopback", strings.Count(string(b), ":"), 1)
			in.Check("the loopback", strings.Contains(string(b), " lo:"), true)
			in.Check("proxies told of", os.Getenv("http_proxy")+os.Getenv("HTTPS_PROXY")+os.Getenv("ALL_PROXY"), "")
		},
	},
	{
		Name: "ipc/descriptors-by-relay", Row: "SCM_RIGHTS directory descriptor; descriptor hand-over",
		Invisible: "what is passed along with bytes of TCP does not exist for whoever reads them",
		Outside: func(t *Trial) {
			spec := t.Spec("")
			spec.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:700")}
			s := t.Start(spec)
			l := s.Listeners()[0].(*net.TCPListener)
			l.SetDeadline(time.Now().Add(patience))
			c, err := l.AcceptTCP()
			if err != nil {
				t.Fatalf("%v\n%+v", err, s.Wait())
			}
			defer c.Close()
			c.SetReadDeadline(time.Now().Add(patience))
			raw, err := c.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var n, oobn int
			var rerr error
			oob := make([]byte, 256)
			raw.Read(func(fd uintptr) bool {
				n, oobn, _, _, rerr = unix.Recvmsg(int(fd), make([]byte, 16), oob, 0)
				return rerr != unix.EAGAIN
			})
			t.Attempt("read what was sent", rerr, 0)
			t.Check("bytes", n, 1)
			t.Check("bytes of descriptors", oobn, 0)
			t.Check("the end of the sender", s.Wait().Code, 0)
		},
		Inside: func(in *Inside) {
			c, err := net.Dial("tcp", "127.0.0.1:700")
			in.Must(err)
			raw, err := c.(*net.TCPConn).SyscallConn()
			in.Must(err)
			d, err := os.Open("/")
			in.Must(err)
			raw.Write(func(fd uintptr) bool {
				// The kernel may ignore it or refuse it; the byte goes either way.
				err := unix.Sendmsg(int(fd), []byte("x"), unix.UnixRights(int(d.Fd())), nil, 0)
				if err != nil {
					_, err = unix.Write(int(fd), []byte("x"))
				}
				in.Attempt("send", err, 0)
				return true
			})
			time.Sleep(time.Second)
		},
	},
	{
		Name: "ipc/peer", Row: "SO_PEERCRED pid reuse; gvisor#13445",
		Audited: "monitor.TestAttach",
		Outside: peers,
		Inside: func(in *Inside) {
			switch in.Part() {
			case "connect": // and go
				_, err := net.Dial("unix", "/s")
				in.Must(err)
			case "forks": // whenever a byte comes, a child that lives for a while
				for buf := make([]byte, 1); ; {
					if n, _ := os.Stdin.Read(buf); n == 0 {
						return
					}
					cmd := in.Again("sleep")
					in.Must(cmd.Start())
					fmt.Println("forked")
					go cmd.Wait()
				}
			case "sleep":
				time.Sleep(time.Hour)
			case "stranger": // on the host
				_, err := net.Dial("unix", in.Args[1])
				in.Must(err)
			default:
				c, err := net.Dial("unix", "/s")
				in.Must(err)
				c.Read(make([]byte, 1))
			}
		},
	},
	{
		Name: "ipc/names", Row: "SOCKS5 name with NUL",
		Invisible: byClient,
		Outside: func(t *Trial) {
			for _, name := range []string{"", "a\x00b", "a b", "a\nb", "a\tb", "127.0.0.1 evil", "-a", "a/b", strings.Repeat("a", 300), "\x1b[2J", "é"} {
				spec := t.Spec()
				spec.Hosts = []executor.Host{{Name: name, Addr: netip.MustParseAddr("127.0.0.9")}}
				t.mustRefuse(fmt.Sprintf("a host called %q", name), spec)
				if name == "a b" || name == "é" || name == "127.0.0.1 evil" || name == "-a" {
					continue // as arguments they are fine
				}
				spec = t.Spec()
				spec.Name = name
				t.mustRefuse(fmt.Sprintf("an environment called %q", name), spec)
			}
			for what, change := range map[string]func(*executor.Spec){
				"an argument with NUL":   func(s *executor.Spec) { s.Command.Args = append(s.Command.Args, "a\x00b") },
				"a program with NUL":     func(s *executor.Spec) { s.Command.Args[0] += "\x00x" },
				"a variable with NUL":    func(s *executor.Spec) { s.Command.Env = []string{"A=b\x00LD_PRELOAD=/x"} },
				"a directory with NUL":   func(s *executor.Spec) { s.Command.Dir = "/\x00/tmp" },
				"a mount point with NUL": func(s *executor.Spec) { Share(s, t.Dir(nil), "/d\x00x", false) },
				"a source with NUL":      func(s *executor.Spec) { Share(s, t.Dir(nil)+"\x00x", "/d", false) },
				"a link with NUL": func(s *executor.Spec) {
					s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountSymlink, Source: "/a\x00b", Target: "/l"})
				},
				"a listener of the world": func(s *executor.Spec) { s.Listen = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80")} },
			} {
				spec := t.Spec()
				change(spec)
				t.mustRefuse(what, spec)
			}
		},
	},
}

// mustRefuse starts what must not start.
func (t *Trial) mustRefuse(what string, spec *executor.Spec) {
	t.Helper()
	p, err := t.Executor.Start(context.Background(), spec)
	if err == nil {
		p.Kill(executor.CausePolicy, "")
		<-p.Done()
	}
	t.Check(what+" is refused", err != nil, true)
}

// waitFor waits until the probe has made a file.
func (t *Trial) waitFor(s *Started, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := s.Exec(ctx, &executor.Command{Args: []string{"/bin/sh", "-c", "until test -e " + name + "; do sleep 0.01; done"}, Env: []string{"PATH=/usr/bin:/bin"}})
	if err != nil {
		t.Fatalf("%s: wait for %s: %v", t.c.Name, name, err)
	}
}

// shortDir is a directory whose name is short enough for the path of a socket.
func shortDir(t *Trial) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hostAddresses are those of the host besides the loopback.
func hostAddresses(t *Trial) (all []string) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			all = append(all, n.IP.String())
		}
	}
	return all
}

// descendants are the processes below pid, as the host numbers them.
func descendants(pid int) (all []int) {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for f := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}
