package namespace_test

import (
	"context"
	"os/exec"
	"slices"
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
				began := time.Now()
				p, err := e.Start(context.Background(), host("/bin/true"))
				if err != nil {
					b.Fatal(err)
				}
				started = append(started, time.Since(began))
				<-p.Done()
				ours = append(ours, time.Since(began))

				time.Sleep(10 * time.Millisecond)
				began = time.Now()
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
