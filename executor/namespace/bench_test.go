package namespace_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// BenchmarkStartTrue measures from the call of Start to the end of /bin/true,
// and the same with bubblewrap, taking turns. The ratio of the medians is what
// counts: the figures themselves are those of the machine and the minute.
func BenchmarkStartTrue(b *testing.B) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		b.Skip("needs bwrap: bubblewrap is not installed")
	}
	for _, warm := range []struct {
		name string
		n    int
	}{{"blanks=0", -1}, {"blanks=4", 4}} {
		b.Run(warm.name, func(b *testing.B) {
			e := open(b, func(o *namespace.Options) { o.Warm = warm.n })
			var ours, started, theirs []time.Duration
			for b.Loop() {
				// Both begin on a quiet machine, with what waits ahead in place.
				time.Sleep(10 * time.Millisecond)
				runs, ended := timed(b, e)
				started, ours = append(started, runs), append(ours, ended)

				time.Sleep(10 * time.Millisecond)
				began := time.Now()
				cmd := exec.Command(bwrap, "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin",
					"--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev",
					"--tmpfs", "/tmp", "--cap-drop", "ALL", "/bin/true")
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Skipf("needs bwrap: bubblewrap does not work here: %v: %s", err, out)
				}
				theirs = append(theirs, time.Since(began))
			}
			a, t := median(ours), median(theirs)
			b.ReportMetric(float64(a.Microseconds()), "ours-µs")
			b.ReportMetric(float64(median(started).Microseconds()), "until-exec-µs")
			b.ReportMetric(float64(t.Microseconds()), "bwrap-µs")
			b.ReportMetric(float64(a)/float64(t), "ours/bwrap")
		})
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

var _ executor.Executor = (*namespace.Executor)(nil)

// BenchmarkVolume measures what a volume costs a start, from the call of Start to the
// end of /bin/true, and how fast a program writes 32 MiB into it with a sync at the
// end: as an image, and as a directory that is watched.
func BenchmarkVolume(b *testing.B) {
	for _, kind := range []struct {
		name string
		size int64
	}{{"none", 0}, {"directory", executor.Unlimited}, {"image", 64 << 20}} {
		b.Run(kind.name, func(b *testing.B) {
			_, at := store(b)
			e := open(b, at)
			spec := func(script string) *executor.Spec {
				s := host("sh", "-c", script)
				if kind.size != 0 {
					s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.MountVolume, Source: "v", Target: "/data", Writable: true, SizeBytes: kind.size})
				}
				return s
			}
			finish(b, e, spec("true")) // is made
			var starts, writes []time.Duration
			for b.Loop() {
				time.Sleep(10 * time.Millisecond)
				began := time.Now()
				finish(b, e, spec("exec true"))
				starts = append(starts, time.Since(began))
				if kind.size != 0 {
					began = time.Now()
					if got := finish(b, e, spec("dd if=/dev/zero of=/data/f bs=64K count=512 conv=fsync 2>/dev/null")); got.Code != 0 {
						b.Fatalf("%+v", got)
					}
					writes = append(writes, time.Since(began))
				}
			}
			b.ReportMetric(float64(median(starts).Microseconds()), "start-to-end-µs")
			if len(writes) > 0 {
				b.ReportMetric(32/median(writes).Seconds(), "MiB/s")
			}
		})
	}
}

// BenchmarkStarts runs /bin/true back to back, by so many workers at a time, in turn with
// bubblewrap, each for a while. Besides starts per second it says what one costs the whole
// machine in processor time, the kernel's work afterwards included, which means little
// while others work there.
func BenchmarkStarts(b *testing.B) {
	for _, workers := range []int{1, 8} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			e := open(b)
			const turn = 300
			var ours, theirs []time.Duration
			var busy [2]time.Duration
			for b.Loop() {
				before := machineBusy()
				ours = append(ours, shared(b, workers, turn, func() error { return startTrue(e) })...)
				after := machineBusy()
				theirs = append(theirs, shared(b, workers, turn/3, bwrapTrue)...)
				busy[0] += after - before
				busy[1] += 3 * (machineBusy() - after)
			}
			n := time.Duration(len(ours))
			report(b, "ours", ours, workers)
			report(b, "bwrap", theirs, workers)
			b.ReportMetric(float64((busy[0] / n).Microseconds()), "ours-cpu-µs")
			b.ReportMetric(float64((busy[1] / n).Microseconds()), "bwrap-cpu-µs")
			b.ReportMetric(float64(median(ours))/float64(median(theirs)), "ours/bwrap")
		})
	}
}

func report(b *testing.B, who string, took []time.Duration, workers int) {
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	b.ReportMetric(float64(median(took).Microseconds()), who+"-µs")
	b.ReportMetric(float64(workers)*float64(len(took))/sum.Seconds(), who+"-per-s")
}

// shared has workers do f n times in all, and returns how long each time took.
func shared(b *testing.B, workers, n int, f func() error) []time.Duration {
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				began := time.Now()
				if err := f(); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	wg.Wait()
	return took
}

// timed starts /bin/true, and returns how long it took until it ran and until its end was known.
func timed(b *testing.B, e *namespace.Executor) (runs, ended time.Duration) {
	began := time.Now()
	p, err := e.Start(context.Background(), host("/bin/true"))
	if err != nil {
		b.Fatal(err)
	}
	runs = time.Since(began)
	<-p.Done()
	return runs, time.Since(began)
}

func startTrue(e *namespace.Executor) error {
	p, err := e.Start(context.Background(), host("/bin/true"))
	if err != nil {
		return err
	}
	<-p.Done()
	if exit := p.Exit(); exit.Cause != executor.CauseExit || exit.Code != 0 {
		return fmt.Errorf("/bin/true: %+v", exit)
	}
	return nil
}

func bwrapTrue() error {
	return exec.Command("bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin",
		"--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev",
		"--tmpfs", "/tmp", "--cap-drop", "ALL", "/bin/true").Run()
}

// machineBusy is the processor time that was not idle since the machine was started:
// proc_stat(5), in ticks of 10 ms.
func machineBusy() (busy time.Duration) {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line)[1:] {
		if n, err := strconv.Atoi(f); err == nil && i != 3 && i != 4 && i < 8 {
			busy += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return busy
}

// BenchmarkPrepared is the time from the request to the known exit of /bin/true where its
// environment was prepared, in turn with a plain fork and exec of it by this process: back to back,
// and after pauses, in which more are prepared.
func BenchmarkPrepared(b *testing.B) {
	for _, pause := range []time.Duration{0, 5 * time.Millisecond} {
		b.Run("pause="+pause.String(), func(b *testing.B) {
			e := open(b)
			turn := 50
			if pause > 0 {
				turn = 8
			}
			var ours, started, plain []time.Duration
			for b.Loop() {
				if err := e.Prepare(context.Background(), host("/bin/true"), turn); err != nil {
					b.Fatal(err)
				}
				e.Prepare(context.Background(), host("/bin/true"), turn) // until all are there again
				for range 25 {
					time.Sleep(pause)
					runs, ended := timed(b, e)
					started, ours = append(started, runs), append(ours, ended)
				}
				for range 25 {
					time.Sleep(pause)
					plain = append(plain, shared(b, 1, 1, func() error { return exec.Command("/bin/true").Run() })...)
				}
			}
			b.ReportMetric(float64(median(started).Microseconds()), "until-exec-µs")
			b.ReportMetric(float64(median(ours).Microseconds()), "ours-µs")
			b.ReportMetric(float64(median(plain).Microseconds()), "plain-µs")
			b.ReportMetric(float64(median(ours))/float64(median(plain)), "ours/plain")
		})
	}
}

// BenchmarkWaiting is what a prepared environment takes of the machine's memory while it waits,
// by what the machine has less: of programs and of the kernel.
func BenchmarkWaiting(b *testing.B) {
	e := open(b)
	const n = 200
	took := map[string][]float64{}
	for b.Loop() {
		if err := e.Prepare(context.Background(), host("/bin/true"), 0); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Second)
		before := memoryInUse()
		if err := e.Prepare(context.Background(), host("/bin/true"), n); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Second)
		for what, after := range memoryInUse() {
			took[what] = append(took[what], float64(after-before[what])/n)
		}
	}
	for what, kib := range took {
		slices.Sort(kib)
		b.ReportMetric(kib[len(kib)/2], what+"-KiB")
	}
}

// memoryInUse is what processes and the kernel have, in KiB, without what is cached of files:
// proc_meminfo(5).
func memoryInUse() map[string]int {
	use := map[string]int{}
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch f[0] {
		case "AnonPages:", "Shmem:", "Slab:", "KernelStack:", "PageTables:", "Percpu:":
			n, _ := strconv.Atoi(f[1])
			use[strings.TrimSuffix(f[0], ":")] = n
			use["all"] += n
		}
	}
	return use
}
