package executortest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"cofferdam/internal/linux/raw"

	"golang.org/x/sys/unix"
)

const tioclinux = 0x541c

// ttyCases are about a terminal that a program was given: whoever sits at it must not
// get input that the program made up.
var ttyCases = []Case{
	{
		Name: "proc/tiocsti", Row: "CVE-2017-5226; CVE-2019-10063, CVE-2019-7303; CVE-2023-1523",
		Invisible: byFilter,
		Outside: func(t *Trial) {
			for _, how := range []string{"as standard input", "as a descriptor"} {
				master, terminal := openTerminal(t)
				// Somebody on the host has it as the controlling terminal.
				owner := exec.Command("sleep", "60")
				owner.Stdin = terminal
				owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
				if err := owner.Start(); err != nil {
					t.Fatal(err)
				}
				spec := t.Spec("0")
				if how == "as standard input" {
					spec.Command.Stdin = terminal
				} else {
					spec = t.Spec("3")
					spec.Extra = []*os.File{terminal}
				}
				t.Run(spec)
				var waiting [64]byte
				n, err := unix.Read(int(terminal.Fd()), waiting[:])
				t.Check("input of the terminal, given "+how, fmt.Sprintf("%q %s", waiting[:max(n, 0)], ended(err)), `"" EAGAIN`)
				// What is typed arrives: an empty buffer would have been seen to be one.
				if _, err := master.WriteString("typed\n"); err != nil {
					t.Fatal(err)
				}
				n, err = unix.Read(int(terminal.Fd()), waiting[:])
				t.Check("what is typed after it", fmt.Sprintf("%q %s", waiting[:max(n, 0)], ended(err)), `"typed\n" ok`)
				t.Check("the owner of the terminal lives", owner.Process.Signal(syscall.Signal(0)), nil)
				owner.Process.Kill()
				owner.Wait()
			}
		},
		Inside: func(in *Inside) {
			fd := 0
			if in.Part() == "3" {
				fd = 3
			}
			_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
			in.Must(err) // it is a terminal
			for what, req := range map[string]uint{"TIOCSTI": unix.TIOCSTI, "TIOCLINUX": tioclinux, "TIOCSETD": unix.TIOCSETD} {
				for name, high := range map[string]uint{"": 0, " with bit 32": 1 << 32, " with bit 63": 1 << 63, " with all high bits": 0xffffffff << 32} {
					in.Attempt(what+name, unix.IoctlSetPointerInt(fd, req|high, 'x'), unix.EPERM)
				}
			}
			paste := []byte{3, 0, 0, 0}
			in.Attempt("paste a selection", raw0(unix.SYS_IOCTL, fd, tioclinux, paste), unix.EPERM)
			for name, arg := range map[string]int{"take": 0, "steal": 1} {
				in.Attempt(name+" the terminal", raw0(unix.SYS_IOCTL, fd, unix.TIOCSCTTY, arg), unix.EPERM)
			}
			in.Attempt("become its foreground", unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, os.Getpid()), unix.ENOTTY)
			in.Attempt("hang up on its owner", raw0(unix.SYS_VHANGUP), unix.EPERM)
			in.Attempt("redirect the console", raw0(unix.SYS_IOCTL, fd, unix.TIOCCONS, 0), unix.EPERM, unix.ENOTTY)
			_, err = os.OpenFile("/dev/tty", os.O_RDWR, 0)
			in.Attempt("open /dev/tty", err, unix.ENOENT)
			_, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
			in.Attempt("open /dev/ptmx", err, unix.ENOENT)
			again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
			if err == nil { // its mode may let us
				in.Attempt("TIOCSTI after opening it again", unix.IoctlSetPointerInt(int(again.Fd()), unix.TIOCSTI, 'x'), unix.EPERM)
			}
			in.Check("controlling terminal", strings.Fields(afterName("/proc/self/stat"))[4], "0")
		},
	},
}

// afterName is what a file like /proc/PID/stat says after the name of the program.
func afterName(file string) string {
	b, _ := os.ReadFile(file)
	return string(b[strings.LastIndexByte(string(b), ')')+1:])
}

// openTerminal makes one: the end of who types, and the end of who reads, which does
// not block.
func openTerminal(t *Trial) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	fd, errno := raw.Call(unix.SYS_IOCTL, int(master.Fd()), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatalf("open the other end of a terminal: %v", errno)
	}
	if err := unix.SetNonblock(int(fd), true); err != nil {
		t.Fatal(err)
	}
	terminal = os.NewFile(fd, "terminal")
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}
