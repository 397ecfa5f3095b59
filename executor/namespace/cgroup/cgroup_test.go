package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func openHere(t *testing.T, name string) Parent {
	t.Helper()
	p, err := Open("/sys/fs/cgroup", "/proc/self", name, nil)
	if p == nil {
		t.Skipf("needs cgroup: none to work in: %v", err)
	}
	t.Cleanup(func() { p.Remove() })
	return p
}

func sleeper(t *testing.T, program string, args ...string) int {
	t.Helper()
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

func TestGroup(t *testing.T) {
	p := openHere(t, Name("cgrouptest", os.Getpid(), StartTime(os.Getpid())))
	g, err := p.Make("1")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Limit(Limits{MemoryBytes: 32 << 20, Pids: 3, CPUs: 0.5}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "read x; for i in 1 2 3 4 5 6; do sleep 30 & done; wait")
	in, _ := cmd.StdinPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Attach(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("go\n"))
	deadline := time.Now().Add(time.Minute)
	for g.Stat().PidsRefused == 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	st := g.Stat()
	if st.PidsRefused == 0 || st.PidsPeak != 3 || st.MemoryPeak == 0 {
		t.Errorf("%+v, want forks refused, a peak of 3 and memory used", st)
	}
	killAll(t, g)
	cmd.Process.Kill()
	cmd.Wait()
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

// killAll kills what is in the group.
func killAll(t *testing.T, g Group) {
	t.Helper()
	var dir string
	switch g := g.(type) {
	case *v1Group:
		dir = filepath.Join(g.parent.dirs["pids"], g.name)
	case *v2Group:
		dir = g.dir
	}
	for range 100 {
		procs := strings.Fields(read(full(dir), "cgroup.procs"))
		if len(procs) == 0 {
			return
		}
		for _, p := range procs {
			if pid, err := strconv.Atoi(p); err == nil {
				if proc, err := os.FindProcess(pid); err == nil {
					proc.Kill()
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the group does not become empty")
}

// What a killed predecessor left goes; what a living one has stays.
func TestSweep(t *testing.T) {
	dead, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	dead.Wait()
	old := openHere(t, Name("sweeptest", dead.Pid, "1"))
	if _, err := old.Make("7"); err != nil {
		t.Fatal(err)
	}
	live := sleeper(t, "sleep", "60")
	kept := openHere(t, Name("sweeptest", live, StartTime(live)))
	openHere(t, Name("sweeptest", os.Getpid(), StartTime(os.Getpid())))
	if exists(old) {
		t.Error("the cgroups of a dead process are left")
	}
	if !exists(kept) {
		t.Error("the cgroups of a living process were removed")
	}
}

func exists(p Parent) bool {
	dir := ""
	switch p := p.(type) {
	case *v1:
		dir = p.unique()[0]
	case *v2:
		dir = p.dir
	}
	_, err := os.Stat(dir)
	return err == nil
}

// A group that is used again gets other limits: higher ones too.
func TestLimitsOfTheNext(t *testing.T) {
	p := openHere(t, Name("limitstest", os.Getpid(), StartTime(os.Getpid())))
	g, err := p.Make("1")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Remove()
	for _, mib := range []int64{64, 128, 32, 256} {
		l := Limits{MemoryBytes: mib << 20, Pids: int(mib)}
		if err := g.Limit(l); err != nil {
			t.Errorf("%d MiB: %v", mib, err)
		}
		l.MemoryBytes *= 2
		if err := p.Limit(l); err != nil {
			t.Errorf("%d MiB for all: %v", 2*mib, err)
		}
	}
}

// Version 2 as far as a hierarchy without controllers lets it be tried.
func TestV2WithoutControllers(t *testing.T) {
	paths, err := hierarchies(string(must(os.ReadFile("/proc/self/cgroup"))), "/sys/fs/cgroup")
	if err != nil || paths[""] == "" {
		t.Skip("needs cgroup-v2-mount: no cgroup v2 hierarchy on this host")
	}
	p := &v2{dir: filepath.Join(paths[""], Prefix+"v2test"), missing: []string{"memory", "pids", "cpu"}}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		t.Skipf("needs root: the cgroup v2 hierarchy is not ours: %v", err)
	}
	defer p.Remove()
	g, err := p.Make("1")
	if err != nil {
		t.Fatal(err)
	}
	if g.FD() < 0 {
		t.Error("no descriptor to be born into")
	}
	if err := g.Limit(Limits{MemoryBytes: 1 << 20, Pids: 2, CPUs: 1}); err != nil {
		t.Errorf("limits without controllers: %v", err)
	}
	pid := sleeper(t, "sleep", "60")
	if err := g.Attach(pid); err != nil {
		t.Fatal(err)
	}
	if got := read(full(p.dir+"/1"), "cgroup.procs"); got != strconv.Itoa(pid) {
		t.Errorf("the group holds %q, want %d", got, pid)
	}
	killAll(t, g)
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

// A cgroup that others are in as well is left alone.
func TestMoveOutMovesNobodyElse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("1\n2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := moveOut(dir, []int{1}, false); err == nil || !strings.Contains(err.Error(), "process 2") {
		t.Errorf("moveOut: %v, want a refusal that names process 2", err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A small share has a longer period, for the kernel takes no quota below 1 ms, and what
// is out is never more than was asked for but for the least that the kernel takes.
func TestQuota(t *testing.T) {
	for _, tt := range []struct {
		cpus           float64
		micros, period int64
	}{
		{1, 20_000, 20_000}, {2, 40_000, 20_000}, {1.5, 30_000, 20_000}, {0.5, 10_000, 20_000}, {0.05, 1_000, 20_000},
		{0.01, 1_000, 100_000}, {0.001, 1_000, 1_000_000}, {0.0001, 1_000, 1_000_000},
	} {
		if micros, period := quota(tt.cpus); micros != tt.micros || period != tt.period {
			t.Errorf("quota(%v) = %d, %d, want %d, %d", tt.cpus, micros, period, tt.micros, tt.period)
		}
	}
}

// BenchmarkRenew is what is read and written of a group between two environments that have it.
func BenchmarkRenew(b *testing.B) {
	p, err := Open("/sys/fs/cgroup", "/proc/self", Name("bench", os.Getpid(), StartTime(os.Getpid())), []int{os.Getpid()})
	if p == nil {
		b.Skipf("needs cgroups: %v", err)
	}
	defer p.Remove()
	g, err := p.Make("1")
	if err != nil {
		b.Fatal(err)
	}
	defer g.Remove()
	if err := g.Limit(Limits{MemoryBytes: 64 << 20, Pids: 10, CPUs: 1}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		g.Stat()
		if g.FD() < 0 && !g.Renew(0) {
			b.Fatal("nobody was in it, and it cannot be used again")
		}
	}
}
