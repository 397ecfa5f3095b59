package dynamic_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cofferdam/examples/zoobar/zoobartest"
)

func TestLab(t *testing.T) {
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skipf("needs python3: %v", err)
	}
	app := zoobartest.New(t)
	zoobartest.Lab(t, app.URL, "")

	t.Run("6 no password in the files of auth", func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(app.Dir, "cred.db*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("files %q, %v", files, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), "supersecretpassword") {
				t.Errorf("%s has the password", file)
			}
		}
	})
}
