package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"cofferdam/bench/own"
)

// bulkBytes is how much one count of a bulk scenario moves.
const bulkBytes = 1 << 20

// loopback is the limit: two processes and one connection over the loopback.
func loopback(serve, ask string, perCount int) contestant {
	return served("loopback", "one TCP connection, two processes, nothing between", serve, ask, perCount, nil)
}

// spliced is a proxy that does nothing but splice(2): what a relay costs that asks
// nobody and writes nothing down.
func spliced(serve, ask string, perCount int) contestant {
	return served("splice proxy", "a third process between that does nothing but splice(2), in Go", serve, ask, perCount, func(p own.Program, addr string) (string, func(), error) {
		proxy := p.Outside("splice-proxy", addr)
		return listening(proxy)
	})
}

// served is a server on the host, and for each round a new client, with what between
// puts in front of the server, if anything.
func served(name, how, serve, ask string, perCount int, between func(p own.Program, addr string) (string, func(), error)) contestant {
	return contestant{name: name, how: how, open: func() (runner, error) {
		p, err := ours()
		if err != nil {
			return runner{}, err
		}
		server, err := p.Listening(serve)
		if err != nil {
			return runner{}, err
		}
		addr, stop := server.Addr, server.Stop
		if between != nil {
			inner := stop
			front, stopFront, err := between(p, addr)
			if err != nil {
				stop()
				return runner{}, err
			}
			addr, stop = front, func() { stopFront(); inner() }
		}
		return runner{close: stop, run: func(count int) (own.Reading, error) {
			return own.Read(p.Outside(ask, addr, itoa(count*perCount)))
		}}, nil
	}}
}

// listening starts a role that prints where it listens.
func listening(cmd *exec.Cmd) (addr string, stop func(), err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("%s does not say where it listens", cmd.Args[1:])
	}
	return strings.TrimSpace(line), stop, nil
}

func spliceProxy(args []string) error {
	if len(args) != 1 {
		return errors.New("splice-proxy ADDR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		near, err := l.Accept()
		if err != nil {
			return err
		}
		far, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		both := func(to, from net.Conn) {
			io.Copy(to, from) // splice(2), since both are TCP
			to.(*net.TCPConn).CloseWrite()
		}
		go both(far, near)
		go both(near, far)
	}
}

// veth is what container networks are made of: two network namespaces and a pair of
// interfaces between them.
func veth(serve, ask string, perCount int) contestant {
	return contestant{
		name: "veth pair", how: "two network namespaces and a pair of interfaces",
		version: func() string { return output("ip", "-V") },
		open: func() (runner, error) {
			if err := found("ip"); err != nil {
				return runner{}, err
			}
			p, err := ours()
			if err != nil {
				return runner{}, err
			}
			near := p.Outside("veth", serve)
			near.SysProcAttr = inNew(syscall.CLONE_NEWNET, true)
			in, err := near.StdinPipe()
			if err != nil {
				return runner{}, err
			}
			out, err := near.StdoutPipe()
			if err != nil {
				return runner{}, err
			}
			if err := near.Start(); err != nil {
				return runner{}, fmt.Errorf("%w: no network namespace: %w", errMissing, err)
			}
			stop := func() { in.Close(); near.Wait() }
			answers := json.NewDecoder(out)
			return runner{close: stop, run: func(count int) (own.Reading, error) {
				fmt.Fprintf(in, "%s %d\n", ask, count*perCount)
				var r own.Reading
				err := answers.Decode(&r)
				return r, err
			}}, nil
		},
	}
}

// inNew puts a process into a namespace of its own, as root of a user namespace where
// that takes one and nobody has made it yet.
func inNew(kind uintptr, first bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: kind, Pdeathsig: syscall.SIGKILL}
	if first && os.Getuid() != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return a
}

const (
	vethNear = "10.200.0.1"
	vethHere = "10.200.0.2"
)

// vethPair is in the first namespace: it has somebody in the second serve, and asks
// him what it reads on its standard input, a role and a number in each line.
func vethPair(args []string) error {
	if len(args) != 1 {
		return errors.New("veth ROLE")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	far := exec.Command(self, own.PlayRole, "veth-far", args[0])
	far.SysProcAttr = inNew(syscall.CLONE_NEWNET, false)
	far.Stderr = os.Stderr
	in, err := far.StdinPipe()
	if err != nil {
		return err
	}
	if err := far.Start(); err != nil {
		return err
	}
	defer far.Process.Kill()
	pid := strconv.Itoa(far.Process.Pid)
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "near", "type", "veth", "peer", "name", "far", "netns", pid},
		{"addr", "add", vethNear + "/30", "dev", "near"},
		{"link", "set", "near", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", words(args), err, out)
		}
	}
	fmt.Fprintln(in, "up") // now it has an interface
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		role, n, _ := strings.Cut(lines.Text(), " ")
		var cmd *exec.Cmd
		for tries := 0; ; tries++ {
			cmd = exec.Command(self, own.PlayRole, role, vethHere+":9000", n)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if c, err := net.Dial("tcp", vethHere+":9000"); err == nil {
				c.Close()
				break
			} else if tries > 500 {
				return err
			}
		}
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return nil
}

// vethFar is in the second namespace: it serves there once it has an interface.
func vethFar() error {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for _, args := range [][]string{{"addr", "add", vethHere + "/30", "dev", "far"}, {"link", "set", "far", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", words(args), err, out)
		}
	}
	l, err := net.Listen("tcp", vethHere+":9000")
	if err != nil {
		return err
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, own.PlayRole, os.Args[3])
	cmd.ExtraFiles, cmd.Stderr = []*os.File{f}, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}
