package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"cofferdam/bench/own"
)

// program is what runs in each sandbox, and what it must print.
type program struct {
	args   []string
	want   string
	limits string // of a template that runs it
}

var (
	nothing = program{args: []string{"/bin/true"}}
	snippet = program{args: []string{"/usr/bin/python3", "-I", "-c", "print(6*7)"}, want: "42\n", limits: "memory: 64M, pids: 1"}
	script  = program{args: []string{"/usr/bin/node", "-e", "console.log(6*7)"}, want: "42\n", limits: "memory: 128M, pids: 32"}
)

// pace is how something is done in a round: by one, with a pause before each, of whom
// the times count; or by several workers at once, of whom the rate does.
type pace struct {
	workers int
	rate    bool
	pause   time.Duration
}

func (p pace) runner(do func() error, close func()) runner {
	return runner{close: close, run: func(count int) (own.Reading, error) {
		if p.rate {
			return own.Rate(p.workers, count, time.Millisecond, func(int) error { return do() })
		}
		return own.Paced(count, p.pause, time.Millisecond, do)
	}}
}

// execute runs a command to its end and compares what it prints. Of our variables it has none but PATH: some make
// an interpreter twice as slow to start (NODE_EXTRA_CA_CERTS), and ours has none of them either.
func execute(want string, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var out, errs bytes.Buffer
	if want != "" {
		cmd.Stdout, cmd.Stderr = &out, &errs // without, both are /dev/null, and nothing is copied
	}
	if err := cmd.Run(); err != nil {
		if want == "" {
			again, _ := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			errs.Write(again)
		}
		return fmt.Errorf("%q: %w: %s", argv, err, &errs)
	}
	if out.String() != want {
		return fmt.Errorf("%q printed %q", argv, &out)
	}
	return nil
}

// found fails with errMissing if the command is not there.
func found(command string) error {
	if _, err := exec.LookPath(command); err != nil {
		return fmt.Errorf("%w (%s)", errMissing, command)
	}
	return nil
}

// sandbox is a peer that is a command, run anew for each program.
type sandbox struct {
	command string
	flags   []string // the same view of the host's /usr that `runtime: host` gives, and every namespace that the peer can unshare
	version []string
}

// usr are the flags of nsjail and its like; bubblewrap has others for the same.
var (
	bwrap = sandbox{"bwrap", []string{
		"--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--cap-drop", "ALL",
	}, []string{"--version"}}
	nsjail = sandbox{"nsjail", []string{
		"-Mo", "-Q", "-u", "0:100000:1", "-g", "0:100000:1", "-R", "/usr:/usr", "-s", "usr/bin:/bin", "-s", "usr/lib:/lib", "-s", "usr/lib64:/lib64",
		"-T", "/tmp", "--disable_clone_newcgroup", "--disable_rlimits", "--",
	}, nil}
	minijail = sandbox{"minijail0", []string{
		"-b", "/usr,/usr,1", "-k", "proc,/proc,proc,0xe", "-U", "-v", "-p", "-e", "-l", "--uts", "-n", "-c", "0", "-t", "-T", "static", "--",
	}, nil}
)

func (s sandbox) contestant(p program, at pace) contestant {
	c := contestant{name: s.command, how: s.command + " " + words(s.flags)}
	if s.version != nil {
		c.version = func() string { return output(s.command, s.version...) }
	}
	c.open = func() (runner, error) {
		if err := found(s.command); err != nil {
			return runner{}, err
		}
		argv := append(append([]string{s.command}, s.flags...), p.args...)
		return at.runner(func() error { return execute(p.want, argv...) }, nil), nil
	}
	return c
}

// words are arguments as they are written in a shell.
func words(args []string) string {
	var b bytes.Buffer
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a)
	}
	return b.String()
}

// forkExec is no sandbox: the limit.
func forkExec(p program, at pace) contestant {
	return contestant{name: "fork+exec", how: words(p.args), open: func() (runner, error) {
		if err := found(p.args[0]); err != nil {
			return runner{}, err
		}
		return at.runner(func() error { return execute(p.want, p.args...) }, nil), nil
	}}
}

// crun is measured with a bundle that it finds prepared, by a process of ours from
// which the host's cgroups are hidden: not every crun can live with those of a host
// that has both versions.
func crun(p program, at pace) contestant {
	return contestant{
		name: "crun", how: "crun --cgroup-manager=disabled run, the same namespaces and mounts in config.json",
		version: func() string { return output("crun", "--version") },
		open: func() (runner, error) {
			if err := found("crun"); err != nil {
				return runner{}, err
			}
			dir, err := crunBundle(p.args)
			if err != nil {
				return runner{}, err
			}
			o, err := ours()
			if err != nil {
				return runner{}, err
			}
			return runner{close: func() { os.RemoveAll(dir) }, run: func(count int) (own.Reading, error) {
				cmd := o.Outside("crun", dir, p.want, strconv.Itoa(at.workers), strconv.FormatBool(at.rate), at.pause.String(), strconv.Itoa(count))
				cmd.SysProcAttr = inNew(syscall.CLONE_NEWNS, true)
				return own.Read(cmd)
			}}, nil
		},
	}
}

// crunLoop is that process.
func crunLoop(args []string) error {
	if len(args) != 6 {
		return errors.New("crun BUNDLE WANT WORKERS RATE PAUSE COUNT")
	}
	dir, want := args[0], args[1]
	workers, err1 := strconv.Atoi(args[2])
	rate, err2 := strconv.ParseBool(args[3])
	pause, err3 := time.ParseDuration(args[4])
	count, err4 := strconv.Atoi(args[5])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, ""); err != nil {
		return err
	}
	var n atomic.Int64
	base := "bench-" + strconv.Itoa(os.Getpid()) + "-"
	r, err := pace{workers, rate, pause}.runner(func() error {
		id := base + strconv.FormatInt(n.Add(1), 10)
		return execute(want, "crun", "--root", filepath.Join(dir, "state"), "--cgroup-manager=disabled", "run", "--bundle", dir, id)
	}, nil).run(count)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// crunBundle makes a directory with an empty root and a configuration of the runtime
// specification that shows in it what the others show.
func crunBundle(args []string) (string, error) {
	dir, err := os.MkdirTemp("/tmp", "bench-crun-")
	if err != nil {
		return "", err
	}
	root := filepath.Join(dir, "rootfs")
	failed := []error{os.Chmod(dir, 0o755)}
	for _, d := range []string{"usr", "proc", "dev", "tmp"} {
		failed = append(failed, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for _, l := range []string{"bin", "lib", "lib64"} {
		failed = append(failed, os.Symlink("usr/"+l, filepath.Join(root, l)))
	}
	type object = map[string]any
	ids := []object{{"containerID": 0, "hostID": 0, "size": 1}} // whoever we are, crunLoop is root somewhere
	var namespaces []object
	for _, kind := range []string{"pid", "network", "ipc", "uts", "mount", "user"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	text, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": 0, "gid": 0}, "args": args, "env": []string{"PATH=/usr/bin:/bin"}, "cwd": "/", "noNewPrivileges": true,
			"capabilities": object{},
		},
		"root": object{"path": "rootfs", "readonly": true},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755", "size=65536k"}},
			{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev"}},
			{"destination": "/usr", "type": "none", "source": "/usr", "options": []string{"rbind", "ro", "nosuid", "nodev"}},
		},
		"linux": object{"namespaces": namespaces, "uidMappings": ids, "gidMappings": ids},
	})
	failed = append(failed, err, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644))
	return dir, errors.Join(failed...)
}
