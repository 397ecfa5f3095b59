package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cofferdam/bench/own"
)

// TestMain makes the test binary play the programs inside, as the command does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == own.PlayRole {
		if err := own.Play(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "growth:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestSmall measures everything at its smallest sizes, but for what the benchmarks of other rooms do: no curve
// stays empty, and none of what is asked of an application fails.
func TestSmall(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, "../../cmd/cofferdam").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.MkdirAll(filepath.Join(dir, "benchmarks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, of := range []struct {
		most  int
		names []string
	}{
		{10, []string{"growth-services", "growth-environments", "growth-grants"}},
		{1000, []string{"growth-audit"}},
	} {
		if err := run(dir, filepath.Join(dir, "cofferdam"), of.most, of.names); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "benchmarks", "growth.json"))
		if err != nil {
			t.Fatal(err)
		}
		var written struct{ Curves []curve }
		if err := json.Unmarshal(text, &written); err != nil {
			t.Fatal(err)
		}
		if len(written.Curves) == 0 {
			t.Errorf("%v: nothing was written: %s", of.names, text)
		}
		for _, c := range written.Curves {
			if len(c.Lines) == 0 {
				t.Errorf("%v: %s has no line", of.names, c.Name)
			}
			for _, l := range c.Lines {
				for _, p := range l.Points {
					if p[0] > float64(of.most) || p[1] < 0 && c.Name != "growth-memory" { // which others use as well
						t.Errorf("%v: %s, %s: %v", of.names, c.Name, l.Name, p)
					}
				}
			}
		}
	}
}
