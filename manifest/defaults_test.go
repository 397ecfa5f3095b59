package manifest_test

import (
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/manifest"
)

// TestDefaultLimitsAreTheExecutors: the manifest repeats them, because it does
// not import the executor.
func TestDefaultLimitsAreTheExecutors(t *testing.T) {
	a, err := manifest.Parse("m.yaml", []byte(`version: 1
services:
  service: {runtime: host, command: [/bin/true]}
  template: {template: true, command: [/bin/true]}
`), "/", manifest.HostPath)
	if err != nil {
		t.Fatal(err)
	}
	d := executor.DefaultLimits()
	want := manifest.Limits{
		Memory: d.MemoryBytes, Pids: d.Pids, CPUs: d.CPUs, CPU: d.CPU, Wall: d.Wall,
		Output: d.OutputBytes, Files: d.OpenFiles, FileSize: d.FileBytes, Tmp: d.TmpBytes, Inotify: d.Inotify,
	}
	if got := a.Service("service").Limits; got != want {
		t.Errorf("limits of a service %+v, want %+v", got, want)
	}
	want.CPU, want.Wall = time.Minute, time.Minute
	if got := a.Service("template").Limits; got != want {
		t.Errorf("limits of a template %+v, want %+v", got, want)
	}
	if manifest.Unlimited != executor.Unlimited {
		t.Error("Unlimited differs")
	}
}
