package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhyV2 looks for the place where a controller is lost.
func TestWhyV2(t *testing.T) {
	const all = "cpuset cpu io memory pids"
	const own = "user.slice/user-1000.slice/user@1000.service/app.slice"
	for _, tt := range []struct {
		name       string
		has        []string // cgroup.controllers on the way down
		what, fix  string
		controller string
	}{
		{"nowhere", []string{"cpu pids", "cpu pids", "cpu pids", "cpu pids", "cpu pids"},
			"/sys/fs/cgroup has no memory", "unified_cgroup_hierarchy=1", "memory"},
		{"not given to users", []string{all, all, all, "memory pids", "memory pids"},
			"/sys/fs/cgroup/user.slice/user-1000.slice does not hand cpu down to user@1000.service", "Delegate=cpu memory pids", "cpu"},
		{"not given to the service", []string{all, all, all, all, "memory pids"},
			"user@1000.service does not hand cpu down to app.slice", "user@.service.d/delegate.conf", "cpu"},
		{"ours, and others in it", []string{all, all, all, all, all},
			"app.slice is shared with processes", "systemd-run --user --scope -p Delegate=yes", "memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			at := root
			for i, part := range append([]string{""}, strings.Split(own, "/")...) {
				at = filepath.Join(at, part)
				if err := os.MkdirAll(at, 0o755); err != nil {
					t.Fatal(err)
				}
				for file, text := range map[string]string{"cgroup.controllers": tt.has[i], "cgroup.subtree_control": ""} {
					if err := os.WriteFile(filepath.Join(at, file), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			why := whyV2(root, at, tt.controller)
			if !strings.Contains(why.What, tt.what) || !strings.Contains(why.Fix, tt.fix) {
				t.Errorf("%q, to be mended by %q; want %q and %q", why.What, why.Fix, tt.what, tt.fix)
			}
		})
	}
}

// Where there are none at all, that is said.
func TestWhyNone(t *testing.T) {
	if why := Why(t.TempDir(), "/proc/self", "memory"); !strings.Contains(why.What, "no cgroups are mounted") || why.Fix == "" {
		t.Errorf("%+v", why)
	}
	if why := Why(t.TempDir(), t.TempDir(), "memory"); !strings.Contains(why.What, "no cgroups") || why.Fix == "" {
		t.Errorf("%+v", why)
	}
}
