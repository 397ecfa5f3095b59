package cofferdam_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstall installs below a directory and has systemd and AppArmor read what they
// are to read.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("make", "--no-print-directory", "install", "PREFIX="+dir, "SYSCONFDIR="+dir+"/etc").CombinedOutput()
	if err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	for path, mode := range map[string]os.FileMode{
		"bin/cofferdam":                               0o755,
		"bin/cofferdam-telemetry":                     0o755,
		"lib/systemd/system/cofferdam@.service":       0o644,
		"lib/systemd/user/cofferdam@.service":         0o644,
		"etc/apparmor.d/cofferdam":                    0o644,
		"share/doc/cofferdam/README.md":               0o644,
		"share/doc/cofferdam/SECURITY.md":             0o644,
		"share/doc/cofferdam/manifest.schema.json":    0,
		"lib/systemd/system/user@.service.d/delegate": 0,
	} {
		info, err := os.Stat(filepath.Join(dir, path))
		switch {
		case mode == 0 && err == nil:
			t.Errorf("%s is installed", path)
		case mode != 0 && err != nil:
			t.Error(err)
		case mode != 0 && info.Mode() != mode:
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), mode)
		}
	}
	t.Run("systemd", func(t *testing.T) {
		if _, err := exec.LookPath("systemd-analyze"); err != nil {
			t.Skip("needs systemd-analyze: ", err)
		}
		for _, unit := range [][]string{{"--system", "lib/systemd/system/cofferdam@.service"}, {"--user", "lib/systemd/user/cofferdam@.service"}} {
			cmd := exec.Command("systemd-analyze", unit[0], "verify", "--man=no", filepath.Join(dir, unit[1]))
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
			out, err := cmd.CombinedOutput()
			// It also tells of the units of this machine that ours refers to.
			if err != nil || strings.Contains(string(out), "cofferdam@") {
				t.Errorf("%s: %v\n%s", unit[1], err, out)
			}
		}
	})
	t.Run("apparmor", func(t *testing.T) {
		if _, err := exec.LookPath("apparmor_parser"); err != nil {
			t.Skip("needs apparmor: ", err)
		}
		profile, err := os.ReadFile(filepath.Join(dir, "etc/apparmor.d/cofferdam"))
		if err != nil {
			t.Fatal(err)
		}
		text := string(profile)
		if _, err := os.Stat("/etc/apparmor.d/abi/4.0"); err != nil {
			// An older parser, for hosts that do not need the profile: it can read
			// the rest.
			for old, older := range map[string]string{"abi <abi/4.0>": "abi <abi/3.0>", "  userns,\n": ""} {
				if !strings.Contains(text, old) {
					t.Errorf("the profile lacks %q", old)
				}
				text = strings.Replace(text, old, older, 1)
			}
		}
		path := filepath.Join(dir, "profile")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("apparmor_parser", "--skip-kernel-load", "--skip-cache", path).CombinedOutput(); err != nil {
			t.Errorf("apparmor_parser: %v\n%s", err, out)
		}
	})
}
