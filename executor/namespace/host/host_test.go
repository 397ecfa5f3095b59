package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cofferdam/executor"
)

// procWith is a procfs as other hosts have it.
func procWith(t *testing.T, files map[string]string) Proc {
	t.Helper()
	dir := t.TempDir()
	files["self/ns/user"] = ""
	for name, content := range files {
		if content == "absent" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Proc(dir)
}

func TestNoUserNamespace(t *testing.T) {
	for _, tt := range []struct {
		name       string
		files      map[string]string
		err        error
		says, fix  string
		notMissing bool
	}{
		{"Debian's switch", map[string]string{"sys/kernel/unprivileged_userns_clone": "0\n"}, syscall.EPERM, "unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1", false},
		{"none allowed", map[string]string{"sys/user/max_user_namespaces": "0\n"}, syscall.ENOSPC, "max_user_namespaces is 0", "sysctl -w user.max_user_namespaces", false},
		{"Ubuntu's AppArmor", map[string]string{"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, syscall.EACCES, "AppArmor", "apparmor_parser -r /etc/apparmor.d/cofferdam", false},
		{"too many", map[string]string{"sys/user/max_user_namespaces": "10\n"}, syscall.ENOSPC, "as many as", "max_user_namespaces", false},
		{"a container's filter", map[string]string{"self/status": "Name:\tx\nSeccomp:\t2\n"}, syscall.EPERM, "filter of system calls", "docker run", false},
		{"who knows", map[string]string{"self/status": "Name:\tx\nSeccomp:\t0\n"}, syscall.EPERM, "something around us", "docker run", false},
		{"another trouble", map[string]string{"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, syscall.EMFILE, "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := procWith(t, tt.files).NoUserNamespace(tt.err)
			var missing *executor.MissingError
			if tt.notMissing {
				if errors.Is(err, executor.ErrUnsupported) {
					t.Errorf("%v", err)
				}
				return
			}
			if !errors.As(err, &missing) || !errors.Is(err, executor.ErrUnsupported) || !errors.Is(err, tt.err) {
				t.Fatalf("%v is no %T with %v", err, missing, tt.err)
			}
			if !strings.Contains(missing.Detail, tt.says) || !strings.Contains(missing.Fix, tt.fix) {
				t.Errorf("%q, to be mended by %q; want %q and %q", missing.Detail, missing.Fix, tt.says, tt.fix)
			}
		})
	}
}

// The kernel that runs this has what it takes, or says so.
func TestThisKernel(t *testing.T) {
	if p := Seccomp(); p.Status != executor.Pass {
		t.Errorf("%+v", p)
	}
	if p := Landlock(0); p.Status != executor.Fail || p.Fix == "" {
		t.Errorf("%+v", p)
	}
	if p := Landlock(7); p.Status != executor.Pass || p.Detail != "ABI 7" {
		t.Errorf("%+v", p)
	}
}
