package supervisor_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/executortest/census"

	"golang.org/x/sys/unix"
)

// hostileClasses are what stress-ng does to a kernel that somebody could notice who is
// not meant, each for two seconds. `bench stress` measures what a neighbour does notice.
var hostileClasses = []struct{ name, args string }{
	{"processor and scheduler", "--cpu 4 --matrix 2 --switch 2 --yield 2 --futex 2 --affinity 2 --sem 1"},
	{"processes", "--fork 4 --vfork 2 --clone 1 --exec 2 --zombie 1 --daemon 1 --wait 1"},
	{"memory", "--vm 2 --vm-bytes 128M --mmap 2 --brk 1 --bigheap 1 --stack 1 --fault 2 --madvise 1 --mremap 1 --memfd 1 --tmpfs 1"},
	{"pipes and sockets", "--pipe 4 --sockpair 2 --sock 2 --sockfd 1 --fifo 2 --poll 2 --udp 1 --splice 1 --tee 1"},
	{"files", "--hdd 2 --hdd-bytes 8M --dentry 2 --dir 1 --rename 2 --link 1 --symlink 1 --flock 2 --fallocate 1 --inode-flags 1 --xattr 1"},
	{"signals and timers", "--itimer 1 --timer 2 --timerfd 1 --sigq 2 --sigfd 1 --sigsegv 1 --kill 2 --eventfd 2 --epoll 1 --mq 1 --msg 1 --shm 1 --shm-sysv 1"},
	{"what is refused", "--enosys 2 --sysinval 1 --sysbadaddr 1 --ptrace 1 --userfaultfd 1 --unshare 1 --clone 1 --key 1 --af-alg 1 --netlink-proc 1 --bad-altstack 1 --procfs 1 --sysfs 1 --seccomp 1"},
}

// Nobody but its own environment suffers from stress-ng, and nothing is left of it.
func TestStress(t *testing.T) {
	stress, err := exec.LookPath("stress-ng")
	if err != nil {
		t.Skip("needs stress-ng: ", err)
	}
	if err := census.Adopt(); err != nil {
		t.Fatal(err)
	}
	scope := &census.Scope{Apps: []string{"sup"}}
	before := scope.Take()
	kernel := openKernelLog(t)
	for _, class := range hostileClasses {
		t.Run(class.name, func(t *testing.T) {
			a := start(t, `
  stress: {{program}deaf], stop_grace_period: 100ms, limits: {output: unlimited}, restart: {intensity: 1000, backoff: 1ms, backoff_max: 10ms}}
  polite: {{program}deaf], stop_grace_period: 100ms, uses: [{call: server.echo}]}
  server: {{program}serve-echo], provides: [{call: echo}]}
`)
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			defer cancel()
			said := make(chan string, 1)
			go func() {
				// Who goes beyond a limit ends with its environment, and begins again.
				var out bytes.Buffer
				args := append([]string{stress, "--temp-path", "/tmp", "--timeout", "2"}, strings.Fields(class.args)...)
				for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					exit, err := a.sup.Exec(ctx, "stress", executor.Command{Args: args, Stdout: &out, Stderr: &out})
					fmt.Fprintf(&out, "ended by %s with %d, %v\n", exit.Cause, exit.Code, err)
				}
				said <- out.String()
			}()
			text, asked := "", 0
			for text == "" {
				if got := a.exec("polite", "polite", "200"); got != "200 right" {
					t.Errorf("meanwhile the polite one says %q", got)
				}
				asked += 200
				select {
				case text = <-said:
				default:
				}
			}
			t.Logf("%d calls had the right answer meanwhile", asked)
			if !strings.Contains(text, "dispatching hogs") {
				t.Errorf("stress-ng did nothing:\n%s", text)
			}
			if strings.Contains(text, "unrecognized option") {
				t.Errorf("stress-ng did not understand:\n%s", text)
			}
		})
	}
	if left := scope.Settle(before, 20*time.Second); len(left) > 0 {
		t.Errorf("left are:\n%s", strings.Join(left, "\n"))
	}
	if bad := kernel.complaints(); len(bad) > 0 {
		t.Errorf("the kernel complains:\n%s", strings.Join(bad, "\n"))
	}
}

// kernelLog reads what the kernel says from now on, if we may: /dev/kmsg.
type kernelLog struct{ fd int }

func openKernelLog(t *testing.T) *kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &kernelLog{-1}
	}
	unix.Seek(fd, 0, 2 /* SEEK_END */)
	t.Cleanup(func() { unix.Close(fd) })
	return &kernelLog{fd}
}

// complaint is a message that means a bug of the kernel, or that it was brought to a halt.
var complaint = regexp.MustCompile(`WARNING: |BUG: |Oops|general protection|soft lockup|blocked for more than|rcu_.* detected stall|use-after-free`)

func (k *kernelLog) complaints() (bad []string) {
	buf := make([]byte, 8192)
	for k.fd >= 0 {
		n, err := unix.Read(k.fd, buf)
		if err == unix.EPIPE {
			continue // overrun: the next read is the oldest there is
		}
		if err != nil {
			break
		}
		if line := string(buf[:n]); complaint.MatchString(line) {
			bad = append(bad, line)
		}
	}
	return bad
}
