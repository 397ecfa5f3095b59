package namespace_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkFork measures a snippet of Python from the call of Start to its known end, forked
// from an interpreter that waits, and the same in bubblewrap, taking turns: one at a
// time, and as many as go in two seconds from 8 workers.
func BenchmarkFork(b *testing.B) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		b.Skip("needs bwrap: bubblewrap is not installed")
	}
	e := open(b)
	const snippet = "import json; print(json.dumps([6*7]))"
	ours := func() error {
		var out bytes.Buffer
		spec := forked(b, "-c", snippet)
		spec.Fork.Modules = []string{"json"}
		spec.Fork.Spares = 8
		spec.Command.Stdout = &out
		p, err := e.Start(context.Background(), spec)
		if err != nil {
			return err
		}
		<-p.Done()
		if out.String() != "[42]\n" {
			return fmt.Errorf("printed %q: %+v", out.String(), p.Exit())
		}
		return nil
	}
	theirs := func() error {
		out, err := exec.Command(bwrap, "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin",
			"--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev",
			"--tmpfs", "/tmp", "--cap-drop", "ALL", python, "-I", "-c", snippet).CombinedOutput()
		if err == nil && string(out) != "[42]\n" {
			err = fmt.Errorf("printed %q", out)
		}
		return err
	}
	if err := theirs(); err != nil {
		b.Skip("needs bwrap: bubblewrap does not work here: ", err)
	}
	b.Run("one", func(b *testing.B) {
		var times [2][]time.Duration
		for b.Loop() {
			for n, f := range []func() error{ours, theirs} {
				time.Sleep(10 * time.Millisecond)
				began := time.Now()
				if err := f(); err != nil {
					b.Fatal(err)
				}
				times[n] = append(times[n], time.Since(began))
			}
		}
		a, t := median(times[0]), median(times[1])
		b.ReportMetric(float64(a.Microseconds()), "ours-µs")
		b.ReportMetric(float64(t.Microseconds()), "bwrap-µs")
		b.ReportMetric(float64(a)/float64(t), "ours/bwrap")
	})
	b.Run("workers=8", func(b *testing.B) {
		var rates [2]float64
		const rounds, spell = 3, time.Second
		for range rounds {
			for n, f := range []func() error{ours, theirs} {
				var done atomic.Int64
				var wg sync.WaitGroup
				began := time.Now()
				for range 8 {
					wg.Go(func() {
						for time.Since(began) < spell {
							if err := f(); err != nil {
								b.Error(err)
								return
							}
							done.Add(1)
						}
					})
				}
				wg.Wait()
				rates[n] += float64(done.Load()) / time.Since(began).Seconds() / rounds
			}
		}
		b.ReportMetric(rates[0], "ours/s")
		b.ReportMetric(rates[1], "bwrap/s")
		b.ReportMetric(rates[0]/rates[1], "ours/bwrap")
	})
}
