package cofferdam_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadmeManifest holds the first manifest in the README against the example.
func TestReadmeManifest(t *testing.T) {
	blocks := fenced(t, "README.md", "yaml")
	example, err := os.ReadFile("examples/hello/cofferdam.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) == 0 || blocks[0] != string(example) {
		t.Errorf("the first manifest of README.md is not examples/hello/cofferdam.yaml")
	}
}

// TestSDKPrograms holds the programs in docs/SDK.md against the example, whose test
// runs them.
func TestSDKPrograms(t *testing.T) {
	for language, file := range map[string]string{"python": "draft.py", "go": "cmd/draft/main.go", "yaml": "cofferdam.yaml"} {
		example, err := os.ReadFile("examples/draft/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if blocks := fenced(t, "docs/SDK.md", language); !slices.Contains(blocks, string(example)) {
			t.Errorf("the %s program of docs/SDK.md is not examples/draft/%s", language, file)
		}
	}
}

// TestReadmeCommands runs what the README says to type, as it stands there.
func TestReadmeCommands(t *testing.T) {
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("needs python3: the snippets run Python programs")
	}
	// Passable for others: the application does not stay root.
	bin, err := os.MkdirTemp("", "cofferdam-readme-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(bin) })
	if err := os.Chmod(bin, 0o711); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", bin, "./cmd/cofferdam")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	env := append(os.Environ(),
		"PATH="+bin+":"+os.Getenv("PATH"),
		"COFFERDAM_STATE_DIR="+filepath.Join(bin, "state"),
		"COFFERDAM_RUNTIME_DIR="+filepath.Join(bin, "run"))
	work := t.TempDir()
	for path, text := range map[string]string{"data/x": "42\n", "script.py": "print(open('/data/x').read(), end='')\n"} {
		path = filepath.Join(work, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range fenced(t, "README.md", "sh") {
		if strings.Contains(block, "make ") {
			continue // this very test is part of them
		}
		dir := work
		if strings.Contains(block, "cd examples/") {
			dir = here
		}
		// `up` stays in the foreground, so here it goes to the background.
		if !delegated(t, filepath.Join(bin, "cofferdam")) {
			// As the README says for such a host.
			block = strings.Replace(block, "cofferdam run ", "cofferdam run --allow-degraded cgroup ", 1)
		}
		script := regexp.MustCompile(`(?m)^cofferdam up `).ReplaceAllString(block, "cofferdam up -d ")
		// Nobody types so fast that the visitor has not paid its visit.
		script = strings.Replace(script, "cofferdam ps ", "timeout 20 sh -c \"until cofferdam ps | grep -q 'visitor .* exited'; do sleep 0.05; done\"; cofferdam ps ", 1)
		// Whatever becomes of it, nothing goes on running.
		cmd := exec.Command("sh", "-eu", "-c", "trap 'cofferdam -p hello down >/dev/null 2>&1 || true' EXIT\n"+script)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s\n%v\n%s", script, err, out)
		}
		for _, want := range expected(block) {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s\nprinted no %q:\n%s", script, want, out)
			}
		}
		ran++
	}
	if ran < 2 {
		t.Errorf("%d snippets were found", ran)
	}
}

// delegated tells whether we have cgroups here.
func delegated(t *testing.T, cofferdam string) bool {
	t.Helper()
	out, err := exec.Command(cofferdam, "doctor", "--format", "json").Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("doctor: %v", err)
	}
	var found []struct{ Name, Status string }
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("doctor: %v\n%s", err, out)
	}
	for _, p := range found {
		if p.Name == "cgroup.memory" {
			return p.Status == "PASS"
		}
	}
	t.Fatalf("doctor says nothing of cgroup.memory:\n%s", out)
	return false
}

// expected is what the output of a snippet must show.
func expected(block string) []string {
	if strings.Contains(block, "cofferdam run") {
		return []string{"42"}
	}
	return []string{"visitor", "greeter.greet", "greeter.secret", "deny"}
}

// fenced returns the fenced blocks of a language.
func fenced(t *testing.T, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}
