package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/wire"
)

// wirePath is where a program finds the monitor.
const wirePath = "/run/cofferdam/wire"

// spawnedDir is where the files that a spawner gives appear.
const spawnedDir = "/run"

// maxCaptured is the longest output that is kept in our memory, whatever the limit
// says: an answer holds no more, next to what else it says of an exit.
const maxCaptured = wire.MaxBody - 4<<10

// outputOf is how much of the output of svc is captured at most.
func outputOf(svc *manifest.Service) int {
	if o := svc.Limits.Output; o != manifest.Unlimited && o < maxCaptured {
		return int(o)
	}
	return maxCaptured
}

// baseEnv is all that a program gets beside what the manifest says.
var baseEnv = []string{
	"PATH=/usr/local/bin:/usr/bin:/bin",
	"HOME=/tmp",
	"LANG=C.UTF-8",
	"COFFERDAM_SOCKET=" + wirePath,
}

// envOf is the environment of a program of svc: more is what it gets beyond that.
func envOf(svc *manifest.Service, paths reach, more []string) []string {
	env := append(append(append([]string{}, baseEnv...), svc.Environment...), more...)
	return append(env, paths.proxyEnv(env)...)
}

// specOf is everything that the instance may touch.
func (s *Supervisor) specOf(svc *manifest.Service, in *instance, l launch, paths reach, volumes []volume) (*executor.Spec, error) {
	spec := &executor.Spec{
		Name:          strings.ReplaceAll(in.name, "_", "-"), // a host name has no underscores
		Hosts:         paths.hosts,
		Limits:        limitsOf(svc.Limits),
		Sendfile:      svc.Sendfile,
		AllowDegraded: s.now().app.AllowDegraded,
		Command: executor.Command{
			Args:   append(append([]string{}, svc.Command...), l.args...),
			Env:    envOf(svc, paths, l.env),
			Dir:    svc.WorkingDir,
			Stdout: l.stdout,
			Stderr: l.stderr,
		},
	}
	if f := svc.Fork; f != nil {
		// What waits is nobody's: it has what the manifest says, and nothing of the launch.
		spec.Fork = &executor.Fork{Interpreter: f.Command, Modules: f.Modules, Env: append(append([]string{}, baseEnv...), svc.Environment...), Spares: f.Spares}
	}
	if a := svc.Ahead; a != nil {
		spec.Ahead = &executor.Ahead{Interpreter: a.Command, Modules: a.Modules, Env: append(append([]string{}, baseEnv...), svc.Environment...)}
	}
	if l.stdin != nil {
		spec.Command.Stdin = l.stdin
	}
	if l.stdout == nil {
		spec.Command.Stdout = s.logs.stream(svc.Name, in.name, "stdout")
	}
	if l.stderr == nil {
		spec.Command.Stderr = s.logs.stream(svc.Name, in.name, "stderr")
	}
	if l.stdout == nil {
		// A service's log is kept within bounds; to print much is no crime.
		spec.Limits.OutputBytes = executor.Unlimited
	} else {
		spec.Limits.OutputBytes = int64(outputOf(svc))
	}
	if l.wall > 0 && (spec.Limits.Wall == executor.Unlimited || l.wall < spec.Limits.Wall) {
		spec.Limits.Wall = l.wall
	}
	for _, p := range paths.ports {
		spec.Listen = append(spec.Listen, p.at)
	}
	if svc.Name == gatewayName {
		for _, l := range s.Gateway {
			spec.Extra = append(spec.Extra, l.Socket)
		}
	}
	var err error
	spec.Mounts, err = s.mountsOf(svc, in, l, volumes)
	return spec, err
}

func (s *Supervisor) mountsOf(svc *manifest.Service, in *instance, l launch, volumes []volume) ([]executor.Mount, error) {
	var mounts []executor.Mount
	if m, any := filesMount(svc); any {
		mounts = append(mounts, m)
	}
	mounts = append(mounts, executor.Mount{Kind: executor.MountSocket, Source: in.path, Target: wirePath})
	if svc.Runtime == "host" {
		mounts = append(mounts, executor.Mount{Kind: executor.MountRuntime})
	}
	for _, f := range svc.Files {
		mounts = append(mounts, executor.Mount{Kind: executor.MountBind, Source: f.From, Target: f.To})
	}
	for _, v := range volumes {
		mounts = append(mounts, executor.Mount{
			Kind: executor.MountVolume, Source: v.monitored.Name, Target: v.To, Writable: v.monitored.Writable, SizeBytes: v.SizeBytes, Inodes: v.Inodes,
		})
	}
	if l.spare {
		mounts = append(mounts, laterOf(svc)...)
	}
	for _, t := range svc.Tmpfs {
		mounts = append(mounts, executor.Mount{Kind: executor.MountTmpfs, Target: t.To, Writable: true, SizeBytes: t.SizeBytes, Inodes: t.Inodes})
	}
	if m, any := mountPoints(s.now().app, svc.Name); any {
		mounts = append(mounts, m)
	}
	for _, f := range l.files {
		target, err := spawnedPath(f.Path)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, executor.Mount{Kind: executor.MountFile, Target: target, Data: f.Data, Mode: 0o444})
	}
	return mounts, nil
}

// spawnedPath is where a file from a spawner goes: directly in spawnedDir,
// whatever its name says.
func spawnedPath(name string) (string, error) {
	base := strings.TrimPrefix(name, spawnedDir+"/")
	if base == "" || base == "." || base == ".." || strings.ContainsAny(base, "/\x00") || base == "cofferdam" || len(base) > 128 {
		return "", fmt.Errorf("file %q: a spawned file is %s/NAME", name, spawnedDir)
	}
	return path.Join(spawnedDir, base), nil
}

// volumeOf is the executor's name of a volume. What a principal calls itself is
// never part of a path: its hash is.
func volumeOf(name, principal string) (string, error) {
	if strings.Contains(name, "{principal}") {
		if principal == "" {
			return "", fmt.Errorf("volume %q: the instance has no principal", name)
		}
		sum := sha256.Sum256([]byte(principal))
		name = strings.ReplaceAll(name, "{principal}", hex.EncodeToString(sum[:]))
	}
	return name, nil
}

func limitsOf(l manifest.Limits) executor.Limits {
	return executor.Limits{
		MemoryBytes: l.Memory,
		Pids:        l.Pids,
		CPUs:        l.CPUs,
		CPU:         l.CPU,
		Wall:        l.Wall,
		OutputBytes: l.Output,
		OpenFiles:   l.Files,
		FileBytes:   l.FileSize,
		TmpBytes:    l.Tmp,
		Inotify:     l.Inotify,
	}
}
