package registry_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The command behaves as the original's: one server for each name, known to all
// that may read the file.
func TestCommand(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "fakeserver")
	build := exec.Command("go", "build", "-o", bin, "cofferdam/examples/isabelle/cmd/fakeserver")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	home := t.TempDir()
	run := func(in string, args ...string) (string, error) {
		cmd := exec.Command(bin, args...)
		cmd.Env, cmd.Stdin = []string{"HOME=" + home, "PATH=/usr/bin"}, strings.NewReader(in)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("", "server", "-s"); err == nil || !strings.Contains(out, "not running") {
		t.Errorf("-s without a server: %q, %v", out, err)
	}
	if out, err := run("", "server", "-x"); err == nil {
		t.Errorf("-x without a server: %q", out)
	}
	log := filepath.Join(home, "log")
	server := exec.Command(bin, "server", "-L", log)
	server.Env = []string{"HOME=" + home, "PATH=/usr/bin"}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill() })
	first := make([]byte, 200)
	n, err := out.Read(first)
	line := string(first[:n])
	if err != nil || !strings.HasPrefix(line, `server "isabelle" = 127.0.0.1:`) {
		t.Fatalf("%q, %v", line, err)
	}
	for _, args := range [][]string{{"server"}, {"server", "-l"}, {"server", "-s"}, {"server", "-p", "1"}} {
		if again, err := run("", args...); err != nil || again != line {
			t.Errorf("%v: %q, %v, want %q", args, again, err, line)
		}
	}
	if out, err := run("echo [1, 2]\nhelp\nshutdown\n", "client"); err != nil || !strings.HasPrefix(out, "OK [1,2]\nOK [\"cancel\",") || !strings.HasSuffix(out, "]\nOK\n") {
		t.Errorf("client: %q, %v", out, err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("after shutdown: %v", err)
	}
	if out, err := run("", "server", "-l"); err != nil || out != "" {
		t.Errorf("-l after it: %q, %v", out, err)
	}
	if st, err := os.Stat(filepath.Join(home, ".isabelle", "Isabelle2025", "servers.db")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the registry: %v, %v", st, err)
	}
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), `command "help"`) {
		t.Errorf("the log: %q, %v", text, err)
	}
}
