package zoobartest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// sourceDir is examples/zoobar in the source tree.
func sourceDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

// Profile returns one of the example profiles, by its name without ".py".
func Profile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(sourceDir(), "profiles", name+".py"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
